/* cpuid_tell.h - CPUID for programs that cannot run the instruction: a line for each answer.
 *
 * layers/native/bridge_words.py reads it, for the same decisions in Python.
 *
 * Threads: as the asking function.  Memory: none.  Errors: what is not answered is left out.
 */
#ifndef TDI_CPUID_TELL_H
#define TDI_CPUID_TELL_H

#include <stdio.h>

#include "topology/cpuid.h"

/* Write "cpu leaf subleaf eax ebx ecx edx" in hexadecimal for the leaves that tell cores and
 * caches apart: 0, 4, 0x0B, 0x1A, 0x1F. */
void tdi_cpuid_tell(const tdi_cpuid *cpuid, const td_cpu_set *cpus, FILE *to);

/* The same for the CPUs of this thread, by the real instruction; it moves the thread. */
void tdi_cpuid_tell_here(FILE *to);

#endif /* TDI_CPUID_TELL_H */
