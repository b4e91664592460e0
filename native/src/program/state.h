/* state.h - what the files of a run share; run.h says what it is.
 *
 * Threads: the owner's, except a tdi_unit that is out in the pool.
 * Memory:  the run's arena, unless a comment says heap.
 * Errors:  td_status.
 */
#ifndef TDI_PROGRAM_STATE_H
#define TDI_PROGRAM_STATE_H

#include "program/arena.h"
#include "program/run.h"
#include "strict/verdict.h"

enum {
    TDI_ITEMS_AT_ONCE = 64 /* of a for_each over a blocking action */
};
#define TDI_NO_ITEM UINT32_MAX

enum { TDI_WAITING, TDI_RUNNING, TDI_ENDED };

/* The items of a for_each that runs. */
typedef struct tdi_items {
    const uint8_t *list;
    uint32_t *offsets; /* total + 1 of them: where in the list each begins */
    td_view *outputs;
    uint32_t *failed; /* positions, in the order of their ends */
    uint32_t total, next, failed_total;
    uint32_t out;   /* started, not ended */
    uint32_t below; /* the step to come back to after this one */
    bool current;   /* on that stack */
    bool starting;
    uint64_t output_bytes;
    uint8_t outcome; /* of the first that failed */
    bool gives_up;
    uint32_t not_started; /* of `failed` */
    const uint8_t *failure;
    uint32_t failure_bytes;
} tdi_items;

typedef struct tdi_step_state {
    uint32_t missing;
    uint8_t phase, outcome, skip;
    bool deep;      /* depth is known */
    uint8_t depth;  /* of the output */
    uint32_t cause; /* SKIP_NO_OUTPUT: the reference */
    uint32_t failure_bytes, failed_total;
    size_t output_bytes;
    const uint8_t *output;
    const uint8_t *failure; /* two strings: type and message */
    const uint32_t *failed;
    uint64_t started_ns, ended_ns;
    tdi_items *items; /* while they run */
} tdi_step_state;

typedef struct tdi_resolved {
    const uint8_t *data;
    uint32_t bytes; /* or, missing, the tokens that did lead on */
    uint8_t state;  /* 0 not yet, 1 found, 2 missing */
} tdi_resolved;

/* One call of an action. */
typedef struct tdi_unit {
    td_call call; /* first: actions know only this */
    tdi_job job;
    td_program_run *run;
    const td_action *action;
    uint32_t step, item;
    td_view payload, inputs;
    char key[TDI_PROGRAM_KEY_BYTES + 1];
    bool inputs_made, failed, blocking;
    uint64_t deadline_ns, started_ns, ended_ns;
    td_writer output; /* on the arena, or on the heap in the pool */
    uint64_t output_bytes_max;
    td_status status;
    uint32_t failure_bytes;
    uint8_t failure[TDI_FAILURE_BYTES_MAX];
} tdi_unit;

struct td_program_run {
    td_program *program;
    td_program_host host;
    td_program_limits limits;
    uint8_t *body; /* heap: what RUN brought */
    td_view *slots;
    tdi_step_state *steps;
    tdi_resolved *resolved;
    td_view *views; /* of the pieces of one template */
    uint32_t *ready;
    uint32_t ready_first, ready_last, ended_total, mark;
    uint32_t current; /* a for_each whose items run here, or TDI_NO_ITEM */
    uint32_t jobs, remotes;
    td_program_remote *answered_first, *answered_last;
    const uint8_t *keys; /* in the body: TDI_RUN_KEY_BYTES of each step, or NULL */
    uint8_t stopped;     /* 0, or the TDI_OUTCOME_* because of which nothing starts */
    uint64_t now_ns, started_ns, reply_bytes_left;
    tdi_arena arena;
    td_heap_writer payload, inputs; /* of the short action that runs */
    td_heap_writer reply;
    uint32_t reply_row;
    bool reply_begun;
    tdi_unit unit; /* the short action that runs */
};

/* ---- resolve.c: references, templates, inputs ---- */

/* What a reference means now; `item` is empty outside of items. TD_FAILED: it leads nowhere, and
 * `depth` tokens did lead on. */
td_status tdi_resolve_ref(td_program_run *run, uint32_t ref, td_view item, td_view *found,
                          uint32_t *depth);
/* The template's value. TD_FAILED: a reference leads nowhere, `text` says which (no sentence);
 * TD_CORRUPT: nested too deep; TD_TOO_LARGE. The view is a literal, an output, or memory of
 * `into` (NULL: of the arena). */
td_status tdi_resolve_template(td_program_run *run, uint32_t first, uint32_t count, td_view item,
                               td_heap_writer *into, td_view *value, tdi_error *text);
/* The map of a step's inputs, likewise. */
td_status tdi_resolve_inputs(td_program_run *run, uint32_t step, td_heap_writer *into,
                             td_view *map);
/* Whether the map would be nested too deep. */
bool tdi_inputs_too_deep(td_program_run *run, uint32_t step);
/* The first reference without a default into something that gave nothing, or TDI_NO_ITEM. */
uint32_t tdi_empty_producer(const td_program_run *run, uint32_t step);

/* ---- condition.c ---- */
bool tdi_condition_holds(td_program_run *run, uint32_t row);

/* ---- unit.c: one call of an action ---- */

/* Start step (or item): run it here, or hand it to the pool. */
void tdi_unit_start(td_program_run *run, uint32_t step, uint32_t item, td_view item_value);
/* Perform the action; `unit->status` and the output or failure are then set. Any thread. */
void tdi_unit_perform(tdi_unit *unit);
/* A step's or item's idempotency key; `into` has TDI_PROGRAM_KEY_BYTES + 1. Returns its bytes,
 * 0 when it has none. */
uint8_t tdi_unit_key(const td_program_run *run, uint32_t step, uint32_t item, char *into);

/* ---- remote.c ---- */
bool tdi_is_remote(const td_program_run *run, uint32_t step);
/* So many are out that no other may start. */
bool tdi_remotes_full(const td_program_run *run);
/* Have what the unit says sent. */
void tdi_remote_start(td_program_run *run, const tdi_unit *unit);
/* What has been answered ends. */
void tdi_remotes_end(td_program_run *run);

/* ---- items.c ---- */
void tdi_items_start(td_program_run *run, uint32_t step);
/* Would items of this step start now, were there room? */
bool tdi_items_go_on(const td_program_run *run, uint32_t step);
/* Start the next item, if one may. */
void tdi_items_next(td_program_run *run, uint32_t step);
void tdi_item_ended(td_program_run *run, uint32_t step, uint32_t item, uint8_t outcome,
                    td_view output, td_view failure);

/* ---- run.c ---- */

/* A step or item ended with what is in the arena already. */
void tdi_unit_ended(td_program_run *run, uint32_t step, uint32_t item, uint8_t outcome,
                    td_view output, td_view failure);
void tdi_step_end(td_program_run *run, uint32_t step, uint8_t outcome, td_view output,
                  td_view failure);
/* The same for a failure that is made here. */
void tdi_step_fail(td_program_run *run, uint32_t step, uint32_t item, const char *type,
                   const char *message);

/* ---- reply.c ---- */

/* Encode at most `rows` outcomes. True when the body is complete. */
bool tdi_reply_some(td_program_run *run, uint32_t rows);

#endif /* TDI_PROGRAM_STATE_H */
