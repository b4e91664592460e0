/* doorbell_litmus.c - two threads race the two orders of bell.h, and lost wake-ups are counted.
 *
 * One round: the waker moves a cursor and looks at the ticket, the sleeper shows a new ticket and
 * looks at the cursor. If neither sees the other, the sleeper would sleep for ever: lost. Both
 * directions are raced, a consumer that waits for frames and a producer that waits for room, with
 * the code of ring.c and bell.c itself, which is compiled in here.
 *
 * TDI_WEAK_DOORBELL compiles the same code with release and acquire in place of seq_cst. That build
 * must lose wake-ups, or the race races nothing; it counts as skipped where
 * the machine shows none (one CPU, or a processor that does not reorder here).
 *
 * Usage: doorbell_litmus [SECONDS a direction, default 1.2]
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef TDI_WEAK_DOORBELL
#undef atomic_store_explicit
#undef atomic_load_explicit
#ifdef __clang__
#define atomic_store_explicit(at, value, order) __c11_atomic_store(at, value, __ATOMIC_RELEASE)
#define atomic_load_explicit(at, order)         __c11_atomic_load(at, __ATOMIC_ACQUIRE)
#else
#define atomic_store_explicit(at, value, order) __atomic_store_n(at, value, __ATOMIC_RELEASE)
#define atomic_load_explicit(at, order)         __atomic_load_n(at, __ATOMIC_ACQUIRE)
#endif
#endif

#include "../src/ring/bell.c"
#include "../src/ring/ring.c"

#include "base/clock.h"
#include "base/test.h"

enum { CAPACITY = 4096, ROUNDS = 4000000, SKIPPED = 77 };

static struct {
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint32_t ticket;
    _Alignas(64) _Atomic uint32_t waker_at;
    _Alignas(64) _Atomic uint32_t sleeper_at;
    _Alignas(64) _Atomic uint32_t rounds; /* how many there is time for */
    _Alignas(64) uint8_t data[CAPACITY];
} shared;
static uint8_t rang[ROUNDS], saw[ROUNDS];
static tdi_ring_tx tx;
static tdi_ring_rx rx;
static int ends[2], waits_for_room;

/* Those of the whole process: a thread inherits its creator's mask, already narrowed. */
static cpu_set_t allowed;

static void pin(int which)
{
    cpu_set_t one;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, &allowed) && which-- == 0) {
            CPU_ZERO(&one);
            CPU_SET(cpu, &one);
            pthread_setaffinity_np(pthread_self(), sizeof one, &one); /* a wish */
            return;
        }
}

static uint32_t get(_Atomic uint32_t *at)
{
    return __atomic_load_n((uint32_t *)at, __ATOMIC_SEQ_CST);
}

static void wait_for(_Atomic uint32_t *other, uint32_t value)
{
    for (int spins = 0; get(other) < value; spins++)
        if (spins > 2000) { /* one CPU for both */
            sched_yield();
            spins = 0;
        }
}

/* Begin this round together; 0 when time is up. The sleeper waits `delay` steps more or less, and
 * moves that after each round towards where both are equally early: clocks of two CPUs cannot be
 * trusted to agree. Each has just read the line that the other will write, so the coming stores
 * wait for their lines and the loads do not, which is when a processor lets loads pass stores. */
static int begin(tdi_bell_ticket *sleeper, uint32_t round, const void *other_writes)
{
    static int delay;
    int steps = (int)(round % 16);
    if (sleeper != NULL) {
        wait_for(&shared.waker_at, round + 1);
        tdi_bell_disarm(sleeper); /* the last round is over for both */
        if (round > 0 && rang[round - 1] != saw[round - 1])
            delay += rang[round - 1] ? 1 : -1; /* rung for and saw nothing: it was early */
        if (delay < 0)
            delay = 0;
        steps = delay + (int)(round / 16 % 32);
        __atomic_store_n((uint32_t *)&shared.sleeper_at, round + 1, __ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n((uint32_t *)&shared.waker_at, round + 1, __ATOMIC_SEQ_CST);
        wait_for(&shared.sleeper_at, round + 1);
    }
    const int go = round < get(&shared.rounds);
    (void)__atomic_load_n((const uint32_t *)other_writes, __ATOMIC_RELAXED);
    for (int i = 0; i < steps; i++)
        __asm__ __volatile__("");
    return go;
}

static void *wake(void *context)
{
    tdi_bell_rope rope = {.ticket = &shared.ticket};
    pin(0);
    for (uint32_t i = 0; begin(NULL, i, &shared.ticket); i++) {
        if (waits_for_room) {
            rx.at += 64;
            tdi_ring_release(&rx);
        } else {
            tx.at += 64;
            tdi_ring_publish(&tx);
        }
        rang[i] = (uint8_t)tdi_bell_ring(&rope, ends[1]);
    }
    return context;
}

static int look(uint32_t round)
{
    if (waits_for_room) {
        const uint64_t before = tx.head_seen;
        CHECK_EQ(look_at_head(&tx), TD_OK);
        return tx.head_seen != before;
    }
    const int there = tdi_ring_waiting(&rx);
    rx.at = rx.tail_seen = 64 * (uint64_t)(round + 1);
    return there;
}

/* Returns how many were lost; *total: rounds raced. */
static uint32_t race(double seconds, uint32_t *total)
{
    pthread_t waker;
    tdi_bell_ticket ticket = {.shared = &shared.ticket};
    const uint64_t until_ns = tdi_now_ns() + (uint64_t)(seconds * 1e9);
    uint32_t i = 0, lost = 0;
    memset(&shared, 0, sizeof shared);
    tdi_ring_tx_init(&tx, shared.data, CAPACITY, &shared.tail, &shared.head);
    tdi_ring_rx_init(&rx, shared.data, CAPACITY, &shared.tail, &shared.head);
    if (waits_for_room) /* everything has been published; only the head moves */
        tx.at = tx.published = 64 * (uint64_t)ROUNDS;
    shared.rounds = ROUNDS;
    if (pthread_create(&waker, NULL, wake, NULL) != 0)
        return 1;
    const void *cursor = waits_for_room ? &shared.head : &shared.tail;
    for (; begin(&ticket, i, cursor); i++) {
        tdi_bell_arm(&ticket);
        saw[i] = (uint8_t)look(i);
        if (waits_for_room)
            tx.head_seen = 64 * (uint64_t)(i + 1);
        if (i % 1024 == 1023) {
            tdi_bell_drain(ends[0]);
            if (tdi_now_ns() > until_ns && i + 2 < ROUNDS)
                __atomic_store_n((uint32_t *)&shared.rounds, i + 2, __ATOMIC_SEQ_CST);
        }
    }
    pthread_join(waker, NULL);
    tdi_bell_drain(ends[0]);
    for (uint32_t k = 0; k < i; k++)
        lost += !saw[k] && !rang[k];
    *total = i;
    return lost;
}

int main(int argc, char **argv)
{
    const double seconds = argc > 1 ? strtod(argv[1], NULL) : 1.2;
    uint32_t total = 0, lost_all = 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return 1;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
        pin(1);
    for (waits_for_room = 0; waits_for_room < 2; waits_for_room++) {
        const uint32_t lost = race(seconds, &total);
        printf("%s: %u lost in %u rounds\n", waits_for_room ? "room" : "frames", lost, total);
        lost_all += lost;
    }
#ifdef TDI_WEAK_DOORBELL
    if (lost_all == 0)
        printf("no wake-up was lost here: nothing is shown\n");
    return lost_all > 0 ? TEST_RESULT : SKIPPED;
#else
    CHECK_EQ(lost_all, 0);
    return TEST_RESULT;
#endif
}
