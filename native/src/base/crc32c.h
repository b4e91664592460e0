/* crc32c.h - CRC32C (Castagnoli), the checksum of frames.
 *
 * Threads: any; the choice of path is made once, before main.
 * Memory:  none.  Errors: none.
 * Source:  polynomial 0x1EDC6F41 (reflected 0x82F63B78), RFC 3720 appendix B.4.
 */
#ifndef TDI_CRC32C_H
#define TDI_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Extend `crc` (0 to begin) by `bytes` bytes: crc(a + b) = tdi_crc32c(tdi_crc32c(0, a), b). */
uint32_t tdi_crc32c(uint32_t crc, const void *data, size_t bytes);

/* Copy `bytes` bytes and extend `crc` by what was copied. Each byte of `from` is fetched once, so
 * this is the way to check what another process can still write. The two may not overlap. */
uint32_t tdi_crc32c_copy(uint32_t crc, void *to, const void *from, size_t bytes);

/* The paths without special instructions; tests compare them. */
uint32_t tdi_crc32c_scalar(uint32_t crc, const void *data, size_t bytes);
uint32_t tdi_crc32c_copy_scalar(uint32_t crc, void *to, const void *from, size_t bytes);

/* "sse4.2", "armv8" or "scalar": what tdi_crc32c uses on this machine. */
const char *tdi_crc32c_path(void);

#endif /* TDI_CRC32C_H */
