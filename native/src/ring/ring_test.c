#include "ring/ring.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/crc32c.h"
#include "base/test.h"

enum { CAPACITY = 4096, SPAN_MAX = CAPACITY / 8 };

typedef struct pair {
    _Alignas(64) uint8_t data[CAPACITY];
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t head;
    tdi_ring_tx tx;
    tdi_ring_rx rx;
} pair;

static void pair_init(pair *ring)
{
    memset(ring->data, 0, sizeof ring->data);
    atomic_store(&ring->tail, 0);
    atomic_store(&ring->head, 0);
    tdi_ring_tx_init(&ring->tx, ring->data, CAPACITY, &ring->tail, &ring->head);
    tdi_ring_rx_init(&ring->rx, ring->data, CAPACITY, &ring->tail, &ring->head);
}

static td_status push(pair *ring, uint64_t id, const void *body, uint32_t bytes)
{
    tdi_frame frame = {.kind = TDI_KIND_CALL, .body_bytes = bytes, .call_id = id};
    const td_view part = {body, bytes};
    return tdi_ring_push(&ring->tx, &frame, NULL, &part, 1);
}

static td_status pop(pair *ring, tdi_frame *frame, uint8_t *body)
{
    uint8_t ext[TDI_EXT_BYTES_MAX];
    td_status status = tdi_ring_peek(&ring->rx, frame);
    if (status == TD_OK)
        status = tdi_ring_take(&ring->rx, frame, ext, body);
    if (status == TD_OK)
        tdi_ring_release(&ring->rx);
    return status;
}

static void nothing_is_seen_before_publish(void)
{
    static pair ring;
    tdi_frame frame;
    uint8_t body[SPAN_MAX];
    pair_init(&ring);
    CHECK_EQ(push(&ring, 1, "abc", 3), TD_OK);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_ERR_AGAIN);
    CHECK_EQ(tdi_ring_publish(&ring.tx), 1);
    CHECK_EQ(tdi_ring_publish(&ring.tx), 0);
    CHECK_EQ(pop(&ring, &frame, body), TD_OK);
    CHECK(frame.call_id == 1 && frame.body_bytes == 3 && memcmp(body, "abc", 3) == 0);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_ERR_AGAIN);
}

static void extension_and_parts_arrive_in_order(void)
{
    static pair ring;
    pair_init(&ring);
    uint8_t ext[8] = {6, 0, 0, 0, 9, 9, 9, 9}, ext_back[TDI_EXT_BYTES_MAX], body[SPAN_MAX];
    const td_view parts[] = {{(const uint8_t *)"one", 3}, {NULL, 0}, {(const uint8_t *)"two", 3}};
    tdi_frame frame = {.kind = TDI_KIND_CALL, .ext_units = 1, .body_bytes = 6};
    CHECK_EQ(tdi_ring_push(&ring.tx, &frame, ext, parts, 3), TD_OK);
    tdi_ring_publish(&ring.tx);
    REQUIRE(tdi_ring_peek(&ring.rx, &frame) == TD_OK);
    CHECK_EQ(tdi_ring_take(&ring.rx, &frame, ext_back, body), TD_OK);
    CHECK(memcmp(ext_back, ext, 8) == 0 && memcmp(body, "onetwo", 6) == 0);
}

/* The memory is the peer's to read, padding included. */
static void nothing_old_shows_behind_a_body(void)
{
    static pair ring;
    uint8_t body[SPAN_MAX];
    memset(body, 0x55, sizeof body);
    for (uint32_t bytes = 0; bytes <= SPAN_MAX - 64; bytes++)
        for (int forwarded = 0; forwarded < 2; forwarded++) {
            pair_init(&ring);
            memset(ring.data, 0xAA, sizeof ring.data);
            const tdi_frame frame = {.kind = TDI_KIND_CALL, .body_bytes = bytes};
            const td_view part = {body, bytes};
            REQUIRE((forwarded ? tdi_ring_forward(&ring.tx, &frame, NULL, body)
                               : tdi_ring_push(&ring.tx, &frame, NULL, &part, 1)) == TD_OK);
            REQUIRE(memcmp(ring.data + 64, body, bytes) == 0);
            const uint64_t span = tdi_frame_span(&frame);
            for (uint64_t at = 64 + bytes; at < span; at++)
                REQUIRE(ring.data[at] == 0);
            REQUIRE(ring.data[span] == 0xAA);
        }
}

static void laps_of_every_size_come_through(void)
{
    static pair ring;
    pair_init(&ring);
    uint8_t body[SPAN_MAX], back[SPAN_MAX];
    tdi_frame frame;
    for (uint64_t id = 0; id < 5000; id++) {
        const uint32_t bytes = (uint32_t)(id * 37 % (SPAN_MAX - 64 + 1));
        memset(body, (int)id, bytes);
        REQUIRE(push(&ring, id, body, bytes) == TD_OK);
        tdi_ring_publish(&ring.tx);
        REQUIRE(pop(&ring, &frame, back) == TD_OK);
        REQUIRE(frame.call_id == id && frame.body_bytes == bytes);
        REQUIRE(memcmp(body, back, bytes) == 0);
    }
}

static void a_full_ring_says_so_and_recovers(void)
{
    static pair ring;
    pair_init(&ring);
    uint8_t body[SPAN_MAX] = {0};
    tdi_frame frame;
    int pushed = 0;
    while (push(&ring, (uint64_t)pushed, body, 100) == TD_OK)
        pushed++;
    CHECK_EQ(pushed, CAPACITY / 192); /* 64 + 100 rounded up */
    CHECK_EQ(push(&ring, 0, body, 100), TD_ERR_FULL);
    tdi_ring_publish(&ring.tx);
    for (int i = 0; i < pushed; i++)
        CHECK_EQ(pop(&ring, &frame, body), TD_OK);
    CHECK_EQ(push(&ring, 0, body, 100), TD_OK);
}

/* 64 bytes of the lap are left and 256 at its front are free again: a frame of 320 fits by the
 * sum, but not behind the PAD. */
static void the_pad_counts_when_room_is_looked_for(void)
{
    static pair ring;
    pair_init(&ring);
    uint8_t body[SPAN_MAX] = {0};
    tdi_frame frame;
    for (int i = 0; i < 15; i++)
        CHECK_EQ(push(&ring, 1, body, 256 - 64), TD_OK);
    CHECK_EQ(push(&ring, 1, body, 192 - 64), TD_OK); /* 64 bytes of the lap are left */
    tdi_ring_publish(&ring.tx);
    CHECK_EQ(pop(&ring, &frame, body), TD_OK); /* 256 free at the front, 320 in all */
    CHECK_EQ(push(&ring, 1, body, 320 - 64), TD_ERR_FULL);
    CHECK_EQ(push(&ring, 1, body, 256 - 64), TD_OK);
    CHECK_EQ(push(&ring, 1, body, 0), TD_ERR_FULL);
    tdi_ring_publish(&ring.tx);
    for (int i = 0; i < 16; i++)
        CHECK_EQ(pop(&ring, &frame, body), TD_OK);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_ERR_AGAIN);
}

static void a_frame_over_an_eighth_is_refused(void)
{
    static pair ring;
    pair_init(&ring);
    uint8_t body[SPAN_MAX] = {0};
    CHECK_EQ(push(&ring, 1, body, SPAN_MAX - 64), TD_OK);
    CHECK_EQ(push(&ring, 1, body, SPAN_MAX - 63), TD_TOO_LARGE);
}

static void cursors_that_make_no_sense_are_corrupt(void)
{
    static pair ring;
    tdi_frame frame;
    static const uint64_t tails[] = {CAPACITY + 64, 32, UINT64_MAX - 63, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        pair_init(&ring);
        push(&ring, 1, "x", 1); /* a sound frame: the cursor alone must be enough to refuse */
        atomic_store(&ring.tail, tails[i]);
        CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
    }
    for (int i = 0; i < 4; i++) {
        pair_init(&ring);
        while (push(&ring, 1, "x", 1) == TD_OK)
            ; /* full, so that the next push has to look at the head */
        tdi_ring_publish(&ring.tx);
        const uint64_t heads[] = {ring.tx.at + 64, 32, UINT64_MAX - 63, UINT64_C(1) << 63};
        atomic_store(&ring.head, heads[i]);
        CHECK_EQ(push(&ring, 1, "x", 1), TD_CORRUPT);
    }
    /* A tail between two units, with a sound frame before it. */
    pair_init(&ring);
    push(&ring, 1, "x", 1);
    tdi_ring_publish(&ring.tx);
    atomic_store(&ring.tail, 128 + 32);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
    /* A tail that goes back. */
    pair_init(&ring);
    for (int i = 0; i < 4; i++)
        push(&ring, 1, "x", 1);
    tdi_ring_publish(&ring.tx);
    uint8_t body[SPAN_MAX];
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pop(&ring, &frame, body), TD_OK);
    atomic_store(&ring.tail, 128);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
}

static void every_flipped_bit_is_noticed(void)
{
    static pair ring;
    tdi_frame frame;
    uint8_t body[SPAN_MAX];
    for (size_t bit = 0; bit < (64 + 10) * 8; bit++) {
        pair_init(&ring);
        push(&ring, 7, "0123456789", 10);
        tdi_ring_publish(&ring.tx);
        ring.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (pop(&ring, &frame, body) != TD_CORRUPT) {
            fprintf(stderr, "bit %zu\n", bit);
            CHECK(!"a flipped bit passed");
        }
    }
}

static void what_an_old_lap_left_is_no_frame(void)
{
    static pair ring;
    tdi_frame frame;
    uint8_t body[SPAN_MAX] = {0};
    pair_init(&ring);
    const int lap = CAPACITY / 64;
    for (int i = 0; i < lap; i++) {
        push(&ring, (uint64_t)i, NULL, 0);
        tdi_ring_publish(&ring.tx);
        pop(&ring, &frame, body);
    }
    /* A tail that moves on over frames never written again: valid headers of the lap before. */
    atomic_store(&ring.tail, CAPACITY + 64);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
}

/* A header whose span reaches past the tail, or past the lap, must not be read. */
static void spans_beyond_what_is_there_are_corrupt(void)
{
    static pair ring;
    tdi_frame frame = {.kind = TDI_KIND_CALL, .body_bytes = 200};
    pair_init(&ring);
    tdi_frame_seal(&frame, 0, 0);
    memcpy(ring.data, &frame, sizeof frame);
    atomic_store(&ring.tail, 64);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
}

/* An empty ring with `rest` bytes of the lap left, and a forged header there. */
static void forge_near_the_end(pair *ring, uint64_t rest, tdi_frame frame, uint64_t shown)
{
    uint8_t body[SPAN_MAX];
    tdi_frame taken;
    pair_init(ring);
    for (uint64_t at = 0; at < CAPACITY - rest; at += 64) {
        push(ring, 1, NULL, 0);
        tdi_ring_publish(&ring->tx);
        CHECK_EQ(pop(ring, &taken, body), TD_OK);
    }
    tdi_frame_seal(&frame, (uint32_t)((CAPACITY - rest) / 64), 0);
    memcpy(ring->data + CAPACITY - rest, &frame, sizeof frame);
    atomic_store(&ring->tail, CAPACITY - rest + shown);
}

static void a_frame_past_the_lap_is_corrupt(void)
{
    static pair ring;
    tdi_frame frame = {.kind = TDI_KIND_CALL, .body_bytes = 64};
    forge_near_the_end(&ring, 64, frame, 128);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
    forge_near_the_end(&ring, 128, frame, 128);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_OK);
}

static void pads_that_no_honest_end_writes_are_corrupt(void)
{
    static pair ring;
    tdi_frame frame;
    const tdi_frame good = {.kind = TDI_KIND_PAD, .body_bytes = 64};
    forge_near_the_end(&ring, 128, good, 128);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_ERR_AGAIN);
    CHECK_EQ(ring.rx.at, CAPACITY);

    forge_near_the_end(&ring, 128, good, 64); /* past what is shown, and a frame behind it */
    frame = (tdi_frame){.kind = TDI_KIND_CALL};
    tdi_frame_seal(&frame, CAPACITY / 64, 0);
    memcpy(ring.data, &frame, sizeof frame);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
    forge_near_the_end(&ring, 256, good, 256); /* does not end the lap */
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
    tdi_frame extended = good;
    extended.ext_units = 1;
    forge_near_the_end(&ring, 128, extended, 128);
    CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
    for (uint64_t rest = SPAN_MAX; rest <= CAPACITY; rest *= 2) { /* more than one is ever for */
        const tdi_frame longer = {.kind = TDI_KIND_PAD, .body_bytes = (uint32_t)rest - 64};
        forge_near_the_end(&ring, rest, longer, rest);
        CHECK_EQ(tdi_ring_peek(&ring.rx, &frame), TD_CORRUPT);
    }
}

/* ---- two threads ---- */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { TORTURE = 100000 };
#else
enum { TORTURE = 1000000 };
#endif

static pair shared;

static uint32_t bytes_of(uint64_t id)
{
    return (uint32_t)(id * UINT64_C(0x9E3779B97F4A7C15) >> 56); /* 0 to 255 */
}

static void *produce(void *context)
{
    uint8_t body[256];
    (void)context;
    for (uint64_t id = 0; id < TORTURE; id++) {
        const uint32_t bytes = bytes_of(id);
        memset(body, (int)(id * 7), bytes);
        td_status status;
        while ((status = push(&shared, id, body, bytes)) == TD_ERR_FULL) {
            tdi_ring_publish(&shared.tx);
            sched_yield();
        }
        if (status != TD_OK)
            return (void *)1;
        if (id % 5 == 0)
            tdi_ring_publish(&shared.tx);
    }
    tdi_ring_publish(&shared.tx);
    return NULL;
}

static void a_million_frames_cross_between_threads(void)
{
    pthread_t producer;
    uint8_t body[256], expected[256];
    pair_init(&shared);
    REQUIRE(pthread_create(&producer, NULL, produce, NULL) == 0);
    uint64_t id = 0;
    while (id < TORTURE) {
        tdi_frame frame;
        const td_status status = pop(&shared, &frame, body);
        if (status == TD_ERR_AGAIN) {
            sched_yield();
            continue;
        }
        if (status != TD_OK || frame.call_id != id || frame.body_bytes != bytes_of(id)) {
            CHECK(!"out of order or corrupt");
            break;
        }
        memset(expected, (int)(id * 7), frame.body_bytes);
        if (memcmp(expected, body, frame.body_bytes) != 0) {
            CHECK(!"another body");
            break;
        }
        id++;
    }
    void *result;
    pthread_join(producer, &result);
    CHECK(result == NULL);
    CHECK_EQ(id, TORTURE);
}

int main(void)
{
    RUN(nothing_is_seen_before_publish);
    RUN(extension_and_parts_arrive_in_order);
    RUN(nothing_old_shows_behind_a_body);
    RUN(laps_of_every_size_come_through);
    RUN(a_full_ring_says_so_and_recovers);
    RUN(the_pad_counts_when_room_is_looked_for);
    RUN(a_frame_over_an_eighth_is_refused);
    RUN(cursors_that_make_no_sense_are_corrupt);
    RUN(every_flipped_bit_is_noticed);
    RUN(what_an_old_lap_left_is_no_frame);
    RUN(spans_beyond_what_is_there_are_corrupt);
    RUN(a_frame_past_the_lap_is_corrupt);
    RUN(pads_that_no_honest_end_writes_are_corrupt);
    RUN(a_million_frames_cross_between_threads);
    return TEST_RESULT;
}
