#include "bridge/budget.h"

#include "shm/region.h"

static uint64_t power_of_two_down(uint64_t value)
{
    while (value & (value - 1))
        value &= value - 1;
    return value;
}

td_status tdi_budget_init(tdi_budget *budget, uint64_t buffer_bytes, uint32_t agents_max,
                          tdi_error *error)
{
    if (agents_max == 0 || agents_max > TDI_AGENTS_MAX)
        return tdi_fail(error, TD_ERR_ARGUMENT, "max-agents=%u: must be 1 to %d", agents_max,
                        TDI_AGENTS_MAX);
    *budget = (tdi_budget){
        .ring_bytes = {buffer_bytes / 8, buffer_bytes / 128, buffer_bytes / 4 / agents_max},
        .most = {1, TDI_LATER_ORCHESTRATORS, agents_max},
    };
    for (int kind = 0; kind < 3; kind++) {
        budget->ring_bytes[kind] = power_of_two_down(budget->ring_bytes[kind]);
        if (budget->ring_bytes[kind] > TDI_RING_BYTES_MAX)
            budget->ring_bytes[kind] = TDI_RING_BYTES_MAX;
        if (budget->ring_bytes[kind] < TDI_RING_BYTES_MIN)
            return tdi_fail(error, TD_ERR_ARGUMENT,
                            "buffer-size=%llu with max-agents=%u: a session would get less than "
                            "2 x %d bytes",
                            (unsigned long long)buffer_bytes, agents_max, TDI_RING_BYTES_MIN);
    }
    return TD_OK;
}

td_status tdi_budget_take(tdi_budget *budget, int is_agent, tdi_share *out, tdi_error *error)
{
    tdi_share_kind kind = is_agent ? TDI_SHARE_AGENT : TDI_SHARE_FIRST;
    if (kind == TDI_SHARE_FIRST && budget->taken[kind] == budget->most[kind])
        kind = TDI_SHARE_LATER;
    if (budget->taken[kind] == budget->most[kind])
        return tdi_fail(error, TD_BUSY, "all %u %s sessions are taken",
                        kind == TDI_SHARE_AGENT ? budget->most[kind]
                                                : budget->most[0] + budget->most[1],
                        kind == TDI_SHARE_AGENT ? "agent" : "orchestrator");
    budget->taken[kind]++;
    *out = (tdi_share){.kind = kind, .ring_bytes = budget->ring_bytes[kind]};
    return TD_OK;
}

void tdi_budget_give(tdi_budget *budget, const tdi_share *share)
{
    budget->taken[share->kind]--;
}
