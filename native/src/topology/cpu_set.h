/* cpu_set.h - a set of CPUs, and the lists in which Linux writes one.
 *
 * Not cpu_set_t: that one ends at 1,024 CPUs, and its macros are not portable.
 *
 * Threads: values; no state.  Memory: the caller's.  Errors: td_status where said.
 */
#ifndef TDI_CPU_SET_H
#define TDI_CPU_SET_H

#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

enum {
    TD_CPUS_MAX = 4096,           /* higher numbers are left out */
    TD_CPU_LIST_BYTES_MAX = 20480 /* room for any set as text, with its zero */
};

typedef struct td_cpu_set {
    uint64_t words[TD_CPUS_MAX / 64];
} td_cpu_set;

static inline int td_cpu_set_has(const td_cpu_set *set, uint32_t cpu)
{
    return cpu < TD_CPUS_MAX && (set->words[cpu / 64] >> (cpu % 64) & 1) != 0;
}

static inline void td_cpu_set_add(td_cpu_set *set, uint32_t cpu)
{
    if (cpu < TD_CPUS_MAX)
        set->words[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

/* CPUs in the set. */
uint32_t td_cpu_set_total(const td_cpu_set *set);

/* The lowest CPU at or above `from`; TD_CPUS_MAX: none. Loop with it over a set. */
uint32_t td_cpu_set_next(const td_cpu_set *set, uint32_t from);

/* Those in both, in either, in `left` alone. `out` may be one of them. */
void td_cpu_set_both(const td_cpu_set *left, const td_cpu_set *right, td_cpu_set *out);
void td_cpu_set_either(const td_cpu_set *left, const td_cpu_set *right, td_cpu_set *out);
void td_cpu_set_minus(const td_cpu_set *left, const td_cpu_set *right, td_cpu_set *out);

/* 1 where every CPU of `part` is in `whole`. */
int td_cpu_set_within(const td_cpu_set *part, const td_cpu_set *whole);

/* Read "0-3,8"; blanks around it are ignored, an empty text is the empty set. CPUs from
 * TD_CPUS_MAX up are left out, and *high (NULL: not wanted) tells whether there were any.
 * Errors: TD_ERR_ARGUMENT where an entry is neither N nor N-M with N at most M; then `out` and
 * `high` are unchanged. */
td_status td_cpu_set_parse(const char *text, td_cpu_set *out, int *high);

/* Write the shortest such list and its zero; returns its length.
 * `out` has room for TD_CPU_LIST_BYTES_MAX. */
size_t td_cpu_set_format(const td_cpu_set *set, char *out);

#endif /* TDI_CPU_SET_H */
