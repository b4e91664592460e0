#include "topology/topology.h"

#include "base/test.h"
#include "topology/affinity.h"
#include "topology/tree_test.h"

static td_topology topology;
#define CPU "devices/system/cpu/cpu%d/"

/* Eight CPUs: two P-cores of two threads, two E-cores, two LP-E-cores without L3. */
static void build(void)
{
    tree_remove();
    tree_make();
    tree_put("0-7\n", "devices/system/cpu/online");
    tree_put("0-9\n", "devices/system/cpu/present");
    tree_put("0-3\n", "devices/cpu_core/cpus");
    tree_put("4-7\n", "devices/cpu_atom/cpus");
    tree_put("0-5\n", "devices/system/node/node0/cpulist");
    tree_put("6-7\n", "devices/system/node/node1/cpulist");
    for (int cpu = 0; cpu < 8; cpu++) {
        char siblings[32];
        snprintf(siblings, sizeof siblings, cpu < 4 ? "%d-%d\n" : "%d\n", cpu < 4 ? cpu & ~1 : cpu,
                 cpu | 1);
        tree_put(siblings, CPU "topology/thread_siblings_list", cpu);
        tree_put("2\n", CPU "cache/index0/level", cpu);
        tree_put("2048K\n", CPU "cache/index0/size", cpu);
        tree_put(siblings, CPU "cache/index0/shared_cpu_list", cpu);
        tree_put(cpu == 0 || cpu == 1 ? "67" : "64", CPU "acpi_cppc/highest_perf", cpu);
        if (cpu < 6) {
            tree_put("3\n", CPU "cache/index1/level", cpu);
            tree_put("0-5\n", CPU "cache/index1/shared_cpu_list", cpu);
            tree_put("24M\n", CPU "cache/index1/size", cpu);
        }
    }
}

static void set_is(const td_cpu_set *set, const char *expected)
{
    static char text[TD_CPU_LIST_BYTES_MAX];
    td_cpu_set_format(set, text);
    if (strcmp(text, expected) != 0) {
        fprintf(stderr, "a set is %s, expected %s\n", text, expected);
        tdi_test_failures++;
    }
}

static void wish_is(td_affinity wish, td_affinity taken, const char *expected)
{
    td_cpu_set mask;
    td_affinity got;
    REQUIRE(td_topology_mask(&topology, wish, &mask, &got) == TD_OK);
    CHECK_EQ(got, taken);
    set_is(&mask, expected);
}

static void a_hybrid_machine_is_read_whole(void)
{
    build();
    REQUIRE(td_topology_read(tree, &topology) == TD_OK);
    set_is(&topology.online, "0-7");
    set_is(&topology.allowed, "0-7");
    set_is(&topology.offline, "8-9");
    CHECK_EQ(topology.told_by, TD_TOLD_BY_PMU);
    CHECK_EQ(topology.notes, 0);
    CHECK_EQ(topology.cpus[3].core, 2);
    CHECK_EQ(topology.cpus[3].l2, 2);
    CHECK_EQ(topology.cpus[5].l3, 0);
    CHECK_EQ(topology.cpus[5].l3_kib, 24576);
    CHECK_EQ(topology.cpus[6].l3, -1);
    CHECK_EQ(topology.cpus[6].node, 1);
    wish_is(TD_AFFINITY_AUTO, TD_AFFINITY_P_CORE, "0-3");
    wish_is(TD_AFFINITY_P_CORE, TD_AFFINITY_P_CORE, "0-3");
    wish_is(TD_AFFINITY_P_CORE_ULTRA, TD_AFFINITY_P_CORE_ULTRA, "0-1");
    wish_is(TD_AFFINITY_E_CORE, TD_AFFINITY_E_CORE, "4-5");
    wish_is(TD_AFFINITY_LP_E_CORE, TD_AFFINITY_LP_E_CORE, "6-7");
}

static void wishes_widen_within_what_is_allowed(void)
{
    char cgroup[128];
    td_cpu_set mask, out;
    build();
    snprintf(cgroup, sizeof cgroup, "%s/fs/cgroup", tree);
    tree_put("1500 1000", "fs/cgroup/cpu.max");
    td_cpu_set_parse("2-3,6", &mask, NULL);
    const td_topology_sources sources = {.sysfs = tree, .cgroup = cgroup, .affinity = &mask};
    REQUIRE(td_topology_read_from(&sources, &topology) == TD_OK);
    set_is(&topology.allowed, "2-3,6");
    wish_is(TD_AFFINITY_P_CORE_ULTRA, TD_AFFINITY_P_CORE, "2-3");
    wish_is(TD_AFFINITY_E_CORE, TD_AFFINITY_LP_E_CORE, "6");
    CHECK_EQ(topology.quota_millicpus, 1500);
    CHECK_EQ(td_topology_threads(&topology, &topology.online), 2);
    CHECK_EQ(td_topology_threads(&topology, &(td_cpu_set){{0}}), 1);
    CHECK_EQ(td_topology_mask(&topology, (td_affinity)99, &out, NULL), TD_ERR_ARGUMENT);
    CHECK_EQ(td_topology_mask(&topology, (td_affinity)-1, &out, NULL), TD_ERR_ARGUMENT);
}

static void limits_without_overlap_are_noted(void)
{
    td_cpu_set mask;
    build();
    td_cpu_set_parse("77", &mask, NULL);
    const td_topology_sources sources = {.sysfs = tree, .cgroup = tree, .affinity = &mask};
    tree_put("90", "cpuset.cpus.effective");
    REQUIRE(td_topology_read_from(&sources, &topology) == TD_OK);
    CHECK_EQ(topology.notes, TD_NOTE_MASK | TD_NOTE_CPUSET);
    set_is(&topology.allowed, "0-7");
}

static void no_tree_at_all_is_one_plain_cpu(void)
{
    REQUIRE(td_topology_read("/nonexistent", &topology) == TD_OK);
    set_is(&topology.allowed, "0");
    CHECK_EQ(topology.notes, TD_NOTE_NO_LIST);
    wish_is(TD_AFFINITY_LP_E_CORE, TD_AFFINITY_P_CORE, "0");
    CHECK_EQ(td_topology_read_from(NULL, &topology), TD_ERR_ARGUMENT);
    CHECK_EQ(td_topology_read_from(&(td_topology_sources){.sysfs = "/sys"}, &topology),
             TD_ERR_ARGUMENT);
}

static void four_thousand_cpus_with_holes_are_read(void)
{
    tree_remove();
    tree_make();
    tree_put("0-1999,2100-8191", "devices/system/cpu/online");
    tree_put("0-8191", "devices/system/cpu/present");
    for (int cpu = 0; cpu < 4096; cpu += 37)
        tree_put("5", CPU "topology/core_id", cpu);
    REQUIRE(td_topology_read(tree, &topology) == TD_OK);
    CHECK_EQ(td_cpu_set_total(&topology.online), 4096 - 100);
    CHECK_EQ(td_cpu_set_total(&topology.offline), 100);
    CHECK_EQ(topology.notes, TD_NOTE_HIGH);
    CHECK_EQ(topology.cpus[37].core, 0);
    CHECK_EQ(topology.cpus[4095].core, 4095);
}

/* What a topology promises, whatever the tree was. */
static void holds(void)
{
    td_cpu_set mask;
    CHECK(td_cpu_set_total(&topology.online) >= 1);
    CHECK(td_cpu_set_total(&topology.allowed) >= 1);
    CHECK(td_cpu_set_within(&topology.allowed, &topology.online));
    for (uint32_t n = 0; (n = td_cpu_set_next(&topology.online, n)) < TD_CPUS_MAX; n++) {
        const td_cpu *cpu = &topology.cpus[n];
        CHECK(cpu->core >= 0 && td_cpu_set_has(&topology.online, (uint32_t)cpu->core));
        CHECK(cpu->l2 == -1 || td_cpu_set_has(&topology.online, (uint32_t)cpu->l2));
        CHECK(cpu->l3 == -1 || td_cpu_set_has(&topology.online, (uint32_t)cpu->l3));
        CHECK(cpu->kind >= TD_P_CORE && cpu->kind <= TD_LP_E_CORE);
    }
    for (int wish = TD_AFFINITY_AUTO; wish <= TD_AFFINITY_LP_E_CORE; wish++) {
        CHECK_EQ(td_topology_mask(&topology, (td_affinity)wish, &mask, NULL), TD_OK);
        CHECK(td_cpu_set_within(&mask, &topology.allowed) && td_cpu_set_total(&mask) >= 1);
    }
}

static uint32_t draw(uint64_t *seed, uint32_t below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (uint32_t)(*seed >> 33) % below;
}

static void nonsense_never_fails(void)
{
    static const char *const files[] = {"devices/system/cpu/online",
                                        "devices/system/cpu/present",
                                        "devices/cpu_core/cpus",
                                        "devices/cpu_atom/cpus",
                                        "devices/system/node/node1/cpulist",
                                        "fs/cgroup/cpu.max",
                                        "fs/cgroup/cpuset.cpus.effective",
                                        CPU "topology/thread_siblings_list",
                                        CPU "topology/core_id",
                                        CPU "topology/physical_package_id",
                                        CPU "cache/index0/level",
                                        CPU "cache/index0/shared_cpu_list",
                                        CPU "cache/index1/level",
                                        CPU "cache/index0/size",
                                        CPU "acpi_cppc/highest_perf",
                                        CPU "cpufreq/cpuinfo_max_freq",
                                        CPU "cpu_capacity",
                                        CPU "online"};
    static const char *const texts[] = {"",
                                        "\n",
                                        "0",
                                        "-1",
                                        "3",
                                        "1024",
                                        "0-4095",
                                        "0-99999999999999999",
                                        "18446744073709551616",
                                        "5-3",
                                        "0,2,4,6",
                                        "x",
                                        "1 2",
                                        "999999999G",
                                        "12K",
                                        "max 1",
                                        "1 1",
                                        "4096-5000",
                                        "\xff\xfe"};
    uint64_t seed = 42;
    for (int round = 0; round < 60; round++) {
        build();
        for (uint32_t changes = 1 + draw(&seed, 30); changes > 0; changes--) {
            char name[256], noise[64];
            const uint32_t file = draw(&seed, sizeof files / sizeof files[0]);
            const int cpu = (int)draw(&seed, 8);
            if (strncmp(files[file], CPU, sizeof CPU - 1) == 0)
                snprintf(name, sizeof name, CPU "%s", cpu, files[file] + sizeof CPU - 1);
            else
                snprintf(name, sizeof name, "%s", files[file]);
            if (draw(&seed, 4) == 0) {
                for (size_t i = 0; i < sizeof noise; i++)
                    noise[i] = (char)draw(&seed, 256);
                tree_put_bytes(noise, draw(&seed, sizeof noise), name);
            } else {
                tree_put(texts[draw(&seed, sizeof texts / sizeof texts[0])], "%s", name);
            }
        }
        REQUIRE(td_topology_read(tree, &topology) == TD_OK);
        holds();
    }
}

static void this_machine_is_read_and_the_thread_keeps_its_cpus(void)
{
    td_cpu_set before, after;
    REQUIRE(td_affinity_get(&before) == TD_OK);
    REQUIRE(td_topology_read(NULL, &topology) == TD_OK);
    holds();
    CHECK_EQ(td_affinity_get(&after), TD_OK);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    CHECK(td_cpu_set_within(&topology.allowed, &before));
}

int main(void)
{
    tree_make();
    RUN(a_hybrid_machine_is_read_whole);
    RUN(wishes_widen_within_what_is_allowed);
    RUN(limits_without_overlap_are_noted);
    RUN(no_tree_at_all_is_one_plain_cpu);
    RUN(four_thousand_cpus_with_holes_are_read);
    RUN(nonsense_never_fails);
    RUN(this_machine_is_read_and_the_thread_keeps_its_cpus);
    tree_remove();
    return TEST_RESULT;
}
