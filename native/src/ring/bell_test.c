#include "ring/bell.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

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

/* ---- no wake-up is lost: the sleeper has no time limit but the test's ---- */

enum { HANDED = 50000 };
static _Atomic uint64_t cursor;
static _Atomic uint32_t shown;

static void *wake(void *context)
{
    tdi_bell_rope rope = {.ticket = &shown};
    (void)context;
    for (uint64_t i = 1; i <= HANDED; i++) {
        atomic_store_explicit(&cursor, i, memory_order_seq_cst);
        tdi_bell_ring(&rope, ends[1]);
        if (i % 3 == 0) /* let the sleeper reach its sleep at different points */
            for (volatile int spin = 0; spin < (int)(i % 97) * 8; spin++)
                ;
    }
    return NULL;
}

static void no_wake_up_is_lost(void)
{
    pthread_t waker;
    tdi_bell_ticket ticket = {.shared = &shown};
    uint64_t seen = 0;
    int lost = 0;
    REQUIRE(pthread_create(&waker, NULL, wake, NULL) == 0);
    while (seen < HANDED && lost == 0) {
        tdi_bell_arm(&ticket);
        if (atomic_load_explicit(&cursor, memory_order_seq_cst) == seen) {
            struct pollfd wanted = {.fd = ends[0], .events = POLLIN};
            if (poll(&wanted, 1, 10000) == 0)
                lost = 1;
        }
        tdi_bell_disarm(&ticket);
        tdi_bell_drain(ends[0]);
        seen = atomic_load_explicit(&cursor, memory_order_seq_cst);
    }
    pthread_join(waker, NULL);
    CHECK_EQ(lost, 0);
    CHECK_EQ(seen, HANDED);
}

int main(void)
{
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return 1;
    RUN(one_ring_for_each_new_odd_ticket);
    RUN(a_full_pipe_blocks_nobody);
    RUN(no_wake_up_is_lost);
    return TEST_RESULT;
}
