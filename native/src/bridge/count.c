/* count.c - the statistics page: sessions count as they go, and here it is added up for all to see.
 *
 * Nothing is added to the way of a frame: the sums are made when the loop has nothing else to do,
 * or every few rounds.
 */
#include <string.h>

#include "base/clock.h"
#include "bridge/bridge.h"

#define SHOW_NS TDI_NS_PER_MS

static void add(uint64_t *sums, const tdi_session *session)
{
    const tdi_counters *from = &session->counters;
    sums[TDI_STATISTIC_FRAMES_IN] += from->frames_in;
    sums[TDI_STATISTIC_FRAMES_OUT] += from->frames_out;
    sums[TDI_STATISTIC_BYTES_IN] += from->bytes_in;
    sums[TDI_STATISTIC_BYTES_OUT] += from->bytes_out;
    sums[TDI_STATISTIC_WAITED] += from->waited;
    sums[TDI_STATISTIC_DOORBELLS_RUNG] += from->doorbells_rung;
    sums[TDI_STATISTIC_DOORBELLS_TAKEN] += from->doorbells_taken;
    sums[TDI_STATISTIC_RESCUES] += from->rescues;
    sums[TDI_STATISTIC_LOGS] += from->logs;
    sums[TDI_STATISTIC_LOGS_DROPPED] += from->logs_dropped;
    if (session->role != TDI_ROLE_ORCHESTRATOR)
        return; /* an agent's calls are those of orchestrators, counted there */
    sums[TDI_STATISTIC_CALLS] += from->calls;
    sums[TDI_STATISTIC_COMPLETIONS] += from->completions;
    sums[TDI_STATISTIC_FAILURES] += from->failures;
    sums[TDI_STATISTIC_REFUSALS] += from->refusals;
}

void tdi_count_keep(tdi_bridge *bridge, const tdi_session *session)
{
    add(bridge->past, session);
}

int tdi_count_show(tdi_bridge *bridge, uint64_t now_ns)
{
    if (bridge->statistics == NULL)
        return 1;
    if (now_ns - bridge->statistics_ns < SHOW_NS)
        return 0;
    bridge->statistics_ns = now_ns;
    uint64_t sums[TDI_STATISTICS_TOTAL];
    memcpy(sums, bridge->past, sizeof sums);
    for (uint32_t i = 0; i < bridge->sessions_high; i++)
        if (bridge->sessions[i] != NULL)
            add(sums, bridge->sessions[i]);
    sums[TDI_STATISTIC_SESSIONS] = bridge->sessions_total;
    sums[TDI_STATISTIC_AGENTS] = bridge->agents_total;
    sums[TDI_STATISTIC_QUEUED] = tdi_pool_queued(bridge->pool);
    sums[TDI_STATISTIC_RELAYED] = bridge->relays_total;
    /* relaxed: each word stands for itself. */
    tdi_statistics_block *block = &bridge->statistics->block[0];
    for (uint32_t i = 0; i < TDI_STATISTICS_TOTAL; i++)
        atomic_store_explicit(&block->words[i], sums[i], memory_order_relaxed);
    for (uint32_t i = 0; i < TDI_STATISTICS_BUCKETS; i++)
        atomic_store_explicit(&block->run_time[i], bridge->run_time[i], memory_order_relaxed);
    atomic_store_explicit(&bridge->statistics->updated_ns, now_ns, memory_order_release);
    return 1;
}
