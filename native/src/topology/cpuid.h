/* cpuid.h - what an x86 processor says about itself, where the kernel is silent.
 *
 * Leaf 0x1A names the kind of core, 0x1F (else 0x0B) the ids that siblings have in common, 4 the
 * caches. Asking is a function, so that tests answer from a table.
 * Source: Intel SDM volume 2A, CPUID.
 *
 * Threads: as the function says.  Memory: the caller's.
 * Errors:  1 answered, 0 not.
 */
#ifndef TDI_CPUID_H
#define TDI_CPUID_H

#include <stdint.h>

#include "topology/cpu_set.h"

/* Ask `cpu`; eax, ebx, ecx, edx into `registers`. Returns 0 where it cannot be asked. */
typedef int (*td_cpuid_fn)(void *context, uint32_t cpu, uint32_t leaf, uint32_t subleaf,
                           uint32_t registers[4]);

typedef struct tdi_cpuid {
    td_cpuid_fn ask; /* NULL: nobody answers */
    void *context;
} tdi_cpuid;

enum { TDI_KIND_ATOM = 0x20, TDI_KIND_CORE = 0x40, TDI_CPUID_CACHES_MAX = 8 };

typedef struct tdi_cpuid_cache {
    uint32_t level; /* 1 to 3; data or unified */
    uint32_t kib;
    uint32_t shift; /* CPUs whose APIC ids are equal after a shift by so many bits share it */
} tdi_cpuid_cache;

/* TDI_KIND_CORE, TDI_KIND_ATOM, or 0 where the processor does not say. */
uint32_t tdi_cpuid_kind(const tdi_cpuid *cpuid, uint32_t cpu);

/* The APIC id, and by how many bits to shift it for the core's id. */
int tdi_cpuid_apic(const tdi_cpuid *cpuid, uint32_t cpu, uint32_t *apic, uint32_t *smt_shift);

/* The caches by leaf 4; returns how many, 0 where it is silent. */
uint32_t tdi_cpuid_caches(const tdi_cpuid *cpuid, uint32_t cpu,
                          tdi_cpuid_cache out[TDI_CPUID_CACHES_MAX]);

/* The real instruction, run on each CPU in turn by moving the calling thread there: for set-up,
 * never beside work. It answers only for CPUs that the thread may use. After begin, give
 * tdi_cpuid_run() the structure as its context; end gives the thread its CPUs back. Elsewhere
 * than on x86 nothing is answered. */
typedef struct tdi_cpuid_here {
    td_cpu_set mask; /* the thread's own */
    uint32_t cpu;    /* where it is now; TD_CPUS_MAX: not moved */
} tdi_cpuid_here;

int tdi_cpuid_begin(tdi_cpuid_here *here);
int tdi_cpuid_run(void *here, uint32_t cpu, uint32_t leaf, uint32_t subleaf, uint32_t registers[4]);
void tdi_cpuid_end(tdi_cpuid_here *here);

#endif /* TDI_CPUID_H */
