/* affinity.h - the CPUs that the calling thread may use, as the kernel has them.
 *
 * Threads: each call is about its own thread.  Memory: the caller's.
 * Errors:  TD_ERR_SYSTEM with errno.
 */
#ifndef TDI_AFFINITY_H
#define TDI_AFFINITY_H

#include "topology/cpu_set.h"

/* Read the thread's mask; CPUs from TD_CPUS_MAX up are left out. */
td_status td_affinity_get(td_cpu_set *out);

/* Bind the thread to these CPUs; the kernel cuts them by the cpuset.
 * Errors: also TD_ERR_ARGUMENT for the empty set. */
td_status td_affinity_set(const td_cpu_set *cpus);

#endif /* TDI_AFFINITY_H */
