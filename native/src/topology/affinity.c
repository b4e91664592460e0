#include "topology/affinity.h"

#include <sched.h>
#include <string.h>

_Static_assert(sizeof(unsigned long) == 8, "the kernel's masks are arrays of unsigned long");

/* The kernel refuses a mask smaller than its own; none is built for more CPUs than this. */
enum { KERNEL_MASK_BYTES = 8192 };

td_status td_affinity_get(td_cpu_set *out)
{
    unsigned long mask[KERNEL_MASK_BYTES / sizeof(unsigned long)] = {0};
    if (sched_getaffinity(0, sizeof mask, (cpu_set_t *)mask) != 0)
        return TD_ERR_SYSTEM;
    memcpy(out->words, mask, sizeof out->words);
    return TD_OK;
}

td_status td_affinity_set(const td_cpu_set *cpus)
{
    unsigned long mask[TD_CPUS_MAX / 64];
    if (td_cpu_set_next(cpus, 0) == TD_CPUS_MAX)
        return TD_ERR_ARGUMENT;
    memcpy(mask, cpus->words, sizeof mask);
    return sched_setaffinity(0, sizeof mask, (const cpu_set_t *)mask) == 0 ? TD_OK : TD_ERR_SYSTEM;
}
