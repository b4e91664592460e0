/* No CPUID: not an x86. */
#include "topology/cpuid.h"

int tdi_cpuid_begin(tdi_cpuid_here *here)
{
    here->cpu = TD_CPUS_MAX;
    return 0;
}

int tdi_cpuid_run(void *here, uint32_t cpu, uint32_t leaf, uint32_t subleaf, uint32_t registers[4])
{
    (void)here, (void)cpu, (void)leaf, (void)subleaf, (void)registers;
    return 0;
}

void tdi_cpuid_end(tdi_cpuid_here *here)
{
    (void)here;
}
