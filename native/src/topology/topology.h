/* topology.h - the machine: CPUs by kind of core, what they share, what is allowed to us.
 *
 * Each CPU carries the lowest number among the CPUs it shares a core, an L2 or an L3 cache with:
 * equal numbers mean shared. layers/native/topology.py reads the same; parity tests compare both.
 *
 * Threads: reading moves the calling thread over the CPUs where CPUID must be asked, and back;
 *          do it at set-up. A topology that was read is a constant.
 * Memory:  a td_topology has 200 KiB: allocate it, do not put it on a stack.
 * Errors:  td_status; a fact that cannot be read is no error, it has a stand-in.
 */
#ifndef TDI_TOPOLOGY_H
#define TDI_TOPOLOGY_H

#include "topology/cpu_set.h"
#include "topology/cpuid.h"

typedef enum td_core_class {
    TD_P_CORE,   /* performance; on a machine with one kind of core, all of them */
    TD_E_CORE,   /* efficiency */
    TD_LP_E_CORE /* without a share of the L3 cache that the others have */
} td_core_class;

typedef enum td_affinity { /* HardwareAffinity */
                           TD_AFFINITY_AUTO,
                           TD_AFFINITY_P_CORE,
                           TD_AFFINITY_P_CORE_ULTRA, /* the favoured P-cores */
                           TD_AFFINITY_E_CORE,
                           TD_AFFINITY_LP_E_CORE
} td_affinity;

typedef enum td_told_by {                     /* what told the kinds of core apart */
                          TD_TOLD_BY_NOTHING, /* one kind */
                          TD_TOLD_BY_PMU,     /* /sys/devices/cpu_core, cpu_atom, cpu_lowpower */
                          TD_TOLD_BY_CPUID,
                          TD_TOLD_BY_CAPACITY,
                          TD_TOLD_BY_PERF, /* acpi_cppc/highest_perf */
                          TD_TOLD_BY_CLOCK /* cpuinfo_max_freq */
} td_told_by;

enum {                      /* bits of td_topology.notes */
       TD_NOTE_NO_LIST = 1, /* sysfs lists no CPU: taken from the affinity mask */
       TD_NOTE_HIGH = 2,    /* CPUs from TD_CPUS_MAX up are left out */
       TD_NOTE_MASK = 4,    /* mask and online CPUs have nothing in common: mask ignored */
       TD_NOTE_CPUSET = 8   /* cpuset and mask have nothing in common: cpuset ignored */
};

typedef struct td_cpu {
    int32_t core; /* lowest online CPU on the same core */
    int32_t package;
    int32_t node; /* NUMA */
    td_core_class kind;
    int favoured;      /* 1: a P-core that is faster than others here */
    uint32_t perf;     /* as ACPI CPPC grades it, no unit; 0: not known */
    uint32_t capacity; /* as the scheduler grades it, at most 1024; 0: not known */
    uint32_t max_khz;  /* 0: not known */
    uint32_t l1d_kib;  /* 0: not known or none; likewise below */
    uint32_t l2_kib, l3_kib;
    int32_t l2, l3; /* lowest online CPU that shares it; -1: not known or none */
} td_cpu;

typedef struct td_topology {
    td_cpu_set online;        /* never empty */
    td_cpu_set allowed;       /* what affinity mask and cpuset leave; never empty */
    td_cpu_set offline;       /* present and switched off */
    uint32_t quota_millicpus; /* what the control group grants; 0: no bound */
    uint32_t notes;
    td_told_by told_by;
    td_cpu cpus[TD_CPUS_MAX]; /* by number; zeros where not online */
} td_topology;

/* Where to read from. */
typedef struct td_topology_sources {
    const char *sysfs;          /* as "/sys" */
    const char *proc;           /* as "/proc"; NULL: the root control group */
    const char *cgroup;         /* as "/sys/fs/cgroup" */
    td_cpuid_fn cpuid;          /* NULL: CPUID cannot be asked */
    void *cpuid_context;        /* for `cpuid` */
    const td_cpu_set *affinity; /* the mask; NULL: all CPUs */
} td_topology_sources;

/* Read this machine for this thread where sysfs_root is NULL or "/sys"; else a copy of another
 * machine's /sys, without CPUID and without a mask of ours.
 * Errors: TD_ERR_MEMORY, TD_ERR_ARGUMENT. */
td_status td_topology_read(const char *sysfs_root, td_topology *out);
td_status td_topology_read_from(const td_topology_sources *sources, td_topology *out);

/* The allowed CPUs that a wish means; where its kind is absent or not allowed, the next one of
 * P-core, E-core, LP-E-core (after E-core: LP-E-core, P-core; after LP-E-core: E-core, P-core),
 * and *taken (NULL: not wanted) says which. AUTO means the P-cores.
 * Errors: TD_ERR_ARGUMENT for a wish that is none. */
td_status td_topology_mask(const td_topology *topology, td_affinity wish, td_cpu_set *out,
                           td_affinity *taken);

/* How many threads can run at once on these CPUs under the quota; at least 1. */
uint32_t td_topology_threads(const td_topology *topology, const td_cpu_set *cpus);

#endif /* TDI_TOPOLOGY_H */
