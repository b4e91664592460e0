/* limits.h - what the control group leaves to this process: CPUs (cpuset) and time (quota).
 *
 * Both hierarchies are read at their usual places. A container may see its own group as the root,
 * or a path that only the host has: the nearest ancestor that exists counts. Quotas hold at every
 * level, so the smallest one does. layers/native/cgroup.py keeps the same rules.
 * Source: Linux, cgroup-v2.rst, cgroup-v1/cpusets.rst, sched-bwc.rst.
 *
 * Threads: as tdi_sysfs.  Memory: the caller's.  Errors: none; what cannot be read limits nothing.
 */
#ifndef TDI_LIMITS_H
#define TDI_LIMITS_H

#include "topology/sysfs.h"

typedef struct tdi_limits {
    td_cpu_set cpus;          /* the cpuset; empty: there is none */
    uint32_t quota_millicpus; /* 0: there is none */
} tdi_limits;

/* proc: where /proc is; NULL: the process is in the root group. */
void tdi_limits_read(tdi_sysfs *at, const char *proc, const char *cgroup, tdi_limits *out);

#endif /* TDI_LIMITS_H */
