#include "ring/ring.h"

#include <assert.h>
#include <string.h>

#include "base/crc32c.h"

void tdi_ring_tx_init(tdi_ring_tx *ring, uint8_t *data, uint64_t capacity, _Atomic uint64_t *tail,
                      const _Atomic uint64_t *head)
{
    assert(capacity >= 512 && (capacity & (capacity - 1)) == 0);
    *ring = (tdi_ring_tx){.data = data, .capacity = capacity, .tail = tail, .head = head};
}

void tdi_ring_rx_init(tdi_ring_rx *ring, const uint8_t *data, uint64_t capacity,
                      const _Atomic uint64_t *tail, _Atomic uint64_t *head)
{
    assert(capacity >= 512 && (capacity & (capacity - 1)) == 0);
    *ring = (tdi_ring_rx){.data = data, .capacity = capacity, .tail = tail, .head = head};
}

static td_status look_at_head(tdi_ring_tx *ring)
{
    /* seq_cst: acquires the consumer's reads (the span may be overwritten now), and takes part
     * in the order with the space ticket, see bell.h. */
    const uint64_t head = atomic_load_explicit(ring->head, memory_order_seq_cst);
    /* Between what we saw last and what we have published; anything else is nonsense. */
    if (head - ring->head_seen > ring->published - ring->head_seen || head % 64 != 0)
        return TD_CORRUPT;
    ring->head_seen = head;
    return TD_OK;
}

static void write_pad(tdi_ring_tx *ring, uint64_t rest)
{
    const tdi_frame pad = {.kind = TDI_KIND_PAD, .body_bytes = (uint32_t)(rest - TDI_FRAME_BYTES)};
    tdi_frame_write(ring->data + (ring->at & (ring->capacity - 1)), &pad, (uint32_t)(ring->at / 64),
                    0);
    ring->at += rest;
}

/* Make room for `span` bytes in one piece. */
static td_status make_room(tdi_ring_tx *ring, uint64_t span)
{
    if (span > tdi_ring_span_max(ring->capacity))
        return TD_TOO_LARGE;
    const uint64_t rest = ring->capacity - (ring->at & (ring->capacity - 1));
    const uint64_t need = span > rest ? rest + span : span;
    if (need > ring->capacity - (ring->at - ring->head_seen)) {
        const td_status status = look_at_head(ring);
        if (status != TD_OK)
            return status;
        if (need > ring->capacity - (ring->at - ring->head_seen))
            return TD_ERR_FULL;
    }
    if (span > rest)
        write_pad(ring, rest);
    return TD_OK;
}

/* No old bytes may leak through the padding, which is less than a line. All of that line, before
 * anything else is written to it: its length is known. */
static void clear_last_line(uint8_t *start, uint64_t span)
{
    memset(start + span - 64, 0, 64);
}

td_status tdi_ring_push(tdi_ring_tx *ring, const tdi_frame *frame, const uint8_t *ext,
                        const td_view *parts, size_t parts_total)
{
    const uint64_t span = tdi_frame_span(frame);
    const td_status status = make_room(ring, span);
    if (status != TD_OK)
        return status;
    uint8_t *const start = ring->data + (ring->at & (ring->capacity - 1));
    uint8_t *to = start + TDI_FRAME_BYTES;
    const size_t ext_bytes = 8u * frame->ext_units;
    uint32_t crc = 0;
    clear_last_line(start, span);
    if (ext_bytes > 0) {
        crc = tdi_crc32c_copy(crc, to, ext, ext_bytes);
        to += ext_bytes;
    }
    size_t body_bytes = 0;
    for (size_t i = 0; i < parts_total; i++) {
        if (parts[i].bytes == 0)
            continue;
        body_bytes += parts[i].bytes;
        assert(body_bytes <= frame->body_bytes);
        crc = tdi_crc32c_copy(crc, to, parts[i].data, parts[i].bytes);
        to += parts[i].bytes;
    }
    assert(body_bytes == frame->body_bytes);
    tdi_frame_write(start, frame, (uint32_t)(ring->at / 64), crc);
    ring->at += span;
    return TD_OK;
}

td_status tdi_ring_forward(tdi_ring_tx *ring, const tdi_frame *frame, const uint8_t *ext,
                           const uint8_t *body)
{
    const uint64_t span = tdi_frame_span(frame);
    const td_status status = make_room(ring, span);
    if (status != TD_OK)
        return status;
    uint8_t *const start = ring->data + (ring->at & (ring->capacity - 1));
    uint8_t *to = start + TDI_FRAME_BYTES;
    clear_last_line(start, span);
    if (frame->ext_units > 0)
        memcpy(to, ext, 8u * frame->ext_units);
    to += 8u * frame->ext_units;
    if (frame->body_bytes > 0)
        memcpy(to, body, frame->body_bytes);
    tdi_frame_write(start, frame, (uint32_t)(ring->at / 64), frame->body_crc);
    ring->at += span;
    return TD_OK;
}

int tdi_ring_publish(tdi_ring_tx *ring)
{
    if (ring->published == ring->at)
        return 0;
    ring->published = ring->at;
    /* seq_cst: releases the frames, and orders this store before the load of the consumer's
     * sleep ticket in tdi_bell_ring(). */
    atomic_store_explicit(ring->tail, ring->at, memory_order_seq_cst);
    return 1;
}

static td_status look_at_tail(tdi_ring_rx *ring)
{
    /* seq_cst: acquires the producer's frames, and pairs with the sleep ticket in bell.h. */
    const uint64_t tail = atomic_load_explicit(ring->tail, memory_order_seq_cst);
    /* Everything seen before has been read, so a tail that goes back is far ahead as well. */
    if (tail - ring->at > ring->capacity || tail % 64 != 0)
        return TD_CORRUPT;
    ring->tail_seen = tail;
    return TD_OK;
}

td_status tdi_ring_peek(tdi_ring_rx *ring, tdi_frame *frame)
{
    for (;;) {
        if (ring->tail_seen == ring->at) {
            const td_status status = look_at_tail(ring);
            if (status != TD_OK)
                return status;
            if (ring->tail_seen == ring->at)
                return TD_ERR_AGAIN;
        }
        const uint64_t position = ring->at & (ring->capacity - 1);
        tdi_frame local;
        tdi_frame_copy(&local, ring->data + position);
        const td_status status =
            tdi_frame_check(&local, (uint32_t)(ring->at / 64), tdi_ring_span_max(ring->capacity));
        if (status != TD_OK)
            return status;
        const uint64_t rest = ring->capacity - position;
        const uint64_t available = ring->tail_seen - ring->at;
        if (local.kind == TDI_KIND_PAD) {
            if (local.body_bytes != rest - TDI_FRAME_BYTES || local.ext_units != 0 ||
                rest > available || rest >= tdi_ring_span_max(ring->capacity))
                return TD_CORRUPT; /* longer PADs would let one look last for many laps */
            ring->at += rest;
            continue;
        }
        const uint64_t span = tdi_frame_span(&local);
        if (span > rest || span > available)
            return TD_CORRUPT;
        *frame = local;
        return TD_OK;
    }
}

td_status tdi_ring_take(tdi_ring_rx *ring, const tdi_frame *frame, uint8_t *ext, uint8_t *body)
{
    const uint8_t *from = ring->data + (ring->at & (ring->capacity - 1)) + TDI_FRAME_BYTES;
    if (body != NULL) {
        const size_t ext_bytes = 8u * frame->ext_units;
        uint32_t crc = 0;
        /* Of what was copied: the peer can still write the originals. */
        if (ext_bytes > 0)
            crc = tdi_crc32c_copy(crc, ext, from, ext_bytes);
        crc = tdi_crc32c_copy(crc, body, from + ext_bytes, frame->body_bytes);
        if (crc != frame->body_crc)
            return TD_CORRUPT;
    }
    ring->at += tdi_frame_span(frame);
    return TD_OK;
}

void tdi_ring_release(tdi_ring_rx *ring)
{
    /* relaxed: only we store head. */
    if (atomic_load_explicit(ring->head, memory_order_relaxed) == ring->at)
        return;
    /* seq_cst: releases our reads of the span, and orders this store before the load of the
     * producer's space ticket. */
    atomic_store_explicit(ring->head, ring->at, memory_order_seq_cst);
}

int tdi_ring_waiting(tdi_ring_rx *ring)
{
    return ring->tail_seen != ring->at ||
           atomic_load_explicit(ring->tail, memory_order_seq_cst) != ring->at;
}
