/* classify.h - telling the kinds of core apart; pure. core_kinds.py is the same in Python.
 *
 * A source counts only if it speaks about every online CPU. Sources that name kinds come first;
 * then the first of capacity, CPPC grade and clock that shows a gap decides: performance cores of
 * one machine differ by a few per cent among themselves, the next kind is a tenth slower.
 *
 * Threads: none.  Memory: 32 KiB of stack.  Errors: none.
 */
#ifndef TDI_CLASSIFY_H
#define TDI_CLASSIFY_H

#include "topology/topology.h"

typedef struct tdi_named { /* a source that names kinds */
    td_told_by told_by;
    td_cpu_set big, small, lowest;
} tdi_named;

/* Set kind and favoured of every online CPU, and told_by; reads perf, capacity, max_khz and l3.
 * `named` may be NULL. */
void tdi_classify(td_topology *topology, const tdi_named *named);

#endif /* TDI_CLASSIFY_H */
