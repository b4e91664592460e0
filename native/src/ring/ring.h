/* ring.h - byte ring in shared memory: frames from one producer to one consumer.
 *
 * Cursors count bytes for ever and are multiples of 64; a position is cursor & (capacity - 1).
 * A frame never wraps: where the lap's rest is too short, a PAD frame fills it. Capacity is a
 * private copy; the other side's cursor is input and is clamped.
 *
 * Threads: one thread pushes, one thread pops, in one process or two.
 * Memory:  the caller owns the mapping. No call here allocates, locks or enters the kernel.
 * Errors:  td_status; out-parameters change only on TD_OK. TD_CORRUPT means that the peer
 *          broke the rules: give the session up.
 */
#ifndef TDI_RING_H
#define TDI_RING_H

#include <stdatomic.h>
#include <stdint.h>

#include "wire/frame.h"

/* The producer's end. */
typedef struct tdi_ring_tx {
    uint8_t *data;
    uint64_t capacity;
    _Atomic uint64_t *tail;       /* ours */
    const _Atomic uint64_t *head; /* the consumer's */
    uint64_t at;                  /* written so far */
    uint64_t published;
    uint64_t head_seen;
} tdi_ring_tx;

/* The consumer's end. */
typedef struct tdi_ring_rx {
    const uint8_t *data;
    uint64_t capacity;
    const _Atomic uint64_t *tail; /* the producer's */
    _Atomic uint64_t *head;       /* ours */
    uint64_t at;                  /* read so far */
    uint64_t tail_seen;
} tdi_ring_rx;

/* Both cursors must be 0 in the shared memory. capacity: a power of two, at least 512. */
void tdi_ring_tx_init(tdi_ring_tx *ring, uint8_t *data, uint64_t capacity, _Atomic uint64_t *tail,
                      const _Atomic uint64_t *head);
void tdi_ring_rx_init(tdi_ring_rx *ring, const uint8_t *data, uint64_t capacity,
                      const _Atomic uint64_t *tail, _Atomic uint64_t *head);

/* A frame, header included, is at most an eighth of its ring. */
static inline uint64_t tdi_ring_span_max(uint64_t capacity)
{
    return capacity / 8;
}

/* Write one frame: `frame` says kind, ids, ext_units and body_bytes; magic, version, seq and
 * CRCs are added on the way. The body is the concatenation of `parts`, whose sum must be
 * body_bytes. Nothing is visible until tdi_ring_publish(). Errors: TD_ERR_FULL, TD_TOO_LARGE,
 * TD_CORRUPT. */
td_status tdi_ring_push(tdi_ring_tx *ring, const tdi_frame *frame, const uint8_t *ext,
                        const td_view *parts, size_t parts_total);

/* As tdi_ring_push, with frame->body_crc as whoever made the body computed it: a router hands it
 * on, so that it holds from end to end. */
td_status tdi_ring_forward(tdi_ring_tx *ring, const tdi_frame *frame, const uint8_t *ext,
                           const uint8_t *body);

/* Show the consumer everything pushed so far. Returns 1 if there was something new. */
int tdi_ring_publish(tdi_ring_tx *ring);

/* Copy and check the next header. PADs are passed over. TD_ERR_AGAIN: empty. TD_CORRUPT. */
td_status tdi_ring_peek(tdi_ring_rx *ring, tdi_frame *frame);

/* Copy extension (ext: TDI_EXT_BYTES_MAX bytes) and body (body: frame->body_bytes) of the frame
 * just peeked, check their CRC on the copies, and step over it.
 * `body` NULL: step over without looking. */
td_status tdi_ring_take(tdi_ring_rx *ring, const tdi_frame *frame, uint8_t *ext, uint8_t *body);

/* Give everything taken so far back to the producer. */
void tdi_ring_release(tdi_ring_rx *ring);

/* Is something there? A fresh seq_cst look, the one that pairs with the sleep ticket. */
int tdi_ring_waiting(tdi_ring_rx *ring);

#endif /* TDI_RING_H */
