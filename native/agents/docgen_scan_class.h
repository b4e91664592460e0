/* docgen_scan_class.h - read one bracket expression of a glob, with git's odd corners.
 *
 * Threads: any; no state.  Memory: none.
 * Errors:  false for an expression that never ends or names an unknown class.
 */
#ifndef TDI_DOCGEN_SCAN_CLASS_H
#define TDI_DOCGEN_SCAN_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A set of bytes, one bit each. */
typedef struct tdi_byte_set {
    uint64_t words[4];
} tdi_byte_set;

static inline void tdi_byte_set_add(tdi_byte_set *set, uint8_t byte)
{
    set->words[byte >> 6] |= 1ull << (byte & 63);
}

static inline bool tdi_byte_set_has(const tdi_byte_set *set, uint8_t byte)
{
    return set->words[byte >> 6] >> (byte & 63) & 1;
}

/* Read the expression whose '[' is just before `*at`; on success `*at` is past its ']'. */
bool tdi_class_read(const uint8_t *pattern, size_t bytes, size_t *at, tdi_byte_set *set);

#endif /* TDI_DOCGEN_SCAN_CLASS_H */
