/* The real CPUID, on x86. */
#include <cpuid.h>

#include "topology/affinity.h"
#include "topology/cpuid.h"

int tdi_cpuid_begin(tdi_cpuid_here *here)
{
    here->cpu = TD_CPUS_MAX;
    return td_affinity_get(&here->mask) == TD_OK;
}

int tdi_cpuid_run(void *context, uint32_t cpu, uint32_t leaf, uint32_t subleaf,
                  uint32_t registers[4])
{
    tdi_cpuid_here *here = context;
    if (cpu != here->cpu) {
        td_cpu_set one = {{0}};
        td_cpu_set_add(&one, cpu);
        if (!td_cpu_set_has(&here->mask, cpu) || td_affinity_set(&one) != TD_OK)
            return 0;
        here->cpu = cpu; /* the kernel moved us before it returned */
    }
    __cpuid_count(leaf, subleaf, registers[0], registers[1], registers[2], registers[3]);
    return 1;
}

void tdi_cpuid_end(tdi_cpuid_here *here)
{
    if (here->cpu < TD_CPUS_MAX)
        (void)td_affinity_set(&here->mask); /* it was ours: only a cpuset that shrank refuses */
    here->cpu = TD_CPUS_MAX;
}
