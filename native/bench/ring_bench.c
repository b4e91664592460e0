/* ring_bench.c - frames a second through one ring, both CRCs included: between two threads, with
 * and without the strict walk of each body, and in turns on one thread (what a frame costs when
 * nobody waits for anybody); and a bare ring beside it, which copies as many bytes and checks
 * nothing: what two cores of this machine can do at all.
 *
 * usage: ring_bench [BODY_BYTES [FRAMES]] */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "ring/ring.h"
#include "strict/strict.h"
#include "tandem/message.h"

enum { CAPACITY = 2 << 20, BATCH = 32 };

static _Alignas(64) uint8_t data[CAPACITY];
static struct {
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t head;
} cursors;
static tdi_ring_tx tx;
static tdi_ring_rx rx;
static uint32_t body_bytes = 100;
static uint64_t frames = 10000000;
static uint8_t body_made[65536];
static int walk; /* check each body as strict MessagePack */

/* A map of four fields, the last of which fills the size. 0: this size has no such map. */
static int make_strict_body(void)
{
    enum { REST = 31 + 2, STR8_MIN = 32, STR8_MAX = 255 };
    if (body_bytes < REST + STR8_MIN || body_bytes > REST + STR8_MAX)
        return 0;
    char text[STR8_MAX + 1];
    memset(text, 'x', sizeof text);
    text[body_bytes - REST] = '\0';
    td_writer writer;
    td_writer_fixed(&writer, body_made, sizeof body_made);
    td_write_map(&writer, 4);
    td_write_text(&writer, "kind");
    td_write_text(&writer, "message");
    td_write_text(&writer, "id");
    td_write_uint(&writer, 4000000000u);
    td_write_text(&writer, "ok");
    td_write_bool(&writer, true);
    td_write_text(&writer, "text");
    td_write_text(&writer, text);
    return td_writer_bytes(&writer) == body_bytes;
}

static void *produce(void *context)
{
    const td_view part = {body_made, body_bytes};
    for (uint64_t id = 0; id < frames; id++) {
        tdi_frame frame = {.kind = TDI_KIND_CALL, .body_bytes = body_bytes, .call_id = id};
        while (tdi_ring_push(&tx, &frame, NULL, &part, 1) == TD_ERR_FULL) {
            tdi_ring_publish(&tx);
            tdi_relax();
        }
        if (id % BATCH == BATCH - 1)
            tdi_ring_publish(&tx);
    }
    tdi_ring_publish(&tx);
    return context;
}

static void report(const char *name, uint64_t took_ns)
{
    printf("{\"benchmark\": \"%s\", \"body_bytes\": %u, \"frames\": %llu, \"crc\": \"%s\", "
           "\"frames_per_s\": %.0f, \"ns_per_frame\": %.1f}\n",
           name, body_bytes, (unsigned long long)frames, tdi_crc32c_path(),
           (double)frames * 1e9 / (double)took_ns, (double)took_ns / (double)frames);
}

/* Take what is there; returns the number of frames, or UINT64_MAX on a fault. */
static uint64_t consume(uint64_t id, uint64_t most)
{
    uint8_t ext[TDI_EXT_BYTES_MAX], body[65536];
    uint64_t taken = 0;
    while (taken < most) {
        tdi_frame frame;
        const td_status status = tdi_ring_peek(&rx, &frame);
        if (status == TD_ERR_AGAIN)
            break;
        if (status != TD_OK || tdi_ring_take(&rx, &frame, ext, body) != TD_OK ||
            frame.call_id != id + taken ||
            (walk && td_strict_check(body, frame.body_bytes) != TD_OK))
            return UINT64_MAX;
        taken++;
    }
    tdi_ring_release(&rx);
    return taken;
}

static int in_turns(void)
{
    const td_view part = {body_made, body_bytes};
    for (uint64_t id = 0; id < frames; id += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++) {
            tdi_frame frame = {.kind = TDI_KIND_CALL, .body_bytes = body_bytes, .call_id = id + i};
            if (tdi_ring_push(&tx, &frame, NULL, &part, 1) != TD_OK)
                return 0;
        }
        tdi_ring_publish(&tx);
        if (consume(id, BATCH) != BATCH)
            return 0;
    }
    return 1;
}

static int between_threads(void)
{
    pthread_t producer;
    if (pthread_create(&producer, NULL, produce, NULL) != 0)
        return 0;
    for (uint64_t id = 0; id < frames;) {
        const uint64_t taken = consume(id, BATCH);
        if (taken == UINT64_MAX)
            return 0;
        if (taken == 0)
            tdi_relax();
        id += taken;
    }
    pthread_join(producer, NULL);
    return 1;
}

/* ---- the bare ring ---- */

static size_t bare_span; /* as a frame's: header and body, rounded up to 64 */

static uint64_t bare_slots(void)
{
    return CAPACITY / bare_span;
}

static void *produce_bare(void *context)
{
    static _Alignas(64) uint8_t message[65536 + 128];
    const uint64_t slots = bare_slots();
    uint64_t head = 0, slot = 0;
    for (uint64_t id = 0; id < frames; id++) {
        if (id - head == slots) {
            atomic_store_explicit(&cursors.tail, id, memory_order_release);
            while (id - head == slots) {
                head = atomic_load_explicit(&cursors.head, memory_order_acquire);
                tdi_relax();
            }
        }
        memcpy(message, &id, sizeof id);
        memcpy(data + slot * bare_span, message, bare_span);
        slot = slot + 1 == slots ? 0 : slot + 1;
        if (id % BATCH == BATCH - 1)
            atomic_store_explicit(&cursors.tail, id + 1, memory_order_release);
    }
    atomic_store_explicit(&cursors.tail, frames, memory_order_release);
    return context;
}

static int bare(void)
{
    static _Alignas(64) uint8_t message[65536 + 128];
    const uint64_t slots = bare_slots();
    pthread_t producer;
    uint64_t slot = 0;
    atomic_store(&cursors.tail, 0);
    atomic_store(&cursors.head, 0);
    if (pthread_create(&producer, NULL, produce_bare, NULL) != 0)
        return 0;
    for (uint64_t id = 0; id < frames;) {
        const uint64_t tail = atomic_load_explicit(&cursors.tail, memory_order_acquire);
        const uint64_t until = tail - id > BATCH ? id + BATCH : tail;
        if (until == id)
            tdi_relax();
        for (; id < until; id++) {
            uint64_t seen;
            memcpy(message, data + slot * bare_span, bare_span);
            __asm__ __volatile__("" : : "r"(message) : "memory");
            memcpy(&seen, message, sizeof seen);
            if (seen != id)
                return 0;
            slot = slot + 1 == slots ? 0 : slot + 1;
        }
        atomic_store_explicit(&cursors.head, id, memory_order_release);
    }
    pthread_join(producer, NULL);
    return 1;
}

static void reset(void)
{
    atomic_store(&cursors.tail, 0);
    atomic_store(&cursors.head, 0);
    tdi_ring_tx_init(&tx, data, CAPACITY, &cursors.tail, &cursors.head);
    tdi_ring_rx_init(&rx, data, CAPACITY, &cursors.tail, &cursors.head);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        body_bytes = (uint32_t)atoi(argv[1]) & 0xFFFF;
    if (argc > 2)
        frames = strtoull(argv[2], NULL, 10) / BATCH * BATCH;
    bare_span = (64u + body_bytes + 63u) / 64 * 64;
    memset(data, 0, sizeof data);
    const int has_strict = make_strict_body();
    reset();
    uint64_t before_ns = tdi_now_ns();
    if (!in_turns())
        return 1;
    report("ring_in_turns", tdi_now_ns() - before_ns);
    before_ns = tdi_now_ns();
    if (!between_threads())
        return 1;
    report("ring_between_threads", tdi_now_ns() - before_ns);
    if (has_strict) {
        walk = 1;
        before_ns = tdi_now_ns();
        if (!between_threads())
            return 1;
        report("ring_strict", tdi_now_ns() - before_ns);
    }
    before_ns = tdi_now_ns();
    if (!bare())
        return 1;
    report("ring_bare", tdi_now_ns() - before_ns);
    return 0;
}
