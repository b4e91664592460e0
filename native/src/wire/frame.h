/* frame.h - the 64-byte frame header and the extension records behind it.
 *
 * The table is protocol/frame.tsv. A header is copied out of shared memory once, by
 * tdi_frame_copy(), validated, and only the copy is used: what a peer can still write
 * must never be read twice.
 *
 * Threads: any.  Memory: the caller's.
 * Errors:  TD_CORRUPT for anything that breaks a rule; out-parameters change only on TD_OK.
 */
#ifndef TDI_FRAME_H
#define TDI_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "tandem/agent.h"
#include "tandem/status.h"

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little-endian and used in place"
#endif
_Static_assert(sizeof(void *) == 8, "64-bit only");

enum {
    TDI_FRAME_MAGIC = 0x4454,
    TDI_FRAME_VERSION = 1,
    TDI_FRAME_BYTES = 64,
    TDI_EXT_UNITS_MAX = 32,
    TDI_EXT_BYTES_MAX = TDI_EXT_UNITS_MAX * 8,
    TDI_LANES = 4,
    TDI_KEY_BYTES_MAX = 64
};

enum {
    TDI_KIND_CALL = 1,
    TDI_KIND_COMPLETION = 2,
    TDI_KIND_CONT = 3,
    TDI_KIND_LOAD = 4,
    TDI_KIND_RUN = 5,
    TDI_KIND_EVENT = 6,
    TDI_KIND_CREDIT = 7,
    TDI_KIND_REGISTER = 8,
    TDI_KIND_LOG = 9, /* see TDI_LOG_BYTES_MAX */
    TDI_KIND_PAD = 255
};

enum {
    TDI_FLAG_MORE = 1,
    TDI_FLAG_BLOB = 2,
    TDI_FLAG_WANT_REPLY = 4,
    TDI_FLAG_PROGRAM = 8,
    TDI_FLAG_ELAPSED_US = 16,
    TDI_FLAGS_KNOWN = 31
};

typedef struct tdi_frame {
    uint16_t magic;
    uint8_t version;
    uint8_t kind;
    uint16_t flags;
    uint8_t lane;
    uint8_t ext_units;
    uint32_t body_bytes;
    uint32_t seq;
    uint64_t call_id;
    uint64_t time_ns; /* CALL: deadline; COMPLETION: started */
    uint32_t source;
    uint32_t destination;
    uint32_t action_id;
    uint16_t attempt;
    uint16_t tenant;
    uint32_t aux;  /* CALL: reply_bytes_max; COMPLETION: status; CONT: index */
    uint32_t aux2; /* COMPLETION: elapsed ns, or us with the flag */
    uint32_t body_crc;
    uint32_t header_crc;
} tdi_frame;

_Static_assert(sizeof(tdi_frame) == TDI_FRAME_BYTES, "header is 64 bytes");
_Static_assert(offsetof(tdi_frame, flags) == 0x04, "");
_Static_assert(offsetof(tdi_frame, body_bytes) == 0x08, "");
_Static_assert(offsetof(tdi_frame, call_id) == 0x10, "");
_Static_assert(offsetof(tdi_frame, time_ns) == 0x18, "");
_Static_assert(offsetof(tdi_frame, source) == 0x20, "");
_Static_assert(offsetof(tdi_frame, action_id) == 0x28, "");
_Static_assert(offsetof(tdi_frame, attempt) == 0x2C, "");
_Static_assert(offsetof(tdi_frame, aux) == 0x30, "");
_Static_assert(offsetof(tdi_frame, body_crc) == 0x38, "");
_Static_assert(offsetof(tdi_frame, header_crc) == 0x3C, "");

/* Header + extension + body, rounded up to 64. Cannot overflow: 64-bit sum of small parts. */
static inline uint64_t tdi_frame_span(const tdi_frame *frame)
{
    const uint64_t bytes = (uint64_t)TDI_FRAME_BYTES + 8u * frame->ext_units + frame->body_bytes;
    return (bytes + 63) & ~UINT64_C(63);
}

static inline uint32_t tdi_call_slot(uint64_t call_id)
{
    return (uint32_t)call_id;
}
static inline uint32_t tdi_call_generation(uint64_t call_id)
{
    return (uint32_t)(call_id >> 32);
}
static inline uint64_t tdi_call_id(uint32_t slot, uint32_t generation)
{
    return (uint64_t)generation << 32 | slot;
}

/* Copy 64 bytes out of memory that another process may be writing. Never inlined, and
 * fenced for the compiler, so that no later read can be turned into a second fetch. */
void tdi_frame_copy(tdi_frame *local, const void *shared);

/* Set magic, version, seq and both CRCs of a header about to be written;
 * `body_crc` is CRC32C of extension + body. */
void tdi_frame_seal(tdi_frame *frame, uint32_t seq, uint32_t body_crc);

/* Write a sealed header to shared memory, as tdi_frame_seal() would leave it; `frame` stays. */
void tdi_frame_write(void *to, const tdi_frame *frame, uint32_t seq, uint32_t body_crc);

/* Check a local copy: magic, version, kind, flags, lane, ext_units, seq, header CRC, and
 * span <= span_max. */
td_status tdi_frame_check(const tdi_frame *local, uint32_t seq, uint64_t span_max);

/* A LOG frame: body is UTF-8, aux the level, aux2 the lines dropped before it. */
enum { TDI_LOG_BYTES_MAX = 4096, TDI_LOG_LINES_A_SECOND = 64 };

#endif /* TDI_FRAME_H */
