/* cpu.h - what this processor can do, asked once by whoever chooses between two ways of one work.
 *
 * TANDEM_SIMD=scalar in the environment takes every instruction away that not every processor
 * has: tests force the plain path with it, and people rule a suspicion out.
 *
 * Threads: any; ask at set-up and keep the answer.
 * Memory:  none.  Errors: none.
 */
#ifndef TDI_CPU_H
#define TDI_CPU_H

#include <stdint.h>

enum {
    TDI_CPU_SSE42 = 1, /* with its CRC32 instruction */
    TDI_CPU_AVX2 = 2,  /* and the system keeps its registers */
    TDI_CPU_SHA = 4,   /* x86 or ARM; libcrypto chooses by itself */
    TDI_CPU_CRC = 8,   /* ARMv8 */
    TDI_CPU_NEON = 16
};

enum { TDI_CPU_TEXT_BYTES_MAX = 64 };

/* The flags to choose by: 0 where TANDEM_SIMD=scalar. */
uint32_t tdi_cpu_flags(void);

/* What the processor has, whatever TANDEM_SIMD says. */
uint32_t tdi_cpu_flags_of_machine(void);

/* Write "sse4.2 avx2", or "scalar" for none; returns `out`. */
const char *tdi_cpu_flags_text(uint32_t flags, char out[TDI_CPU_TEXT_BYTES_MAX]);

#endif /* TDI_CPU_H */
