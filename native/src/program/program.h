/* program.h - a loaded program: validated once, then only read, by any number of runs.
 *
 * Threads: loading: any thread. hold/drop: one thread (the bridge's); the rest is immutable.
 * Memory:  a program owns a private copy of its bytes and one pointer a step, one byte a
 *          piece beside it.
 * Errors:  TD_CORRUPT with a sentence for bytes that break a rule; TD_NO_AGENT for an action
 *          that is not there; TD_TOO_LARGE; TD_ERR_MEMORY.
 */
#ifndef TDI_PROGRAM_H
#define TDI_PROGRAM_H

#include "base/error.h"
#include "program/format.h"
#include "tandem/agent.h"

/* The action with this id, or NULL. One without a function is remote, and copied. */
typedef const td_action *(*td_program_find)(void *context, uint32_t action_id);

typedef struct td_program {
    uint32_t holders;
    uint8_t *data; /* the copy, 8-aligned */
    size_t bytes;
    const tdi_program_header *header;
    const tdi_step_row *steps;
    const uint32_t *edges;
    const tdi_ref_row *refs;
    const tdi_token_row *tokens;
    const tdi_piece_row *pieces;
    const tdi_condition_row *conditions;
    const tdi_input_row *inputs;
    const uint8_t *literals;
    const td_action **actions;         /* of each step */
    struct tdi_remote_action *remotes; /* copies, which outlive the agents that offered them */
    uint8_t *hole_depth; /* of each piece that is no literal: containers open around it */
} td_program;

/* Copy, check, and find the actions. Linear in `bytes`. */
td_status td_program_load(const uint8_t *data, size_t bytes, td_program_find find, void *context,
                          td_program **out, tdi_error *error);
void td_program_hold(td_program *program);
void td_program_drop(td_program *program); /* the last one frees; NULL is fine */

/* check.c: everything but the actions. Fills hole_depth. */
td_status tdi_program_check(td_program *program, tdi_error *error);

/* template.c: do these pieces make exactly one strict value, with values where the holes are? */
typedef struct tdi_template_checker {
    uint8_t *bytes;
    size_t bytes_max;
    uint32_t *holes;
    size_t holes_max;
} tdi_template_checker;

td_status tdi_template_check(tdi_template_checker *checker, td_program *program, uint32_t first,
                             uint32_t count, tdi_error *error);
void tdi_template_checker_fini(tdi_template_checker *checker);

#endif /* TDI_PROGRAM_H */
