#include "topology/topology.h"

#include <stdlib.h>
#include <string.h>

#include "topology/affinity.h"
#include "topology/classify.h"
#include "topology/limits.h"
#include "topology/sysfs.h"

enum { CACHES_MAX = 16, NODES_MAX = 1024, PACKAGES_MAX = 65536 };

/* What groups CPUs where sysfs has no lists: CPUs with an equal key are one group. */
typedef struct key {
    int64_t part[3];
    int used;
} key;

typedef struct reading {
    const td_topology_sources *from;
    td_topology *out;
    tdi_cpuid cpuid;
    tdi_named named;
    tdi_limits limits;
    key keys[3][TD_CPUS_MAX]; /* by level of cache less one, or [0]: of cores */
    uint32_t apic[TD_CPUS_MAX], smt_shift[TD_CPUS_MAX];
    int ids_are; /* 1 every CPU said, 0 not, -1 not asked yet */
    tdi_sysfs at;
} reading;

#define FOLDER "%s/devices/system/cpu/cpu%u/"

/* The list of online CPUs, else the folders not switched off, else the mask. */
static void read_online(reading *r)
{
    td_topology *out = r->out;
    const char *sysfs = r->from->sysfs;
    int high = 0;
    if (tdi_sysfs_cpus(&r->at, &out->online, &high, "%s/devices/system/cpu/online", sysfs) && high)
        out->notes |= TD_NOTE_HIGH;
    if (td_cpu_set_next(&out->online, 0) < TD_CPUS_MAX)
        return;
    td_cpu_set here;
    tdi_sysfs_numbered(&r->at, &here, "cpu", TD_CPUS_MAX, "%s/devices/system/cpu", sysfs);
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&here, cpu)) < TD_CPUS_MAX; cpu++) {
        int64_t on = 1;
        tdi_sysfs_number(&r->at, &on, FOLDER "online", sysfs, cpu);
        if (on != 0)
            td_cpu_set_add(&out->online, cpu);
    }
    if (td_cpu_set_next(&out->online, 0) < TD_CPUS_MAX)
        return;
    out->notes |= TD_NOTE_NO_LIST;
    if (r->from->affinity != NULL)
        out->online = *r->from->affinity;
    if (td_cpu_set_next(&out->online, 0) == TD_CPUS_MAX)
        td_cpu_set_add(&out->online, 0);
}

static void read_allowed(reading *r)
{
    td_topology *out = r->out;
    td_cpu_set both;
    out->allowed = out->online;
    if (r->from->affinity != NULL) {
        td_cpu_set_both(&out->allowed, r->from->affinity, &both);
        if (td_cpu_set_next(&both, 0) < TD_CPUS_MAX)
            out->allowed = both;
        else
            out->notes |= TD_NOTE_MASK;
    }
    if (td_cpu_set_next(&r->limits.cpus, 0) < TD_CPUS_MAX) {
        td_cpu_set_both(&out->allowed, &r->limits.cpus, &both);
        if (td_cpu_set_next(&both, 0) < TD_CPUS_MAX)
            out->allowed = both;
        else
            out->notes |= TD_NOTE_CPUSET;
    }
    out->quota_millicpus = r->limits.quota_millicpus;
}

/* Whether every CPU says its APIC id; asked once, and only where sysfs is silent. */
static int has_ids(reading *r)
{
    if (r->ids_are < 0) {
        r->ids_are = 1;
        for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&r->out->online, cpu)) < TD_CPUS_MAX; cpu++)
            if (!tdi_cpuid_apic(&r->cpuid, cpu, &r->apic[cpu], &r->smt_shift[cpu])) {
                r->ids_are = 0;
                break;
            }
    }
    return r->ids_are;
}

/* The lowest CPU so far with this key, `cpu` itself where there is none. */
static int32_t lowest_with(key keys[TD_CPUS_MAX], uint32_t cpu, key mine)
{
    mine.used = 1;
    keys[cpu] = mine;
    for (uint32_t other = 0; other < cpu; other++)
        if (keys[other].used && memcmp(keys[other].part, mine.part, sizeof mine.part) == 0)
            return (int32_t)other;
    return (int32_t)cpu;
}

/* The lowest online CPU of a list that must hold `cpu`; -1: it does not. */
static int32_t lowest_listed(const reading *r, const td_cpu_set *listed, uint32_t cpu)
{
    td_cpu_set online;
    if (!td_cpu_set_has(listed, cpu))
        return -1;
    td_cpu_set_both(listed, &r->out->online, &online);
    return (int32_t)td_cpu_set_next(&online, 0);
}

static int32_t read_package(reading *r, uint32_t cpu)
{
    int64_t number;
    if (!tdi_sysfs_number(&r->at, &number, FOLDER "topology/physical_package_id", r->from->sysfs,
                          cpu))
        return 0;
    return number >= 0 && number < PACKAGES_MAX ? (int32_t)number : 0;
}

/* By the siblings' list, by core id, by APIC id. */
static int32_t read_core(reading *r, uint32_t cpu)
{
    static const char *const lists[] = {"core_cpus_list", "thread_siblings_list"};
    const char *sysfs = r->from->sysfs;
    int64_t core_id, die = 0;
    for (int i = 0; i < 2; i++) {
        td_cpu_set siblings;
        if (!tdi_sysfs_cpus(&r->at, &siblings, NULL, FOLDER "topology/%s", sysfs, cpu, lists[i]))
            continue;
        const int32_t lowest = lowest_listed(r, &siblings, cpu);
        if (lowest >= 0)
            return lowest;
    }
    if (tdi_sysfs_number(&r->at, &core_id, FOLDER "topology/core_id", sysfs, cpu) && core_id >= 0) {
        tdi_sysfs_number(&r->at, &die, FOLDER "topology/die_id", sysfs, cpu);
        return lowest_with(r->keys[0], cpu, (key){{r->out->cpus[cpu].package, die, core_id}, 1});
    }
    if (has_ids(r)) /* no package is -1: an id is never taken for a core id */
        return lowest_with(r->keys[0], cpu, (key){{-1, 0, r->apic[cpu] >> r->smt_shift[cpu]}, 1});
    return (int32_t)cpu;
}

/* Note a cache, unless one of that level is known already. */
static void set_cache(td_cpu *cpu, int64_t level, uint32_t kib, int32_t lowest)
{
    if (level == 1) {
        cpu->l1d_kib = kib;
    } else if (level == 2) {
        cpu->l2_kib = kib;
        cpu->l2 = lowest;
    } else {
        cpu->l3_kib = kib;
        cpu->l3 = lowest;
    }
}

/* Returns 1 where sysfs says anything about this CPU's caches. */
static int read_caches(reading *r, uint32_t cpu)
{
    const char *sysfs = r->from->sysfs;
    int seen = 0; /* a bit for each level */
    for (int index = 0; index < CACHES_MAX; index++) {
        int64_t level;
        td_cpu_set shared;
        if (!tdi_sysfs_number(&r->at, &level, FOLDER "cache/index%d/level", sysfs, cpu, index))
            break; /* they are numbered without holes */
        if (level < 1 || level > 3 || (seen & 1 << level) != 0)
            continue;
        if (tdi_sysfs_text(&r->at, FOLDER "cache/index%d/type", sysfs, cpu, index) &&
            strcmp(tdi_sysfs_strip(&r->at), "Instruction") == 0)
            continue;
        int32_t lowest = -1;
        if (tdi_sysfs_cpus(&r->at, &shared, NULL, FOLDER "cache/index%d/shared_cpu_list", sysfs,
                           cpu, index))
            lowest = lowest_listed(r, &shared, cpu);
        const uint32_t kib = tdi_sysfs_kib(&r->at, FOLDER "cache/index%d/size", sysfs, cpu, index);
        set_cache(&r->out->cpus[cpu], level, kib, lowest >= 0 ? lowest : (int32_t)cpu);
        seen |= 1 << level;
    }
    return seen != 0;
}

static void ask_caches(reading *r, uint32_t cpu)
{
    tdi_cpuid_cache caches[TDI_CPUID_CACHES_MAX];
    const uint32_t total = tdi_cpuid_caches(&r->cpuid, cpu, caches);
    int seen = 0;
    for (uint32_t i = 0; i < total; i++) {
        const tdi_cpuid_cache *cache = &caches[i];
        int32_t lowest = (int32_t)cpu;
        if ((seen & 1 << cache->level) != 0)
            continue;
        seen |= 1 << cache->level;
        if (has_ids(r))
            lowest =
                lowest_with(r->keys[cache->level - 1], cpu,
                            (key){{cache->level, cache->shift, r->apic[cpu] >> cache->shift}, 1});
        set_cache(&r->out->cpus[cpu], cache->level, cache->kib, lowest);
    }
}

/* Of several nodes that claim a CPU, the lowest. */
static void read_nodes(reading *r)
{
    td_cpu_set nodes, cpus, claimed = {{0}};
    tdi_sysfs_numbered(&r->at, &nodes, "node", NODES_MAX, "%s/devices/system/node", r->from->sysfs);
    for (uint32_t node = 0; (node = td_cpu_set_next(&nodes, node)) < TD_CPUS_MAX; node++) {
        if (!tdi_sysfs_cpus(&r->at, &cpus, NULL, "%s/devices/system/node/node%u/cpulist",
                            r->from->sysfs, node))
            continue;
        td_cpu_set_both(&cpus, &r->out->online, &cpus);
        td_cpu_set_minus(&cpus, &claimed, &cpus);
        td_cpu_set_either(&cpus, &claimed, &claimed);
        for (uint32_t cpu = 0; (cpu = td_cpu_set_next(&cpus, cpu)) < TD_CPUS_MAX; cpu++)
            r->out->cpus[cpu].node = (int32_t)node;
    }
}

/* Read the source that names kinds: the kernel's, CPUID only where that is not there. */
static const tdi_named *read_named(reading *r)
{
    const td_cpu_set *online = &r->out->online;
    tdi_named *named = &r->named;
    td_cpu_set all;
    tdi_sysfs_cpus(&r->at, &named->big, NULL, "%s/devices/cpu_core/cpus", r->from->sysfs);
    tdi_sysfs_cpus(&r->at, &named->small, NULL, "%s/devices/cpu_atom/cpus", r->from->sysfs);
    tdi_sysfs_cpus(&r->at, &named->lowest, NULL, "%s/devices/cpu_lowpower/cpus", r->from->sysfs);
    named->told_by = TD_TOLD_BY_PMU;
    td_cpu_set_either(&named->big, &named->small, &all);
    td_cpu_set_either(&named->lowest, &all, &all);
    if (td_cpu_set_within(online, &all))
        return named;
    *named = (tdi_named){.told_by = TD_TOLD_BY_CPUID};
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(online, cpu)) < TD_CPUS_MAX; cpu++) {
        const uint32_t kind = tdi_cpuid_kind(&r->cpuid, cpu);
        if (kind == 0)
            return NULL; /* silent about one: silent */
        td_cpu_set_add(kind == TDI_KIND_CORE ? &named->big : &named->small, cpu);
    }
    return named;
}

static void read_cpus(reading *r)
{
    const td_cpu_set *online = &r->out->online;
    const char *sysfs = r->from->sysfs;
    int have_caches = 0;
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(online, cpu)) < TD_CPUS_MAX; cpu++) {
        td_cpu *mine = &r->out->cpus[cpu];
        mine->l2 = mine->l3 = -1;
        mine->package = read_package(r, cpu);
        mine->core = read_core(r, cpu);
        mine->capacity = tdi_sysfs_measure(&r->at, FOLDER "cpu_capacity", sysfs, cpu);
        mine->perf = tdi_sysfs_measure(&r->at, FOLDER "acpi_cppc/highest_perf", sysfs, cpu);
        mine->max_khz = tdi_sysfs_measure(&r->at, FOLDER "cpufreq/cpuinfo_max_freq", sysfs, cpu);
        have_caches |= read_caches(r, cpu);
    }
    if (have_caches)
        return;
    memset(r->keys, 0, sizeof r->keys);
    for (uint32_t cpu = 0; (cpu = td_cpu_set_next(online, cpu)) < TD_CPUS_MAX; cpu++)
        ask_caches(r, cpu);
}

td_status td_topology_read_from(const td_topology_sources *sources, td_topology *out)
{
    if (sources == NULL || out == NULL || sources->sysfs == NULL || sources->cgroup == NULL)
        return TD_ERR_ARGUMENT;
    reading *r = calloc(1, sizeof *r);
    if (r == NULL)
        return TD_ERR_MEMORY;
    memset(out, 0, sizeof *out);
    r->from = sources;
    r->out = out;
    r->cpuid = (tdi_cpuid){sources->cpuid, sources->cpuid_context};
    r->ids_are = -1;
    read_online(r);
    read_cpus(r);
    read_nodes(r);
    tdi_classify(out, read_named(r));
    td_cpu_set present;
    if (tdi_sysfs_cpus(&r->at, &present, NULL, "%s/devices/system/cpu/present", sources->sysfs))
        td_cpu_set_minus(&present, &out->online, &out->offline);
    tdi_limits_read(&r->at, sources->proc, sources->cgroup, &r->limits);
    read_allowed(r);
    free(r);
    return TD_OK;
}

td_status td_topology_read(const char *sysfs_root, td_topology *out)
{
    if (sysfs_root != NULL && strcmp(sysfs_root, "/sys") != 0) {
        char cgroup[TDI_PATH_BYTES_MAX];
        if (strlen(sysfs_root) + sizeof "/fs/cgroup" > sizeof cgroup)
            return TD_ERR_ARGUMENT;
        strcat(strcpy(cgroup, sysfs_root), "/fs/cgroup");
        return td_topology_read_from(&(td_topology_sources){.sysfs = sysfs_root, .cgroup = cgroup},
                                     out);
    }
    tdi_cpuid_here here;
    td_cpu_set mask;
    td_topology_sources sources = {.sysfs = "/sys", .proc = "/proc", .cgroup = "/sys/fs/cgroup"};
    if (td_affinity_get(&mask) == TD_OK)
        sources.affinity = &mask;
    if (!tdi_cpuid_begin(&here))
        return td_topology_read_from(&sources, out);
    sources.cpuid = tdi_cpuid_run;
    sources.cpuid_context = &here;
    const td_status status = td_topology_read_from(&sources, out);
    tdi_cpuid_end(&here);
    return status;
}
