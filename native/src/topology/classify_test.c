#include "topology/classify.h"

#include "base/test.h"

static td_topology topology;

/* Four CPUs a row: clocks in kHz, l3 -1: none. */
static void make(int total, const uint32_t *khz, const int32_t *l3)
{
    memset(&topology, 0, sizeof topology);
    for (int i = 0; i < total; i++) {
        td_cpu_set_add(&topology.online, (uint32_t)i);
        topology.cpus[i].max_khz = khz[i];
        topology.cpus[i].l3 = l3 != NULL ? l3[i] : -1;
    }
}

static void is(const char *kinds)
{
    for (int i = 0; kinds[i] != '\0'; i++) {
        const char shown[] = {'P', 'E', 'L'};
        const td_cpu *cpu = &topology.cpus[i];
        CHECK_EQ(cpu->favoured ? '*' : shown[cpu->kind], kinds[i]);
    }
}

static void clocks_tell_a_meteor_lake_though_the_lowest_gap_is_the_widest(void)
{
    make(6, (uint32_t[]){4800000, 4500000, 3800000, 3800000, 2500000, 2500000},
         (int32_t[]){0, 0, 0, 0, -1, -1});
    tdi_classify(&topology, NULL);
    is("*PEELL");
    CHECK_EQ(topology.told_by, TD_TOLD_BY_CLOCK);
}

static void a_prime_core_is_a_favoured_one_not_a_kind(void)
{
    make(8, (uint32_t[]){3300000, 2800000, 2800000, 2800000, 1800000, 1800000, 1800000, 1800000},
         NULL);
    tdi_classify(&topology, NULL);
    is("*PPPEEEE");
}

static void less_than_a_tenth_is_one_kind(void)
{
    make(3, (uint32_t[]){5200000, 5000000, 4600000}, NULL);
    tdi_classify(&topology, NULL);
    is("*PP");
    CHECK_EQ(topology.told_by, TD_TOLD_BY_NOTHING);
    make(3, (uint32_t[]){10, 10, 9}, NULL); /* just a tenth */
    tdi_classify(&topology, NULL);
    is("PPE");
    make(3, (uint32_t[]){10, 0, 9}, NULL); /* unknown for one: unknown */
    tdi_classify(&topology, NULL);
    is("PPP");
    make(2, (uint32_t[]){7, 7}, (int32_t[]){0, -1}); /* no L3, but not slower */
    tdi_classify(&topology, NULL);
    is("PP");
}

static void names_go_before_grades_if_they_name_all(void)
{
    static tdi_named named = {.told_by = TD_TOLD_BY_PMU};
    td_cpu_set_parse("0-1", &named.big, NULL);
    td_cpu_set_parse("2", &named.small, NULL);
    make(4, (uint32_t[]){9, 9, 5, 3}, (int32_t[]){0, 0, 0, -1});
    tdi_classify(&topology, &named);
    is("PPEL"); /* CPU 3 is not named: told by the clock */
    CHECK_EQ(topology.told_by, TD_TOLD_BY_CLOCK);
    td_cpu_set_parse("2-3", &named.small, NULL);
    make(4, (uint32_t[]){5, 5, 9, 9}, (int32_t[]){0, 0, 0, -1});
    tdi_classify(&topology, &named);
    is("PPEL");
    CHECK_EQ(topology.told_by, TD_TOLD_BY_PMU);
}

static void atoms_alone_are_plain_cores(void)
{
    static tdi_named named = {.told_by = TD_TOLD_BY_CPUID};
    td_cpu_set_parse("0-1", &named.small, NULL);
    make(2, (uint32_t[]){0, 0}, (int32_t[]){-1, -1});
    tdi_classify(&topology, &named);
    is("PP");
    CHECK_EQ(topology.told_by, TD_TOLD_BY_NOTHING);
}

int main(void)
{
    RUN(clocks_tell_a_meteor_lake_though_the_lowest_gap_is_the_widest);
    RUN(a_prime_core_is_a_favoured_one_not_a_kind);
    RUN(less_than_a_tenth_is_one_kind);
    RUN(names_go_before_grades_if_they_name_all);
    RUN(atoms_alone_are_plain_cores);
    return TEST_RESULT;
}
