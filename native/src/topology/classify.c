#include "topology/classify.h"

#include <stdlib.h>

static uint32_t grade(const td_topology *topology, td_told_by source, uint32_t cpu)
{
    const td_cpu *at = &topology->cpus[cpu];
    return source == TD_TOLD_BY_CAPACITY ? at->capacity
           : source == TD_TOLD_BY_PERF   ? at->perf
                                         : at->max_khz;
}

/* Whether a grade is at least a tenth below another: another kind of core. */
static int slower(uint64_t low, uint64_t high)
{
    return low * 10 <= high * 9;
}

static int falling(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a < b) - (a > b);
}

/* The different grades, highest first; returns how many. */
static uint32_t levels_of(const td_topology *topology, td_told_by source, const td_cpu_set *cpus,
                          uint32_t levels[TD_CPUS_MAX])
{
    uint32_t total = 0, kept = 0;
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(cpus, cpu)) < TD_CPUS_MAX; cpu++)
        levels[total++] = grade(topology, source, cpu);
    qsort(levels, total, sizeof levels[0], falling);
    for (uint32_t i = 0; i < total; i++)
        if (kept == 0 || levels[i] != levels[kept - 1])
            levels[kept++] = levels[i];
    return kept;
}

static void with_l3(const td_topology *topology, td_cpu_set *out)
{
    *out = (td_cpu_set){{0}};
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX; cpu++)
        if (topology->cpus[cpu].l3 >= 0)
            td_cpu_set_add(out, cpu);
}

static int kinds_total(const td_topology *topology)
{
    int seen[3] = {0, 0, 0};
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX; cpu++)
        seen[topology->cpus[cpu].kind] = 1;
    return seen[0] + seen[1] + seen[2];
}

/* Split at the widest gap. CPUs without L3 beside others that have it are set aside first: on a
 * Meteor Lake the gap below the E-cores is wider than the one above them. Returns 0 where a grade
 * is missing or nothing is a tenth slower. */
static int by_grade(td_topology *topology, td_told_by source)
{
    uint32_t levels[TD_CPUS_MAX];
    td_cpu_set main_cpus, aside;
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX; cpu++)
        if (grade(topology, source, cpu) == 0)
            return 0;
    with_l3(topology, &main_cpus);
    if (td_cpu_set_next(&main_cpus, 0) == TD_CPUS_MAX)
        main_cpus = topology->online;
    td_cpu_set_minus(&topology->online, &main_cpus, &aside);
    const uint32_t total = levels_of(topology, source, &main_cpus, levels);
    const uint32_t lowest = levels[total - 1];
    uint32_t split = lowest; /* the lowest grade that is still P */
    uint64_t widest_high = 0, widest_low = 1;
    for (uint32_t i = 0; i + 1 < total; i++) {
        const uint64_t high = levels[i], low = levels[i + 1];
        /* Of equal gaps the upper one; below 10^18, so nothing overflows. */
        if (slower(low, high) && high * widest_low > widest_high * low) {
            split = levels[i];
            widest_high = high;
            widest_low = low;
        }
    }
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&main_cpus, cpu)) < TD_CPUS_MAX; cpu++)
        topology->cpus[cpu].kind = grade(topology, source, cpu) >= split ? TD_P_CORE : TD_E_CORE;
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&aside, cpu)) < TD_CPUS_MAX; cpu++)
        topology->cpus[cpu].kind = slower(grade(topology, source, cpu), lowest) ? TD_LP_E_CORE
                                   : lowest >= split                            ? TD_P_CORE
                                                                                : TD_E_CORE;
    return kinds_total(topology) > 1;
}

static int by_name(td_topology *topology, const tdi_named *named)
{
    td_cpu_set all, has_l3;
    td_cpu_set_either(&named->big, &named->small, &all);
    td_cpu_set_either(&all, &named->lowest, &all);
    if (!td_cpu_set_within(&topology->online, &all))
        return 0;
    with_l3(topology, &has_l3);
    const int some_have_l3 = td_cpu_set_next(&has_l3, 0) < TD_CPUS_MAX;
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX; cpu++) {
        const int lowest =
            td_cpu_set_has(&named->lowest, cpu) || (some_have_l3 && !td_cpu_set_has(&has_l3, cpu));
        topology->cpus[cpu].kind = td_cpu_set_has(&named->big, cpu) ? TD_P_CORE
                                   : lowest                         ? TD_LP_E_CORE
                                                                    : TD_E_CORE;
    }
    return 1;
}

static void call_all(td_topology *topology, td_core_class from, td_core_class to)
{
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX; cpu++)
        if (topology->cpus[cpu].kind == from)
            topology->cpus[cpu].kind = to;
}

static int has_kind(const td_topology *topology, td_core_class kind)
{
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX; cpu++)
        if (topology->cpus[cpu].kind == kind)
            return 1;
    return 0;
}

/* Favour the P-cores of the highest grade, where not all are alike. In another order than the
 * kinds: CPPC grades single cores, which capacity may round. */
static void favour(td_topology *topology)
{
    static const td_told_by order[] = {TD_TOLD_BY_PERF, TD_TOLD_BY_CLOCK, TD_TOLD_BY_CAPACITY};
    for (int i = 0; i < 3; i++) {
        uint32_t lowest = UINT32_MAX, highest = 0;
        for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX;
             cpu++) {
            const uint32_t value = grade(topology, order[i], cpu);
            if (topology->cpus[cpu].kind != TD_P_CORE)
                continue;
            lowest = value < lowest ? value : lowest;
            highest = value > highest ? value : highest;
        }
        if (lowest == 0 || lowest >= highest)
            continue;
        for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX; cpu++)
            topology->cpus[cpu].favoured =
                topology->cpus[cpu].kind == TD_P_CORE && grade(topology, order[i], cpu) == highest;
        return;
    }
}

void tdi_classify(td_topology *topology, const tdi_named *named)
{
    static const td_told_by grades[] = {TD_TOLD_BY_CAPACITY, TD_TOLD_BY_PERF, TD_TOLD_BY_CLOCK};
    td_told_by told_by = TD_TOLD_BY_NOTHING;
    if (named != NULL && by_name(topology, named)) {
        told_by = named->told_by;
    } else {
        for (int i = 0; i < 3 && told_by == TD_TOLD_BY_NOTHING; i++)
            if (by_grade(topology, grades[i]))
                told_by = grades[i];
        if (told_by == TD_TOLD_BY_NOTHING)
            for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&topology->online, cpu)) < TD_CPUS_MAX;
                 cpu++)
                topology->cpus[cpu].kind = TD_P_CORE;
    }
    /* The fastest kind that is online is called P: a machine of atoms alone has plain cores. */
    if (!has_kind(topology, TD_P_CORE)) {
        const int has_e = has_kind(topology, TD_E_CORE);
        call_all(topology, has_e ? TD_E_CORE : TD_LP_E_CORE, TD_P_CORE);
    }
    topology->told_by = kinds_total(topology) > 1 ? told_by : TD_TOLD_BY_NOTHING;
    favour(topology);
}
