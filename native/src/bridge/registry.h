/* registry.h - the actions that can be called here, each with an id that never changes meaning.
 *
 * Built-in actions are there from the start. Agents bring theirs and take them away. The same
 * (agent, name, version, effects, runs, deterministic) that comes back has the same id, a changed
 * one gets a new id, and no id is used twice. Of the actions that went, the last TDI_IDS_MAX are
 * remembered, so that agents with ever new names cannot fill the table for good.
 *
 * Threads: the main thread.
 * Memory:  rows of built-in actions point at static tables, those of agents own their strings.
 * Errors:  TD_TOO_LARGE over TDI_ACTIONS_MAX or TDI_TABLE_BYTES_MAX; TD_ERR_ARGUMENT for a name
 * twice.
 */
#ifndef TDI_REGISTRY_H
#define TDI_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tandem/agent.h"
#include "wire/handshake.h"

enum {
    TDI_IDS_MAX = 4096,              /* a power of two */
    TDI_TABLE_BYTES_MAX = 60 * 1024, /* of the table in a WELCOME */
};

typedef struct tdi_agent tdi_agent;

typedef struct tdi_registry_row {
    uint32_t id;            /* its row is (id - 1) % TDI_IDS_MAX */
    td_action about;        /* `run` is NULL for an agent's action, and for the router's */
    const td_action *local; /* built in, or NULL */
    tdi_agent *agent;       /* who offers it; NULL: built in, or gone */
    char *text;             /* owned strings of `about`; NULL for built-in ones */
    uint64_t changed;       /* registry.version when it last came or went */
} tdi_registry_row;

typedef struct tdi_registry {
    tdi_registry_row rows[TDI_IDS_MAX];
    uint32_t hashes[TDI_IDS_MAX]; /* of the rows' meanings; 0: built in */
    uint32_t total, live, last_id;
    uint64_t live_bytes; /* of what is offered, as WELCOME has it */
    uint64_t version;    /* counts changes */
} tdi_registry;

td_status tdi_registry_add(tdi_registry *registry, const td_action *actions, size_t total,
                           tdi_error *error);
/* Everything compiled into the bridge. */
td_status tdi_registry_add_built_in(tdi_registry *registry, tdi_error *error);
/* An agent offers this action: *id is its id, old or new. Refused for an action that is built in
 * or offered already. */
td_status tdi_registry_offer(tdi_registry *registry, tdi_agent *agent, const tdi_action_row *row,
                             uint32_t *id, tdi_error *error);
/* The agent that offered it is gone. */
void tdi_registry_withdraw(tdi_registry *registry, uint32_t id);
void tdi_registry_free(tdi_registry *registry);

/* A built-in action that runs here; NULL: no such id, or not run by tdi_run. */
const td_action *tdi_registry_find(const tdi_registry *registry, uint32_t id);
/* NULL: no such id, or nobody offers it now. */
const tdi_registry_row *tdi_registry_row_of(const tdi_registry *registry, uint32_t id);
/* The id under which (agent, name) is offered now; 0: not at all. */
uint32_t tdi_registry_id(const tdi_registry *registry, td_view agent, td_view name);
/* Is anything of this agent built in? */
bool tdi_registry_is_built_in(const tdi_registry *registry, td_view agent);
/* The table as WELCOME carries it: what is offered now. TD_TOO_LARGE. */
td_status tdi_registry_encode(const tdi_registry *registry, uint8_t *data, size_t bytes_max,
                              size_t *bytes);
/* The rows of these ids, in this order: what an agent learns of its own. TD_TOO_LARGE. */
td_status tdi_registry_encode_ids(const tdi_registry *registry, const uint32_t *ids, uint32_t total,
                                  uint8_t *data, size_t bytes_max, size_t *bytes);
/* Append rows that changed after `since`, beginning at row *from, while they fit; *from moves on
 * and is registry.total when all are in. *rows = how many. */
void tdi_registry_encode_changes(const tdi_registry *registry, uint64_t since, uint32_t *from,
                                 uint8_t *data, size_t bytes_max, size_t *bytes, uint32_t *rows);

/* agents/system.c */
extern const td_action tdi_system_actions[];
extern const size_t tdi_system_actions_count;
/* agents/docgen_scan.c */
extern const td_action tdi_docgen_actions[];
extern const size_t tdi_docgen_actions_count;
/* bridge/router.c */
extern const td_action tdi_router_actions[];
extern const size_t tdi_router_actions_count;

#endif /* TDI_REGISTRY_H */
