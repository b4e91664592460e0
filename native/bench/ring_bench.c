/* ring_bench.c - frames a second through one ring, both CRCs included: between two threads, and
 * in turns on one thread (what a frame costs when nobody waits for anybody).
 *
 * usage: ring_bench [BODY_BYTES [FRAMES]] */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "ring/ring.h"

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

static void *produce(void *context)
{
    uint8_t body[65536];
    memset(body, 7, sizeof body);
    const td_view part = {body, body_bytes};
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
            frame.call_id != id + taken)
            return UINT64_MAX;
        taken++;
    }
    tdi_ring_release(&rx);
    return taken;
}

static int in_turns(void)
{
    static uint8_t body[65536];
    const td_view part = {body, body_bytes};
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

int main(int argc, char **argv)
{
    if (argc > 1)
        body_bytes = (uint32_t)atoi(argv[1]) & 0xFFFF;
    if (argc > 2)
        frames = strtoull(argv[2], NULL, 10) / BATCH * BATCH;
    tdi_ring_tx_init(&tx, data, CAPACITY, &cursors.tail, &cursors.head);
    tdi_ring_rx_init(&rx, data, CAPACITY, &cursors.tail, &cursors.head);
    memset(data, 0, sizeof data);
    uint64_t before_ns = tdi_now_ns();
    if (!in_turns())
        return 1;
    report("ring_in_turns", tdi_now_ns() - before_ns);
    before_ns = tdi_now_ns();
    if (!between_threads())
        return 1;
    report("ring_between_threads", tdi_now_ns() - before_ns);
    return 0;
}
