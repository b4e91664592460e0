/* cpus.h - a thread that moves to the CPUs its next work wishes for, and back.
 *
 * A mask is a row of little-endian bits, CPU 0 first, of 1 to TDI_CPUS_BYTES_MAX bytes, as
 * extension record 8 carries it. It is a wish: where the kernel refuses (none of the CPUs is
 * online, or allowed), the thread goes back to its own.
 *
 * Threads: a tdi_cpus belongs to the thread that made it; `within` may be asked by any.
 * Memory:  the caller's.
 * Errors:  none; a refusal is counted.
 */
#ifndef TDI_CPUS_H
#define TDI_CPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/agent.h"

enum { TDI_CPUS_BYTES_MAX = 128 };

typedef struct tdi_cpus {
    uint8_t own[TDI_CPUS_BYTES_MAX]; /* of the thread, before any wish */
    uint8_t now[TDI_CPUS_BYTES_MAX];
    bool known;   /* false: its mask could not be read, so it is never moved */
    bool is_away; /* `now` is not `own` */
    uint32_t refused;
} tdi_cpus;

/* Read the calling thread's mask. */
void tdi_cpus_init(tdi_cpus *cpus);

/* Move the calling thread; an empty mask: back to its own. Costs a system call only where
 * something changes. */
void tdi_cpus_follow(tdi_cpus *cpus, td_view mask);

/* Are the thread's own CPUs all in the mask? True for an empty one. */
bool tdi_cpus_within(const tdi_cpus *cpus, td_view mask);

#endif /* TDI_CPUS_H */
