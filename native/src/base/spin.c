#include "base/spin.h"

#include <sched.h>

#include "base/clock.h"

#define PAUSES 8

tdi_spin_way tdi_spin_next(tdi_spin *spin, uint64_t now_ns, uint64_t spin_ns)
{
    if (spin->since_ns == 0)
        spin->since_ns = now_ns;
    const uint64_t spent_ns = now_ns - spin->since_ns;
    if (spent_ns >= spin_ns) {
        tdi_spin_end(spin);
        return TDI_SPIN_SLEEP;
    }
    const uint64_t keep_ns = now_ns < spin->alone_until_ns ? TDI_SPIN_ALONE_NS : TDI_SPIN_KEEP_NS;
    return spent_ns < keep_ns ? TDI_SPIN_PAUSE : TDI_SPIN_YIELD;
}

void tdi_spin_yielded(tdi_spin *spin, uint64_t before_ns, uint64_t after_ns)
{
    if (after_ns - before_ns < TDI_SPIN_LONG_NS)
        return;
    const bool again = before_ns < spin->alone_until_ns + spin->remembered_ns;
    if (!again)
        spin->remembered_ns = TDI_SPIN_FIRST_NS;
    else if (spin->remembered_ns < TDI_SPIN_LAST_NS)
        spin->remembered_ns *= 2;
    spin->alone_until_ns = after_ns + spin->remembered_ns;
}

bool tdi_spin_once(tdi_spin *spin, uint64_t now_ns, uint64_t spin_ns)
{
    switch (tdi_spin_next(spin, now_ns, spin_ns)) {
    case TDI_SPIN_SLEEP:
        return false;
    case TDI_SPIN_YIELD:
        sched_yield();
        tdi_spin_yielded(spin, now_ns, tdi_now_ns());
        return true;
    default:
        for (int i = 0; i < PAUSES; i++)
            tdi_relax();
        return true;
    }
}
