/* registry.h - the actions this bridge offers, each with an id that is never used again.
 *
 * Threads: written at set-up, then only read.
 * Memory:  rows point at static tables.
 * Errors:  TD_TOO_LARGE over TDI_ACTIONS_MAX; TD_ERR_ARGUMENT for a name that comes twice.
 */
#ifndef TDI_REGISTRY_H
#define TDI_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tandem/agent.h"
#include "wire/handshake.h"

typedef struct tdi_registry {
    const td_action *actions[TDI_ACTIONS_MAX]; /* index + 1 is the id */
    uint32_t total;
} tdi_registry;

td_status tdi_registry_add(tdi_registry *registry, const td_action *actions, size_t total,
                           tdi_error *error);
/* Everything compiled into the bridge. */
td_status tdi_registry_add_built_in(tdi_registry *registry, tdi_error *error);
/* NULL: no such id. */
const td_action *tdi_registry_find(const tdi_registry *registry, uint32_t id);
/* The table as WELCOME carries it. TD_TOO_LARGE. */
td_status tdi_registry_encode(const tdi_registry *registry, uint8_t *data, size_t bytes_max,
                              size_t *bytes);

/* agents/system.c */
extern const td_action tdi_system_actions[];
extern const size_t tdi_system_actions_count;
/* agents/docgen_scan.c */
extern const td_action tdi_docgen_actions[];
extern const size_t tdi_docgen_actions_count;

#endif /* TDI_REGISTRY_H */
