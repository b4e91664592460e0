/* program_bench.c - what a step costs inside C: a long chain, a fan, and diamonds of ten steps.
 *
 * usage: program_bench [STEPS [ROUNDS]]
 * The programs have no payload to build but nil and no-op actions, so that what is measured is
 * order, budget, clock and outcome. The body of a RUN and the completion are part of each round.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "program/run.h"
#include "tandem/message.h"

static td_status noop(td_call *call)
{
    return td_write_nil(td_output(call));
}

static const td_action action = {"system", "noop", noop, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"};

static const td_action *find(void *context, uint32_t id)
{
    (void)context;
    return id == 1 ? &action : NULL;
}

/* `width` steps after each other's end: 1 is a chain; a first step, the middle, a last one. */
static uint8_t *make_program(uint32_t steps, int is_chain, size_t *bytes)
{
    const uint32_t edges = is_chain ? steps - 1 : 2 * (steps - 2);
    const size_t edge_bytes = ((size_t)edges * 4 + 7) & ~(size_t)7;
    *bytes = sizeof(tdi_program_header) + steps * sizeof(tdi_step_row) + edge_bytes +
             steps * sizeof(tdi_piece_row) + 8;
    uint8_t *data = calloc(1, *bytes);
    if (data == NULL)
        return NULL;
    tdi_program_header *header = (tdi_program_header *)data;
    *header = (tdi_program_header){.magic = TDI_PROGRAM_MAGIC,
                                   .version = TDI_PROGRAM_VERSION,
                                   .total_bytes = (uint32_t)*bytes,
                                   .steps_total = steps,
                                   .edges_total = edges,
                                   .pieces_total = steps,
                                   .literals_bytes = 1,
                                   .slots_total = 1};
    tdi_step_row *rows = (tdi_step_row *)(header + 1);
    uint32_t *edge = (uint32_t *)(rows + steps);
    tdi_piece_row *pieces = (tdi_piece_row *)((uint8_t *)edge + edge_bytes);
    uint32_t at = 0;
    for (uint32_t i = 0; i < steps; i++) {
        rows[i] = (tdi_step_row){.action_id = 1,
                                 .flags = TDI_STEP_WANTED,
                                 .piece_first = i,
                                 .piece_count = 1,
                                 .edge_first = at};
        pieces[i] = (tdi_piece_row){.kind = TDI_PIECE_LITERAL, .bytes = 1};
        if (is_chain) {
            rows[i].needs = i > 0;
            if (i + 1 < steps)
                edge[at++] = i + 1;
        } else if (i == 0) {
            for (uint32_t k = 1; k + 1 < steps; k++)
                edge[at++] = k;
        } else if (i + 1 < steps) {
            rows[i].needs = 1;
            edge[at++] = steps - 1;
        } else {
            rows[i].needs = steps - 2;
        }
        rows[i].edge_count = at - rows[i].edge_first;
    }
    data[*bytes - 8] = 0xC0;
    return data;
}

/* One RUN and its completion, in turns of 64 steps or 50 us as the bridge takes them. */
static int run_once(td_program *program)
{
    const td_program_host host = {0};
    const td_program_limits limits = {
        .bytes_max = 64 << 20, .reply_bytes_max = 64 << 20, .attempt = 1};
    const uint32_t run[] = {TDI_RUN_MAGIC, 1, 1, 0, 0x80};
    uint8_t *body = malloc(17);
    if (body == NULL)
        return 0;
    memcpy(body, run, 17);
    td_program_run *made;
    if (td_program_run_create(program, body, 17, &host, &limits, &made, NULL) != TD_OK) {
        free(body);
        return 0;
    }
    while (td_program_step(made, 64, 50000) == TD_PROGRAM_MORE)
        ;
    size_t bytes;
    uint8_t *reply = td_program_take_body(made, &bytes);
    const int good = reply != NULL && bytes > 0;
    free(reply);
    td_program_run_destroy(made);
    return good;
}

static int measure(const char *name, uint32_t steps, int is_chain, uint32_t rounds)
{
    size_t bytes;
    tdi_error error = {""};
    uint8_t *data = make_program(steps, is_chain, &bytes);
    td_program *program;
    const uint64_t load_ns = tdi_now_ns();
    if (data == NULL || td_program_load(data, bytes, find, NULL, &program, &error) != TD_OK) {
        fprintf(stderr, "%s: %s\n", name, error.text);
        free(data);
        return 1;
    }
    const uint64_t begin_ns = tdi_now_ns();
    uint64_t best_ns = UINT64_MAX;
    for (uint32_t i = 0; i < rounds; i++) {
        const uint64_t start_ns = tdi_now_ns();
        if (!run_once(program))
            return 1;
        const uint64_t took_ns = tdi_now_ns() - start_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    const double mean_ns = (double)(tdi_now_ns() - begin_ns) / rounds;
    printf("{\"benchmark\": \"program\", \"shape\": \"%s\", \"steps\": %u, \"load_us\": %.1f, "
           "\"ns_per_step\": %.1f, \"ns_per_step_best\": %.1f, \"runs_per_s\": %.0f}\n",
           name, steps, (double)(begin_ns - load_ns) / 1e3, mean_ns / steps,
           (double)best_ns / steps, 1e9 / mean_ns);
    td_program_drop(program);
    free(data);
    return 0;
}

int main(int argc, char **argv)
{
    const uint32_t steps = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 10000;
    const uint32_t rounds = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 200;
    if (steps < 3 || rounds < 1) {
        fprintf(stderr, "usage: program_bench [STEPS >= 3 [ROUNDS >= 1]]\n");
        return 2;
    }
    return measure("chain", steps, 1, rounds) | measure("fan", steps, 0, rounds) |
           measure("diamond", 10, 0, rounds * 100);
}
