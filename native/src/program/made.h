/* made.h - programs built by hand, for tests: a few rows, written where they belong.
 *
 * Threads: one.  Memory: static.  Errors: none; too much is a failed test.
 */
#ifndef TDI_PROGRAM_MADE_H
#define TDI_PROGRAM_MADE_H

#include <stdlib.h>

#include "base/test.h"
#include "program/run.h"
#include "tandem/message.h"

enum { MADE_STEPS_MAX = 8 };

/* Steps in a chain, or all at once; each echoes the literal nil through `action_ids[i]`. */
typedef struct made_program {
    tdi_program_header header;
    tdi_step_row steps[MADE_STEPS_MAX];
    uint8_t rest[1024];
} made_program;

static size_t make_steps(made_program *made, uint32_t steps, const uint32_t *action_ids,
                         const uint32_t *flags, int is_chain)
{
    const uint32_t edges = is_chain ? steps - 1 : 0;
    const size_t edge_bytes = ((size_t)edges * 4 + 7) & ~(size_t)7;
    const size_t bytes = sizeof(tdi_program_header) + steps * sizeof(tdi_step_row) + edge_bytes +
                         steps * sizeof(tdi_piece_row) + 8;
    uint8_t *data = (uint8_t *)made;
    memset(made, 0, sizeof *made);
    made->header = (tdi_program_header){.magic = TDI_PROGRAM_MAGIC,
                                        .version = TDI_PROGRAM_VERSION,
                                        .total_bytes = (uint32_t)bytes,
                                        .steps_total = steps,
                                        .edges_total = edges,
                                        .pieces_total = steps,
                                        .literals_bytes = 1,
                                        .slots_total = 1};
    uint32_t *edge = (uint32_t *)(made->steps + steps);
    tdi_piece_row *pieces = (tdi_piece_row *)((uint8_t *)edge + edge_bytes);
    for (uint32_t i = 0; i < steps; i++) {
        const int has_edge = is_chain && i + 1 < steps;
        made->steps[i] = (tdi_step_row){.action_id = action_ids[i],
                                        .flags = flags[i] | TDI_STEP_WANTED,
                                        .piece_first = i,
                                        .piece_count = 1,
                                        .edge_first = is_chain ? i : 0,
                                        .edge_count = (uint32_t)has_edge,
                                        .needs = is_chain && i > 0};
        if (has_edge)
            edge[i] = i + 1;
        pieces[i] = (tdi_piece_row){.kind = TDI_PIECE_LITERAL, .bytes = 1};
    }
    data[bytes - 8] = 0xC0;
    return bytes;
}

/* A RUN without inputs, on the heap. */
static uint8_t *make_body(size_t *bytes)
{
    static const uint32_t words[] = {TDI_RUN_MAGIC, 1, 1, 0, 0x80};
    uint8_t *body = malloc(17);
    if (body != NULL)
        memcpy(body, words, 17);
    *bytes = 17;
    return body;
}

#endif /* TDI_PROGRAM_MADE_H */
