#include "ring/bell.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/test.h"

static int ends[2];

static void one_ring_for_each_new_odd_ticket(void)
{
    _Atomic uint32_t shared = 0;
    tdi_bell_ticket ticket = {.shared = &shared};
    tdi_bell_rope rope = {.ticket = &shared};
    CHECK_EQ(tdi_bell_ring(&rope, ends[1]), 0); /* awake */
    tdi_bell_arm(&ticket);
    CHECK_EQ(tdi_bell_ring(&rope, ends[1]), 1);
    CHECK_EQ(tdi_bell_ring(&rope, ends[1]), 0); /* rung already */
    tdi_bell_disarm(&ticket);
    CHECK_EQ(tdi_bell_ring(&rope, ends[1]), 0);
    tdi_bell_arm(&ticket);
    tdi_bell_arm(&ticket); /* armed again without waking: a new ticket */
    CHECK_EQ(tdi_bell_ring(&rope, ends[1]), 1);
    CHECK_EQ(tdi_bell_drain(ends[0]), 2);
    CHECK_EQ(tdi_bell_drain(ends[0]), 0);
}

static void a_full_pipe_blocks_nobody(void)
{
    _Atomic uint32_t shared = 0;
    tdi_bell_ticket ticket = {.shared = &shared};
    tdi_bell_rope rope = {.ticket = &shared};
    for (int i = 0; i < 100000; i++) {
        tdi_bell_arm(&ticket);
        tdi_bell_ring(&rope, ends[1]);
    }
    CHECK(tdi_bell_drain(ends[0]) >= 4096);
}

/* ---- the two orders, raced: of each round's waker and sleeper one must see the other ---- */

enum { ROUNDS = 1000000 };
static struct {
    _Alignas(64) _Atomic uint32_t ticket;
    _Alignas(64) _Atomic uint64_t cursor;
    _Alignas(64) _Atomic uint32_t waker_at;
    _Alignas(64) _Atomic uint32_t sleeper_at;
} race;
static uint8_t rang[ROUNDS], saw[ROUNDS];
static _Atomic uint32_t rounds; /* how many there is time for */

/* Wait for the other at round i; 0 when time is up. Spins, so that both leave together. */
static int meet(_Atomic uint32_t *mine, _Atomic uint32_t *other, uint32_t i)
{
    atomic_store(mine, i + 1);
    for (int spins = 0; atomic_load(other) < i + 1; spins++)
        if (spins > 2000) { /* one CPU for both */
            sched_yield();
            spins = 0;
        }
    return i < atomic_load(&rounds);
}

/* Shift the two against each other, differently in each round. */
static void stagger(uint32_t steps)
{
    for (uint32_t i = 0; i < steps; i++)
        __asm__ __volatile__("");
}

static void *wake(void *context)
{
    tdi_bell_rope rope = {.ticket = &race.ticket};
    for (uint32_t i = 0; meet(&race.waker_at, &race.sleeper_at, i); i++) {
        stagger(i * 7 % 191);
        atomic_store_explicit(&race.cursor, i + 1, memory_order_seq_cst);
        rang[i] = (uint8_t)tdi_bell_ring(&rope, ends[1]);
    }
    return context;
}

static void one_of_the_two_always_sees_the_other(void)
{
    pthread_t waker;
    tdi_bell_ticket ticket = {.shared = &race.ticket};
    const uint64_t until_ns = tdi_now_ns() + 2 * TDI_NS_PER_S;
    uint32_t i = 0, lost = 0;
    rounds = ROUNDS;
    REQUIRE(pthread_create(&waker, NULL, wake, NULL) == 0);
    for (; meet(&race.sleeper_at, &race.waker_at, i); i++) {
        stagger(i * 13 % 193);
        tdi_bell_arm(&ticket);
        saw[i] = atomic_load_explicit(&race.cursor, memory_order_seq_cst) == i + 1;
        if (i % 1024 == 1023) {
            tdi_bell_drain(ends[0]);
            if (tdi_now_ns() > until_ns) /* both are in round i + 1 or before: agree on an end */
                atomic_store(&rounds, i + 2 < ROUNDS ? i + 2 : ROUNDS);
        }
    }
    pthread_join(waker, NULL);
    tdi_bell_drain(ends[0]);
    /* A ticket that was rung for in round i may be seen again in round i + 1 as already rung;
     * then the byte is in the pipe, and the sleeper wakes. So count only what nobody rang. */
    for (uint32_t k = 0; k < i; k++)
        lost += !saw[k] && !rang[k];
    printf("       %u rounds\n", i);
    CHECK_EQ(lost, 0);
}

int main(void)
{
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return 1;
    RUN(one_ring_for_each_new_odd_ticket);
    RUN(a_full_pipe_blocks_nobody);
    RUN(one_of_the_two_always_sees_the_other);
    return TEST_RESULT;
}
