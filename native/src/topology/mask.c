/* What a wish for a kind of core means on a topology that was read. */
#include "topology/topology.h"

/* AUTO ends each row. */
static const td_affinity widening[][4] = {
    [TD_AFFINITY_AUTO] = {TD_AFFINITY_P_CORE, TD_AFFINITY_E_CORE, TD_AFFINITY_LP_E_CORE},
    [TD_AFFINITY_P_CORE] = {TD_AFFINITY_P_CORE, TD_AFFINITY_E_CORE, TD_AFFINITY_LP_E_CORE},
    [TD_AFFINITY_P_CORE_ULTRA] = {TD_AFFINITY_P_CORE_ULTRA, TD_AFFINITY_P_CORE, TD_AFFINITY_E_CORE,
                                  TD_AFFINITY_LP_E_CORE},
    [TD_AFFINITY_E_CORE] = {TD_AFFINITY_E_CORE, TD_AFFINITY_LP_E_CORE, TD_AFFINITY_P_CORE},
    [TD_AFFINITY_LP_E_CORE] = {TD_AFFINITY_LP_E_CORE, TD_AFFINITY_E_CORE, TD_AFFINITY_P_CORE},
};

static int means(td_affinity wish, const td_cpu *cpu)
{
    switch (wish) {
    case TD_AFFINITY_P_CORE_ULTRA:
        return cpu->favoured;
    case TD_AFFINITY_P_CORE:
        return cpu->kind == TD_P_CORE;
    case TD_AFFINITY_E_CORE:
        return cpu->kind == TD_E_CORE;
    case TD_AFFINITY_LP_E_CORE:
        return cpu->kind == TD_LP_E_CORE;
    default:
        return 0;
    }
}

td_status td_topology_mask(const td_topology *topology, td_affinity wish, td_cpu_set *out,
                           td_affinity *taken)
{
    if (wish < TD_AFFINITY_AUTO || wish > TD_AFFINITY_LP_E_CORE)
        return TD_ERR_ARGUMENT;
    for (int i = 0; i < 4; i++) {
        td_cpu_set found = {{0}};
        int any = 0;
        for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->allowed, cpu)) < TD_CPUS_MAX;
             cpu++)
            if (means(widening[wish][i], &topology->cpus[cpu])) {
                td_cpu_set_add(&found, cpu);
                any = 1;
            }
        if (any) {
            *out = found;
            if (taken != NULL)
                *taken = widening[wish][i];
            return TD_OK;
        }
    }
    return TD_ERR_ARGUMENT; /* nothing is allowed: not a topology that was read */
}

uint32_t td_topology_threads(const td_topology *topology, const td_cpu_set *cpus)
{
    td_cpu_set ours;
    td_cpu_set_both(cpus, &topology->allowed, &ours);
    uint32_t total = td_cpu_set_total(&ours);
    if (topology->quota_millicpus > 0) {
        const uint32_t granted = (topology->quota_millicpus + 999) / 1000;
        total = granted < total ? granted : total;
    }
    return total > 0 ? total : 1;
}
