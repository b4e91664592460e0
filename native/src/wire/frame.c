#include "wire/frame.h"

#include <string.h>

#include "base/crc32c.h"

__attribute__((noinline)) void tdi_frame_copy(tdi_frame *local, const void *shared)
{
    memcpy(local, shared, sizeof *local);
    /* The compiler must take the bytes as they are now, once. */
    __asm__ __volatile__("" : : "r"(local), "r"(shared) : "memory");
}

void tdi_frame_seal(tdi_frame *frame, uint32_t seq, uint32_t body_crc)
{
    frame->magic = TDI_FRAME_MAGIC;
    frame->version = TDI_FRAME_VERSION;
    frame->seq = seq;
    frame->body_crc = body_crc;
    frame->header_crc = tdi_crc32c(0, frame, offsetof(tdi_frame, header_crc));
}

/* Word by word, from fields that are read as wide as they were written: a wider look at fields just
 * stored waits until the stores before it have left the core, those to the peer's cache lines, too.
 */
void tdi_frame_write(void *to, const tdi_frame *frame, uint32_t seq, uint32_t body_crc)
{
    uint64_t words[8] = {
        TDI_FRAME_MAGIC | TDI_FRAME_VERSION << 16 | (uint64_t)frame->kind << 24 |
            (uint64_t)frame->flags << 32 | (uint64_t)frame->lane << 48 |
            (uint64_t)frame->ext_units << 56,
        frame->body_bytes | (uint64_t)seq << 32,
        frame->call_id,
        frame->time_ns,
        frame->source | (uint64_t)frame->destination << 32,
        frame->action_id | (uint64_t)frame->attempt << 32 | (uint64_t)frame->tenant << 48,
        frame->aux | (uint64_t)frame->aux2 << 32,
        body_crc,
    };
    const size_t summed = offsetof(tdi_frame, header_crc);
    words[7] |= (uint64_t)tdi_crc32c(0, words, summed) << 32;
    memcpy(to, words, sizeof words);
}

static int kind_known(uint8_t kind)
{
    return (kind >= TDI_KIND_CALL && kind <= TDI_KIND_LOG) || kind == TDI_KIND_PAD;
}

td_status tdi_frame_check(const tdi_frame *local, uint32_t seq, uint64_t span_max)
{
    if (local->magic != TDI_FRAME_MAGIC || local->version != TDI_FRAME_VERSION)
        return TD_CORRUPT;
    if (local->header_crc != tdi_crc32c(0, local, offsetof(tdi_frame, header_crc)))
        return TD_CORRUPT;
    if (local->seq != seq)
        return TD_CORRUPT; /* a stale lap that was never overwritten */
    if (!kind_known(local->kind) || (local->flags & ~TDI_FLAGS_KNOWN) != 0)
        return TD_CORRUPT;
    if (local->lane >= TDI_LANES || local->ext_units > TDI_EXT_UNITS_MAX)
        return TD_CORRUPT;
    if (local->kind != TDI_KIND_PAD && tdi_frame_span(local) > span_max)
        return TD_CORRUPT;
    return TD_OK;
}
