#include "topology/cpuid.h"

enum { LEVELS_MAX = 8, LEVEL_SMT = 1, CACHE_INSTRUCTION = 2, KIB_MAX = 1000000000 };

/* Ask for a leaf that the processor has. */
static int ask(const tdi_cpuid *cpuid, uint32_t cpu, uint32_t leaf, uint32_t subleaf,
               uint32_t registers[4])
{
    return cpuid->ask != NULL && cpuid->ask(cpuid->context, cpu, 0, 0, registers) &&
           registers[0] >= leaf && cpuid->ask(cpuid->context, cpu, leaf, subleaf, registers);
}

uint32_t tdi_cpuid_kind(const tdi_cpuid *cpuid, uint32_t cpu)
{
    uint32_t registers[4];
    const uint32_t kind = ask(cpuid, cpu, 0x1A, 0, registers) ? registers[0] >> 24 : 0;
    return kind == TDI_KIND_CORE || kind == TDI_KIND_ATOM ? kind : 0;
}

int tdi_cpuid_apic(const tdi_cpuid *cpuid, uint32_t cpu, uint32_t *apic, uint32_t *smt_shift)
{
    static const uint32_t leaves[] = {0x1F, 0x0B};
    for (int i = 0; i < 2; i++)
        for (uint32_t subleaf = 0; subleaf < LEVELS_MAX; subleaf++) {
            uint32_t registers[4];
            if (!ask(cpuid, cpu, leaves[i], subleaf, registers))
                break;
            const uint32_t type = registers[2] >> 8 & 0xFF;
            if (type == 0)
                break;
            if (type == LEVEL_SMT) {
                *apic = registers[3];
                *smt_shift = registers[0] & 0x1F;
                return 1;
            }
        }
    return 0;
}

static uint32_t bit_length(uint32_t value)
{
    return value == 0 ? 0 : 32 - (uint32_t)__builtin_clz(value);
}

uint32_t tdi_cpuid_caches(const tdi_cpuid *cpuid, uint32_t cpu,
                          tdi_cpuid_cache out[TDI_CPUID_CACHES_MAX])
{
    uint32_t total = 0;
    for (uint32_t subleaf = 0; subleaf < TDI_CPUID_CACHES_MAX; subleaf++) {
        uint32_t registers[4];
        if (!ask(cpuid, cpu, 4, subleaf, registers) || (registers[0] & 0x1F) == 0)
            break;
        const uint32_t eax = registers[0], ebx = registers[1], level = eax >> 5 & 7;
        if ((eax & 0x1F) == CACHE_INSTRUCTION || level < 1 || level > 3)
            continue;
        const uint64_t ways = (ebx >> 22) + 1, parts = (ebx >> 12 & 0x3FF) + 1;
        const uint64_t set_bytes = ways * parts * ((ebx & 0xFFF) + 1); /* at most 2^32 */
        uint64_t bytes; /* times at most 2^32 sets: garbage may overflow by one bit */
        if (__builtin_mul_overflow(set_bytes, (uint64_t)registers[2] + 1, &bytes))
            bytes = UINT64_MAX;
        const uint64_t kib = bytes / 1024;
        out[total++] = (tdi_cpuid_cache){
            .level = level,
            .kib = kib < KIB_MAX ? (uint32_t)kib : KIB_MAX,
            .shift = bit_length(eax >> 14 & 0xFFF),
        };
    }
    return total;
}
