/* torture_test.c - both ends of a ring as threads that sleep and ring: millions of frames.
 *
 * Frames of every size in batches of every length, in a ring small enough to be full, empty and
 * wrapped all the time. Each frame has a sequence number, a filling that follows from it, and a
 * CRC of its own behind that, besides those of the frame. Each end looks, arms its ticket, looks
 * again and sleeps on its pipe, as clients and the bridge do. A sleep that nobody ends in time is
 * a lost wake-up, and a failure.
 *
 * Usage: torture_test [FRAMES [SEED]]; `make test-long` sends 100,000,000.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/test.h"
#include "ring/bell.h"
#include "ring/ring.h"

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { FRAMES = 200000 };
#else
enum { FRAMES = 2000000 };
#endif
enum { CAPACITY_MAX = 64 * 1024, BODY_MAX = CAPACITY_MAX / 8, SLEEP_MS_MAX = 20000 };
enum { FRAMES_BELL, SPACE_BELL };

static struct {
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint32_t sleep_ticket;
    _Alignas(64) _Atomic uint32_t space_ticket;
    _Alignas(64) uint8_t data[CAPACITY_MAX];
} shared;
static struct {
    _Alignas(64) uint64_t sleeps, pads;
} counts[2];
static _Atomic int over; /* one end has failed: the other stops waiting */
static uint64_t frames = FRAMES, seed = 1;
static uint64_t capacity;
static int pipes[2][2];

/* xorshift64*; G. Marsaglia, "Xorshift RNGs", 2003. Each end has its own. */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* Most frames are short; each size up to the largest comes now and then. Known to both ends. */
static uint32_t body_bytes_of(uint64_t id)
{
    const uint64_t mixed = (id + seed) * UINT64_C(0x9E3779B97F4A7C15);
    const uint32_t largest = (uint32_t)(tdi_ring_span_max(capacity) - TDI_FRAME_BYTES);
    const uint32_t most = mixed >> 60 == 0 ? largest : largest < 160 ? largest : 160;
    return 12 + (uint32_t)((mixed >> 20) % (most - 12 + 1));
}

static void fill(uint8_t *body, uint32_t bytes, uint64_t id)
{
    memcpy(body, &id, 8);
    memset(body + 8, (int)(id * 31 >> 3), bytes - 12);
    const uint32_t crc = tdi_crc32c(0, body, bytes - 4);
    memcpy(body + bytes - 4, &crc, 4);
}

static int is_right(const uint8_t *body, uint32_t bytes, uint64_t id)
{
    uint64_t found_id;
    uint32_t found_crc;
    if (bytes != body_bytes_of(id))
        return 0;
    memcpy(&found_id, body, 8);
    memcpy(&found_crc, body + bytes - 4, 4);
    return found_id == id && found_crc == tdi_crc32c(0, body, bytes - 4) &&
           (bytes == 12 || body[8] == (uint8_t)(id * 31 >> 3));
}

/* After arming and a last look. 0: nobody rang. */
static int sleep_on(int which)
{
    struct pollfd wanted = {.fd = pipes[which][0], .events = POLLIN};
    counts[which].sleeps++;
    const int ready = poll(&wanted, 1, SLEEP_MS_MAX);
    if (ready > 0)
        tdi_bell_drain(pipes[which][0]);
    return ready > 0 || atomic_load_explicit(&over, memory_order_relaxed) != 0;
}

static void *fail(const char *what, uint64_t id)
{
    fprintf(stderr, "torture: frame %llu: %s\n", (unsigned long long)id, what);
    atomic_store(&over, 1);
    /* Wake the other for certain; two bytes too many do no harm now. */
    (void)!write(pipes[FRAMES_BELL][1], "", 1);
    (void)!write(pipes[SPACE_BELL][1], "", 1);
    return (void *)1;
}

static void *produce(void *context)
{
    static uint8_t body[BODY_MAX];
    uint64_t random = seed * 2 + 1;
    tdi_ring_tx tx;
    tdi_bell_rope rope = {.ticket = &shared.sleep_ticket};
    tdi_bell_ticket space = {.shared = &shared.space_ticket};
    (void)context;
    tdi_ring_tx_init(&tx, shared.data, capacity, &shared.tail, &shared.head);
    uint64_t batch = 1;
    for (uint64_t id = 0; id < frames;) {
        const uint32_t bytes = body_bytes_of(id);
        tdi_frame frame = {.kind = TDI_KIND_CALL, .body_bytes = bytes, .call_id = id};
        const td_view part = {body, bytes};
        fill(body, bytes, id);
        const uint64_t before = tx.at;
        td_status status = tdi_ring_push(&tx, &frame, NULL, &part, 1);
        if (status == TD_ERR_FULL) {
            if (tdi_ring_publish(&tx))
                tdi_bell_ring(&rope, pipes[FRAMES_BELL][1]);
            tdi_bell_arm(&space);
            status = tdi_ring_push(&tx, &frame, NULL, &part, 1);
            if (status == TD_ERR_FULL) {
                if (!sleep_on(SPACE_BELL))
                    return fail("nobody rang for room", id);
                if (atomic_load_explicit(&over, memory_order_relaxed))
                    return NULL;
                continue;
            }
            tdi_bell_disarm(&space);
        }
        if (status != TD_OK)
            return fail("push says that the cursor makes no sense", id);
        counts[SPACE_BELL].pads += tx.at - before != tdi_frame_span(&frame);
        id++;
        if (--batch == 0 || id == frames) {
            batch = 1 + draw(&random) % 16;
            if (tdi_ring_publish(&tx))
                tdi_bell_ring(&rope, pipes[FRAMES_BELL][1]);
        }
    }
    return NULL;
}

static void *consume(void *context)
{
    static uint8_t body[BODY_MAX];
    uint8_t ext[TDI_EXT_BYTES_MAX];
    uint64_t random = seed * 2 + 3;
    tdi_ring_rx rx;
    tdi_bell_rope rope = {.ticket = &shared.space_ticket};
    tdi_bell_ticket sleep = {.shared = &shared.sleep_ticket};
    (void)context;
    tdi_ring_rx_init(&rx, shared.data, capacity, &shared.tail, &shared.head);
    uint64_t batch = 1;
    for (uint64_t id = 0; id < frames;) {
        tdi_frame frame;
        const td_status status = tdi_ring_peek(&rx, &frame);
        if (status == TD_OK) {
            if (frame.call_id != id || tdi_ring_take(&rx, &frame, ext, body) != TD_OK ||
                !is_right(body, frame.body_bytes, id))
                return fail("another one, or damaged", id);
            id++;
        } else if (status != TD_ERR_AGAIN) {
            return fail("the ring is corrupt", id);
        }
        if (--batch == 0 || status == TD_ERR_AGAIN || id == frames) {
            batch = 1 + draw(&random) % 16;
            tdi_ring_release(&rx);
            tdi_bell_ring(&rope, pipes[SPACE_BELL][1]);
        }
        if (status != TD_ERR_AGAIN)
            continue;
        tdi_bell_arm(&sleep);
        if (!tdi_ring_waiting(&rx)) {
            if (!sleep_on(FRAMES_BELL))
                return fail("nobody rang for it", id);
            if (atomic_load_explicit(&over, memory_order_relaxed))
                return NULL;
        }
        if (draw(&random) & 1) /* awake, or arm once more next time */
            tdi_bell_disarm(&sleep);
    }
    return NULL;
}

static void race(uint64_t bytes)
{
    pthread_t producer;
    void *failed;
    capacity = bytes;
    memset(&shared, 0, sizeof shared);
    memset(counts, 0, sizeof counts);
    atomic_store(&over, 0);
    for (int i = 0; i < 2; i++)
        REQUIRE(pipe2(pipes[i], O_CLOEXEC | O_NONBLOCK) == 0);
    const uint64_t before_ns = tdi_now_ns();
    REQUIRE(pthread_create(&producer, NULL, produce, NULL) == 0);
    CHECK(consume(NULL) == NULL);
    pthread_join(producer, &failed);
    CHECK(failed == NULL);
    printf("       %llu frames through %llu bytes in %.1f s; PADs %llu, sleeps %llu and %llu\n",
           (unsigned long long)frames, (unsigned long long)capacity,
           (double)(tdi_now_ns() - before_ns) * 1e-9, (unsigned long long)counts[SPACE_BELL].pads,
           (unsigned long long)counts[FRAMES_BELL].sleeps,
           (unsigned long long)counts[SPACE_BELL].sleeps);
    CHECK(counts[SPACE_BELL].pads > frames / 1000);
    for (int i = 0; i < 2; i++) {
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
}

static void every_frame_crosses_a_ring_that_is_always_full_or_empty(void)
{
    race(4096);
}

static void every_frame_crosses_a_ring_with_room_for_many(void)
{
    race(CAPACITY_MAX);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        frames = strtoull(argv[1], NULL, 10);
    if (argc > 2)
        seed = strtoull(argv[2], NULL, 10) + 1;
    frames = frames / 2 > 0 ? frames / 2 : 1; /* half of them through each */
    RUN(every_frame_crosses_a_ring_that_is_always_full_or_empty);
    RUN(every_frame_crosses_a_ring_with_room_for_many);
    return TEST_RESULT;
}
