/* budget.h - how much ring memory each session gets out of buffer_size.
 *
 * Half is for orchestrators: the first gets a quarter of all (2 x 2 MiB of 16 MiB), each of up
 * to 16 later ones 1/64 (2 x 128 KiB). Half is for agents, in equal shares. Rounded down to
 * powers of two. The control pages and words of a session are not counted.
 *
 * Threads: one.  Memory: none.  Errors: TD_BUSY, TD_ERR_ARGUMENT.
 */
#ifndef TDI_BUDGET_H
#define TDI_BUDGET_H

#include <stdint.h>

#include "base/error.h"

enum { TDI_LATER_ORCHESTRATORS = 16, TDI_AGENTS_MAX = 1024 };

typedef enum tdi_share_kind { TDI_SHARE_FIRST, TDI_SHARE_LATER, TDI_SHARE_AGENT } tdi_share_kind;

typedef struct tdi_share {
    tdi_share_kind kind;
    uint64_t ring_bytes; /* of each of the two rings */
} tdi_share;

typedef struct tdi_budget {
    uint64_t ring_bytes[3];
    uint32_t taken[3], most[3];
} tdi_budget;

td_status tdi_budget_init(tdi_budget *budget, uint64_t buffer_bytes, uint32_t agents_max,
                          tdi_error *error);
td_status tdi_budget_take(tdi_budget *budget, int is_agent, tdi_share *out, tdi_error *error);
void tdi_budget_give(tdi_budget *budget, const tdi_share *share);

#endif /* TDI_BUDGET_H */
