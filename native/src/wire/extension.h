/* extension.h - records between a frame's header and its body.
 *
 * {u16 type, u16 bytes, data, zero padding to 8}. The top bit of the type means "refuse if
 * unknown". Each type at most once.
 *
 * Threads: any.
 * Memory:  a parsed extension borrows the private copy it was parsed from.
 * Errors:  TD_CORRUPT; td_status of the builder is sticky in `full`.
 */
#ifndef TDI_EXTENSION_H
#define TDI_EXTENSION_H

#include "wire/frame.h"

enum {
    TDI_EXT_TRACE = 1,
    TDI_EXT_KEY = 2,
    TDI_EXT_FENCE = 3,
    TDI_EXT_TOTAL = 4,
    TDI_EXT_BLOB = 5,
    TDI_EXT_RUN_STEP = 6,
    TDI_EXT_INPUTS = 7,
    TDI_EXT_CPUS = 8,
    TDI_EXT_KNOWN_MAX = 8,
    TDI_EXT_CRITICAL = 0x8000
};

typedef struct tdi_extension {
    uint32_t present; /* bit 1 << type */
    td_view key;      /* 1 to 64 bytes */
    uint64_t total_bytes;
    uint64_t fence;
    uint64_t blob_id, blob_bytes;
    td_view trace; /* 25 bytes */
    td_view cpus;  /* 8 to 128 bytes, a multiple of 8: worker/cpus.h */
} tdi_extension;

/* Parse `bytes` (a multiple of 8) of a private copy. */
td_status tdi_extension_parse(const uint8_t *data, size_t bytes, tdi_extension *out);

/* Append a record to `into` (TDI_EXT_BYTES_MAX bytes) at *units * 8.
 * TD_TOO_LARGE when it does not fit. */
td_status tdi_extension_add(uint8_t *into, uint8_t *units, uint16_t type, const void *data,
                            size_t bytes);

/* Cut a body that carries record 7 into payload and inputs. */
td_status tdi_body_split(td_view body, td_view *payload, td_view *inputs);

#endif /* TDI_EXTENSION_H */
