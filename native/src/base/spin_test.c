#include "base/spin.h"

#include "base/test.h"

enum { START = 1000000, LONG_WAIT = 20000 };

static void a_wait_keeps_its_core_then_yields_then_sleeps(void)
{
    tdi_spin spin = {0};
    CHECK_EQ(tdi_spin_next(&spin, START, LONG_WAIT), TDI_SPIN_PAUSE);
    CHECK_EQ(tdi_spin_next(&spin, START + TDI_SPIN_KEEP_NS - 1, LONG_WAIT), TDI_SPIN_PAUSE);
    CHECK_EQ(tdi_spin_next(&spin, START + TDI_SPIN_KEEP_NS, LONG_WAIT), TDI_SPIN_YIELD);
    CHECK_EQ(tdi_spin_next(&spin, START + LONG_WAIT - 1, LONG_WAIT), TDI_SPIN_YIELD);
    CHECK_EQ(tdi_spin_next(&spin, START + LONG_WAIT, LONG_WAIT), TDI_SPIN_SLEEP);
    /* And the next one begins anew. */
    CHECK_EQ(tdi_spin_next(&spin, START + LONG_WAIT, LONG_WAIT), TDI_SPIN_PAUSE);
}

static void a_wait_that_may_not_spin_sleeps(void)
{
    tdi_spin spin = {0};
    CHECK_EQ(tdi_spin_next(&spin, START, 0), TDI_SPIN_SLEEP);
}

static void after_a_long_yield_a_usual_wait_does_not_yield_for_a_while(void)
{
    const uint64_t usual = TDI_SPIN_ALONE_NS;
    tdi_spin spin = {0};
    CHECK_EQ(tdi_spin_next(&spin, START, usual), TDI_SPIN_PAUSE);
    const uint64_t later = START + 600 + TDI_SPIN_LONG_NS;
    tdi_spin_yielded(&spin, START + 600, later);
    tdi_spin_end(&spin);
    CHECK_EQ(tdi_spin_next(&spin, later, usual), TDI_SPIN_PAUSE);
    CHECK_EQ(tdi_spin_next(&spin, later + usual - 1, usual), TDI_SPIN_PAUSE);
    CHECK_EQ(tdi_spin_next(&spin, later + usual, usual), TDI_SPIN_SLEEP);
    CHECK_EQ(tdi_spin_next(&spin, later + usual, LONG_WAIT), TDI_SPIN_PAUSE);
    CHECK_EQ(tdi_spin_next(&spin, later + 2 * usual, LONG_WAIT), TDI_SPIN_YIELD);
    tdi_spin_end(&spin);
    const uint64_t again = later + TDI_SPIN_FIRST_NS;
    CHECK_EQ(tdi_spin_next(&spin, again, usual), TDI_SPIN_PAUSE);
    CHECK_EQ(tdi_spin_next(&spin, again + TDI_SPIN_KEEP_NS, usual), TDI_SPIN_YIELD);
}

/* Beside one that computes for ever, what it costs becomes less and less, to a limit. */
static void the_while_doubles_when_it_happens_again_and_begins_anew_after_peace(void)
{
    tdi_spin spin = {0};
    uint64_t now_ns = START, remembered_ns = TDI_SPIN_FIRST_NS;
    for (int i = 0; i < 20; i++) {
        tdi_spin_yielded(&spin, now_ns, now_ns + TDI_SPIN_LONG_NS);
        now_ns += TDI_SPIN_LONG_NS;
        CHECK_EQ(spin.alone_until_ns - now_ns, remembered_ns);
        now_ns =
            spin.alone_until_ns + (i % 2 == 0 ? 1000 : -1000); /* a longer wait yields even then */
        if (remembered_ns < TDI_SPIN_LAST_NS)
            remembered_ns *= 2;
    }
    CHECK_EQ(remembered_ns, TDI_SPIN_LAST_NS);
    now_ns = spin.alone_until_ns + remembered_ns;
    tdi_spin_yielded(&spin, now_ns, now_ns + TDI_SPIN_LONG_NS);
    CHECK_EQ(spin.alone_until_ns - now_ns - TDI_SPIN_LONG_NS, TDI_SPIN_FIRST_NS);
}

static void a_short_yield_changes_nothing(void)
{
    tdi_spin spin = {0};
    CHECK_EQ(tdi_spin_next(&spin, START, LONG_WAIT), TDI_SPIN_PAUSE);
    tdi_spin_yielded(&spin, START + 600, START + 600 + TDI_SPIN_LONG_NS - 1);
    CHECK_EQ(tdi_spin_next(&spin, START + 2000, LONG_WAIT), TDI_SPIN_YIELD);
}

static void once_tells_when_to_sleep(void)
{
    tdi_spin spin = {0};
    CHECK(tdi_spin_once(&spin, START, 1000));
    CHECK(tdi_spin_once(&spin, START + 600, 1000));
    CHECK(!tdi_spin_once(&spin, START + 1000, 1000));
}

int main(void)
{
    RUN(a_wait_keeps_its_core_then_yields_then_sleeps);
    RUN(a_wait_that_may_not_spin_sleeps);
    RUN(after_a_long_yield_a_usual_wait_does_not_yield_for_a_while);
    RUN(the_while_doubles_when_it_happens_again_and_begins_anew_after_peace);
    RUN(a_short_yield_changes_nothing);
    RUN(once_tells_when_to_sleep);
    return TEST_RESULT;
}
