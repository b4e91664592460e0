/* docgen_scan_count.h - how many line ends a buffer has.
 *
 * Threads: any; the way is chosen once, before main, by base/cpu.h.
 * Memory:  none.  Errors: none.
 */
#ifndef TDI_DOCGEN_SCAN_COUNT_H
#define TDI_DOCGEN_SCAN_COUNT_H

#include <stddef.h>
#include <stdint.h>

uint64_t tdi_count_newlines(const uint8_t *data, size_t bytes);

/* One byte at a time; tests compare the two. */
uint64_t tdi_count_newlines_scalar(const uint8_t *data, size_t bytes);

/* "avx2", "vector" or "scalar": what tdi_count_newlines does here. */
const char *tdi_count_path(void);

#endif /* TDI_DOCGEN_SCAN_COUNT_H */
