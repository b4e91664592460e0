/* check.c - a program is input from another process: every index, count, size and value of it.
 *
 * Time is linear in the program's bytes: rows that belong to a step follow each other without gaps
 * (so none is looked at twice), and runs of literal bytes, which may overlap, are counted against
 * SPANS_MAX times the program's size.
 */
#include <stdlib.h>
#include <string.h>

#include "program/program.h"
#include "strict/strict.h"

#define SPANS_MAX 16

typedef struct check {
    td_program *program;
    tdi_error *error;
    uint64_t span_bytes_left;
    uint32_t edge, token, piece, condition, input; /* rows that belong to somebody so far */
    uint32_t *needs;
    tdi_template_checker templates;
} check;

#define REFUSE(check_, ...) tdi_fail((check_)->error, TD_CORRUPT, "program: " __VA_ARGS__)

/* A run of literal bytes: inside, and within what may be looked at. */
static td_status span(check *check, uint32_t at, uint32_t bytes)
{
    const uint32_t literals_bytes = check->program->header->literals_bytes;
    if (at > literals_bytes || bytes > literals_bytes - at)
        return REFUSE(check, "literal %u+%u ends beyond %u", at, bytes, literals_bytes);
    if (bytes > check->span_bytes_left)
        return REFUSE(check, "its literals overlap too much");
    check->span_bytes_left -= bytes;
    return TD_OK;
}

static td_status text(check *check, uint32_t at, uint32_t bytes)
{
    const td_status status = span(check, at, bytes);
    if (status == TD_OK && !td_utf8_valid(check->program->literals + at, bytes))
        return REFUSE(check, "text at %u is not UTF-8", at);
    return status;
}

static td_status value(check *check, uint32_t at, uint32_t bytes)
{
    const td_status status = span(check, at, bytes);
    if (status == TD_OK && td_strict_check(check->program->literals + at, bytes) != TD_OK)
        return REFUSE(check, "the literal at %u is no strict value", at);
    return status;
}

/* `count` rows that begin where the last ones ended. */
static td_status rows(check *check, const char *what, uint32_t first, uint32_t count,
                      uint32_t total, uint32_t *next)
{
    if (first != *next || count > total - *next)
        return REFUSE(check, "%s %u+%u, expected %u and at most %u", what, first, count, *next,
                      total - *next);
    *next += count;
    return TD_OK;
}

static td_status check_refs(check *check)
{
    const td_program *program = check->program;
    const tdi_program_header *header = program->header;
    for (uint32_t i = 0; i < header->refs_total; i++) {
        const tdi_ref_row *ref = &program->refs[i];
        if (ref->from > TDI_FROM_ITEM || (ref->from == TDI_FROM_ITEM && ref->index != 0) ||
            (ref->from == TDI_FROM_STEP && ref->index >= header->steps_total) ||
            (ref->from == TDI_FROM_SLOT && ref->index > header->outers_total))
            return REFUSE(check, "reference %u leads nowhere", i);
        td_status status = rows(check, "tokens", ref->token_first, ref->token_count,
                                header->tokens_total, &check->token);
        if (status == TD_OK)
            status = text(check, ref->name_at, ref->name_bytes);
        if (status == TD_OK && ref->default_bytes > 0)
            status = value(check, ref->default_at, ref->default_bytes);
        if (status != TD_OK)
            return status;
        for (uint32_t k = 0; k < ref->token_count; k++) {
            const tdi_token_row *token = &program->tokens[ref->token_first + k];
            if (token->reserved != 0)
                return REFUSE(check, "unknown flags of token %u", ref->token_first + k);
            status = text(check, token->at, token->bytes);
            if (status != TD_OK)
                return status;
        }
    }
    return check->token == header->tokens_total ? TD_OK : REFUSE(check, "tokens of nobody");
}

/* May step `step` refer to this? Only to what comes before it. */
static td_status reachable(check *check, uint32_t step, uint32_t ref)
{
    const td_program *program = check->program;
    if (ref >= program->header->refs_total)
        return REFUSE(check, "step %u: reference %u of %u", step, ref, program->header->refs_total);
    if (program->refs[ref].from == TDI_FROM_STEP && program->refs[ref].index >= step)
        return REFUSE(check, "step %u refers to step %u", step, program->refs[ref].index);
    return TD_OK;
}

static td_status check_template(check *check, uint32_t step, uint32_t first, uint32_t count)
{
    td_program *program = check->program;
    td_status status =
        rows(check, "pieces", first, count, program->header->pieces_total, &check->piece);
    for (uint32_t i = first; status == TD_OK && i < first + count; i++) {
        const tdi_piece_row *piece = &program->pieces[i];
        if (piece->reserved != 0)
            return REFUSE(check, "unknown flags of piece %u", i);
        if (piece->kind == TDI_PIECE_LITERAL) {
            status = span(check, piece->at, piece->bytes);
        } else if (piece->bytes != 0) {
            return REFUSE(check, "piece %u is no literal and has bytes", i);
        } else if (piece->kind == TDI_PIECE_REF) {
            status = reachable(check, step, piece->at);
        } else if (piece->kind != TDI_PIECE_SLOT || piece->at <= program->header->outers_total ||
                   piece->at >= program->header->slots_total) {
            return REFUSE(check, "piece %u is of no kind", i);
        }
    }
    if (status != TD_OK)
        return status;
    return tdi_template_check(&check->templates, program, first, count, check->error);
}

/* Groups are walked with a stack of the rows at which they end. */
static td_status check_condition(check *check, uint32_t step, uint32_t first, uint32_t count)
{
    const td_program *program = check->program;
    td_status status = rows(check, "conditions", first, count, program->header->conditions_total,
                            &check->condition);
    if (status != TD_OK || count == 0)
        return status;
    if (program->conditions[first].size != count)
        return REFUSE(check, "step %u: more than one condition", step);
    uint32_t ends[TDI_WHEN_DEPTH_MAX];
    int depth = 0;
    for (uint32_t i = first; i < first + count; i++) {
        while (depth > 0 && ends[depth - 1] == i)
            depth--;
        const tdi_condition_row *row = &program->conditions[i];
        const uint32_t room = (depth > 0 ? ends[depth - 1] : first + count) - i;
        if (row->op > TDI_WHEN_TRUTHY || row->size == 0 || row->size > room ||
            row->reserved[0] != 0 || row->reserved[1] != 0 || row->reserved[2] != 0)
            return REFUSE(check, "condition %u is of no kind", i);
        if (row->op <= TDI_WHEN_NOT) {
            if (row->op == TDI_WHEN_NOT &&
                (row->size < 2 || program->conditions[i + 1].size != row->size - 1))
                return REFUSE(check, "condition %u: not takes one", i);
            if (row->size > 1) {
                if (depth == TDI_WHEN_DEPTH_MAX)
                    return REFUSE(check, "conditions nested deeper than %d", TDI_WHEN_DEPTH_MAX);
                ends[depth++] = i + row->size;
            }
            if (row->ref != 0 || row->at != 0 || row->bytes != 0)
                return REFUSE(check, "condition %u: a group compares nothing", i);
            continue;
        }
        if (row->size != 1)
            return REFUSE(check, "condition %u: a comparison holds nothing", i);
        status = reachable(check, step, row->ref);
        if (status == TD_OK && row->op < TDI_WHEN_EXISTS)
            status = value(check, row->at, row->bytes);
        else if (status == TD_OK && (row->at != 0 || row->bytes != 0))
            status = REFUSE(check, "condition %u takes no value", i);
        if (status != TD_OK)
            return status;
    }
    return TD_OK;
}

/* Names must differ, as keys of a map do: let the strict check of such a map say so. */
static td_status check_inputs(check *check, uint32_t step, uint32_t first, uint32_t count)
{
    const td_program *program = check->program;
    td_status status =
        rows(check, "inputs", first, count, program->header->inputs_total, &check->input);
    if (status != TD_OK || count == 0)
        return status;
    td_heap_writer map;
    td_heap_writer_init(&map, UINT32_MAX);
    td_write_map(&map.writer, count);
    for (uint32_t i = first; status == TD_OK && i < first + count; i++) {
        const tdi_input_row *row = &program->inputs[i];
        if (row->from > TDI_FROM_SLOT || (row->from == TDI_FROM_STEP && row->index >= step) ||
            (row->from == TDI_FROM_SLOT &&
             (row->index == 0 || row->index > program->header->outers_total)))
            status = REFUSE(check, "input %u comes from nowhere", i);
        else
            status = text(check, row->at, row->bytes);
        if (status == TD_OK)
            td_write_str(&map.writer, (const char *)program->literals + row->at, row->bytes);
        td_write_nil(&map.writer);
    }
    if (status == TD_OK && map.writer.status != TD_OK)
        status = tdi_fail(check->error, TD_ERR_MEMORY, "program: no memory");
    if (status == TD_OK && td_strict_check(map.writer.start, td_writer_bytes(&map.writer)) != TD_OK)
        status = REFUSE(check, "step %u: an input's name comes twice", step);
    td_heap_writer_fini(&map);
    return status;
}

static td_status check_step(check *check, uint32_t i)
{
    const td_program *program = check->program;
    const tdi_program_header *header = program->header;
    const tdi_step_row *row = &program->steps[i];
    if ((row->flags & ~(uint32_t)TDI_STEP_FLAGS) != 0 || row->reserved != 0)
        return REFUSE(check, "step %u: unknown flags %#x", i, row->flags);
    if (((row->flags & TDI_STEP_FOR_EACH) != 0) != (row->each_count > 0))
        return REFUSE(check, "step %u: for_each without a list", i);
    td_status status =
        rows(check, "edges", row->edge_first, row->edge_count, header->edges_total, &check->edge);
    uint32_t last = i;
    for (uint32_t k = 0; status == TD_OK && k < row->edge_count; k++) {
        const uint32_t to = program->edges[row->edge_first + k];
        if (to <= last || to >= header->steps_total)
            return REFUSE(check, "step %u: edge to %u", i, to);
        last = to;
        check->needs[to]++;
    }
    if (status == TD_OK)
        status = check_template(check, i, row->piece_first, row->piece_count);
    if (status == TD_OK && row->each_count > 0)
        status = check_template(check, i, row->each_first, row->each_count);
    else if (status == TD_OK && row->each_first != 0)
        status = REFUSE(check, "step %u: no for_each, and yet pieces of it", i);
    if (status == TD_OK)
        status = check_condition(check, i, row->when_first, row->when_count);
    if (status == TD_OK)
        status = check_inputs(check, i, row->input_first, row->input_count);
    if (status == TD_OK && check->needs[i] != row->needs)
        status = REFUSE(check, "step %u: %u edges lead to it, it says %u", i, check->needs[i],
                        row->needs);
    return status;
}

td_status tdi_program_check(td_program *program, tdi_error *error)
{
    const tdi_program_header *header = program->header;
    check check = {.program = program,
                   .error = error,
                   .span_bytes_left = SPANS_MAX * (uint64_t)program->bytes};
    if (header->steps_total == 0)
        return REFUSE(&check, "no step");
    if (header->outers_total >= header->slots_total)
        return REFUSE(&check, "%u outer steps in %u slots", header->outers_total,
                      header->slots_total);
    check.needs = calloc(header->steps_total, sizeof *check.needs);
    if (check.needs == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "program: no memory");
    td_status status = check_refs(&check);
    for (uint32_t i = 0; status == TD_OK && i < header->steps_total; i++)
        status = check_step(&check, i);
    if (status == TD_OK &&
        (check.edge != header->edges_total || check.piece != header->pieces_total ||
         check.condition != header->conditions_total || check.input != header->inputs_total))
        status = REFUSE(&check, "rows that belong to no step");
    tdi_template_checker_fini(&check.templates);
    free(check.needs);
    return status;
}
