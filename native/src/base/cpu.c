#include "base/cpu.h"

#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#ifndef HWCAP_SHA2
#define HWCAP_SHA2 (1 << 6)
#endif
#ifndef HWCAP_ASIMD
#define HWCAP_ASIMD (1 << 1)
#endif
#endif

static const struct {
    uint32_t flag;
    const char *name;
} names[] = {
    {TDI_CPU_SSE42, "sse4.2"}, {TDI_CPU_AVX2, "avx2"}, {TDI_CPU_SHA, "sha"},
    {TDI_CPU_CRC, "crc"},      {TDI_CPU_NEON, "neon"},
};

uint32_t tdi_cpu_flags_of_machine(void)
{
    uint32_t flags = 0;
#if defined(__x86_64__)
    unsigned eax, ebx, ecx, edx;
    __builtin_cpu_init();
    flags |= __builtin_cpu_supports("sse4.2") ? TDI_CPU_SSE42 : 0;
    flags |= __builtin_cpu_supports("avx2") ? TDI_CPU_AVX2 : 0;
    if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) /* compilers have no name for it */
        flags |= ebx >> 29 & 1 ? TDI_CPU_SHA : 0;
#elif defined(__aarch64__)
    const unsigned long has = getauxval(AT_HWCAP);
    flags |= has & HWCAP_CRC32 ? TDI_CPU_CRC : 0;
    flags |= has & HWCAP_SHA2 ? TDI_CPU_SHA : 0;
    flags |= has & HWCAP_ASIMD ? TDI_CPU_NEON : 0;
#endif
    return flags;
}

uint32_t tdi_cpu_flags(void)
{
    const char *asked = getenv("TANDEM_SIMD");
    return asked != NULL && strcmp(asked, "scalar") == 0 ? 0 : tdi_cpu_flags_of_machine();
}

const char *tdi_cpu_flags_text(uint32_t flags, char out[TDI_CPU_TEXT_BYTES_MAX])
{
    out[0] = '\0';
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!(flags & names[i].flag))
            continue;
        if (out[0] != '\0')
            strcat(out, " ");
        strcat(out, names[i].name); /* all of them take 27 bytes */
    }
    if (out[0] == '\0')
        strcpy(out, "scalar");
    return out;
}
