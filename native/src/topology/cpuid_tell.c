#include "topology/cpuid_tell.h"

#include "topology/affinity.h"

enum { SUBLEAVES = 8 };

static const struct {
    uint32_t leaf, subleaves;
} asked[] = {{0, 1}, {4, SUBLEAVES}, {0x0B, SUBLEAVES}, {0x1A, 1}, {0x1F, SUBLEAVES}};

void tdi_cpuid_tell(const tdi_cpuid *cpuid, const td_cpu_set *cpus, FILE *to)
{
    for (uint32_t cpu = td_cpu_set_next(cpus, 0); cpu < TD_CPUS_MAX;
         cpu = td_cpu_set_next(cpus, cpu + 1)) {
        uint32_t highest = 0;
        for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
            const uint32_t leaf = asked[i].leaf;
            for (uint32_t sub = 0; leaf <= highest && sub < asked[i].subleaves; sub++) {
                uint32_t is[4];
                if (!cpuid->ask(cpuid->context, cpu, leaf, sub, is))
                    break;
                if (leaf == 0)
                    highest = is[0];
                fprintf(to, "%x %x %x %x %x %x %x\n", cpu, leaf, sub, is[0], is[1], is[2], is[3]);
            }
        }
    }
}

void tdi_cpuid_tell_here(FILE *to)
{
    tdi_cpuid_here here;
    td_cpu_set cpus;
    if (td_affinity_get(&cpus) != TD_OK || !tdi_cpuid_begin(&here))
        return;
    const tdi_cpuid cpuid = {tdi_cpuid_run, &here};
    tdi_cpuid_tell(&cpuid, &cpus, to);
    tdi_cpuid_end(&here);
}
