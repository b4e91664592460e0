/* statistics.h - the page of counters that a bridge shows to its orchestrators; see
 * protocol/statistics.md.
 *
 * Threads: one thread stores into a block; anybody may read, in any process.
 * Memory:  tdi_statistics_create maps the page; it stays for the process's life.
 * Errors:  td_status.
 */
#ifndef TDI_STATISTICS_H
#define TDI_STATISTICS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    TDI_STATISTIC_FRAMES_IN,
    TDI_STATISTIC_FRAMES_OUT,
    TDI_STATISTIC_BYTES_IN,
    TDI_STATISTIC_BYTES_OUT,
    TDI_STATISTIC_CALLS,
    TDI_STATISTIC_COMPLETIONS,
    TDI_STATISTIC_FAILURES,
    TDI_STATISTIC_REFUSALS,
    TDI_STATISTIC_WAITED,
    TDI_STATISTIC_DOORBELLS_RUNG,
    TDI_STATISTIC_DOORBELLS_TAKEN,
    TDI_STATISTIC_RESCUES,
    TDI_STATISTIC_LOGS,
    TDI_STATISTIC_LOGS_DROPPED,
    TDI_STATISTIC_SESSIONS,
    TDI_STATISTIC_AGENTS,
    TDI_STATISTIC_QUEUED,
    TDI_STATISTIC_RELAYED,
    TDI_STATISTICS_TOTAL, /* names in use */
    TDI_STATISTICS_WORDS = 32,
    TDI_STATISTICS_BUCKETS = 64,
    TDI_STATISTICS_VERSION = 1
};

typedef struct tdi_statistics_block {
    _Alignas(64) _Atomic uint64_t words[TDI_STATISTICS_WORDS];
    _Atomic uint64_t run_time[TDI_STATISTICS_BUCKETS];
} tdi_statistics_block;

typedef struct tdi_statistics {
    char magic[8]; /* TANDEMST */
    uint32_t version, head_bytes, blocks, block_bytes;
    uint64_t pid, started_ns;
    _Atomic uint64_t updated_ns;
    _Alignas(64) tdi_statistics_block block[1];
} tdi_statistics;

_Static_assert(TDI_STATISTICS_TOTAL <= TDI_STATISTICS_WORDS, "a block has room for all names");
_Static_assert(sizeof(tdi_statistics_block) == 768, "protocol/statistics.md");
_Static_assert(offsetof(tdi_statistics_block, run_time) == 256, "");
_Static_assert(offsetof(tdi_statistics, version) == 8, "");
_Static_assert(offsetof(tdi_statistics, blocks) == 16, "");
_Static_assert(offsetof(tdi_statistics, pid) == 24, "");
_Static_assert(offsetof(tdi_statistics, updated_ns) == 40, "");
_Static_assert(offsetof(tdi_statistics, block) == 64, "");

/* By index, as in protocol/statistics.tsv. */
extern const char *const tdi_statistics_names[TDI_STATISTICS_TOTAL];

/* Make, map and seal the page; *fd is the caller's. */
td_status tdi_statistics_create(uint64_t pid, uint64_t now_ns, int *fd, tdi_statistics **out,
                                tdi_error *error);

/* The bucket of a duration: floor(log2(ns)), 0 for 0. */
static inline uint32_t tdi_statistics_bucket(uint64_t ns)
{
    return ns == 0 ? 0 : 63u - (uint32_t)__builtin_clzll(ns);
}

#endif /* TDI_STATISTICS_H */
