/* docgen_scan.h - the native actions of the agent docgen, for whoever hosts them.
 *
 * Threads: the table is constant; an action runs on the thread that calls it.
 * Memory:  static.  Errors: none.
 */
#ifndef TDI_DOCGEN_SCAN_H
#define TDI_DOCGEN_SCAN_H

#include "tandem/agent.h"

extern const td_action tdi_docgen_actions[];
extern const size_t tdi_docgen_actions_count;

#endif /* TDI_DOCGEN_SCAN_H */
