/* resolve.c - what references lead to, and the payloads and inputs made of it. */
#include <stdio.h>

#include "program/state.h"
#include "program/value.h"

static const uint8_t nil[] = {0xC0};

static td_view step_output(const td_program_run *run, uint32_t step)
{
    const tdi_step_state *state = &run->steps[step];
    if (state->phase == TDI_ENDED && state->outcome == TDI_OUTCOME_SUCCEEDED)
        return (td_view){state->output, state->output_bytes};
    return (td_view){nil, 1};
}

static td_view slot_value(const td_program_run *run, uint32_t slot)
{
    return run->slots[slot].bytes > 0 ? run->slots[slot] : (td_view){nil, 1};
}

static bool gave_nothing(const td_program_run *run, uint32_t from, uint32_t index)
{
    if (from == TDI_FROM_SLOT)
        return run->slots[index].bytes == 0;
    return from == TDI_FROM_STEP && run->steps[index].phase == TDI_ENDED &&
           run->steps[index].outcome != TDI_OUTCOME_SUCCEEDED;
}

/* A path is walked once for a step: what it leads to stays where it is until the run ends. */
static td_status walk(td_program_run *run, uint32_t ref, td_view item, td_view *found,
                      uint32_t *depth)
{
    const tdi_ref_row *row = &run->program->refs[ref];
    tdi_resolved *known = &run->resolved[ref];
    if (row->from == TDI_FROM_ITEM)
        return tdi_value_walk(run->program, row, item.bytes > 0 ? item : (td_view){nil, 1}, found,
                              depth);
    if (known->state == 1) {
        *found = (td_view){known->data, known->bytes};
        return TD_OK;
    }
    if (known->state == 2) {
        *depth = known->bytes;
        return TD_FAILED;
    }
    const bool settled = row->from == TDI_FROM_SLOT || run->steps[row->index].phase == TDI_ENDED;
    const td_view source =
        row->from == TDI_FROM_SLOT ? slot_value(run, row->index) : step_output(run, row->index);
    const td_status status = tdi_value_walk(run->program, row, source, found, depth);
    if (settled && status == TD_OK)
        *known = (tdi_resolved){found->data, (uint32_t)found->bytes, 1};
    else if (settled)
        *known = (tdi_resolved){NULL, *depth, 2};
    return status;
}

td_status tdi_resolve_ref(td_program_run *run, uint32_t ref, td_view item, td_view *found,
                          uint32_t *depth)
{
    const tdi_ref_row *row = &run->program->refs[ref];
    const td_status status = walk(run, ref, item, found, depth);
    if (status == TD_OK || row->default_bytes == 0)
        return status;
    *found = (td_view){run->program->literals + row->default_at, row->default_bytes};
    return TD_OK;
}

/* "step#/first/second", up to the token that led nowhere. */
static void describe(const td_program_run *run, uint32_t ref, uint32_t depth, tdi_error *text)
{
    const tdi_ref_row *row = &run->program->refs[ref];
    const uint8_t *literals = run->program->literals;
    const size_t room = sizeof text->text - 1;
    size_t at = row->name_bytes < room ? row->name_bytes : room;
    memcpy(text->text, literals + row->name_at, at);
    for (uint32_t i = 0; i <= depth && i < row->token_count; i++) {
        const tdi_token_row *token = &run->program->tokens[row->token_first + i];
        const char *lead = i == 0 ? "#/" : "/";
        for (; *lead != '\0' && at < room; lead++)
            text->text[at++] = *lead;
        for (uint32_t k = 0; k < token->bytes && at + 1 < room; k++) {
            const char byte = (char)literals[token->at + k];
            if (byte == '~' || byte == '/') { /* RFC 6901 */
                text->text[at++] = '~';
                text->text[at++] = byte == '~' ? '0' : '1';
            } else {
                text->text[at++] = byte;
            }
        }
    }
    text->text[at] = '\0';
}

/* May a value be put where `around` containers are open? */
static bool fits(unsigned around, td_view value)
{
    /* Every container takes a byte at least: small values need no walk. */
    if (around + value.bytes <= TD_DEPTH_MAX)
        return true;
    return around + tdi_value_depth(value) <= TD_DEPTH_MAX;
}

static uint8_t *room_for(td_program_run *run, td_heap_writer *into, size_t bytes)
{
    if (into == NULL)
        return tdi_arena_take(&run->arena, bytes);
    td_heap_writer_reset(into);
    return tdi_reserve(&into->writer, bytes);
}

td_status tdi_resolve_template(td_program_run *run, uint32_t first, uint32_t count, td_view item,
                               td_heap_writer *into, td_view *value, tdi_error *text)
{
    const td_program *program = run->program;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        const tdi_piece_row *piece = &program->pieces[first + i];
        td_view *view = &run->views[i];
        uint32_t depth = 0;
        if (piece->kind == TDI_PIECE_LITERAL) {
            *view = (td_view){program->literals + piece->at, piece->bytes};
        } else if (piece->kind == TDI_PIECE_SLOT) {
            *view = run->slots[piece->at];
        } else if (tdi_resolve_ref(run, piece->at, item, view, &depth) != TD_OK) {
            describe(run, piece->at, depth, text);
            return TD_FAILED;
        }
        bytes += view->bytes;
    }
    for (uint32_t i = 0; i < count; i++)
        if (program->pieces[first + i].kind != TDI_PIECE_LITERAL &&
            !fits(program->hole_depth[first + i], run->views[i]))
            return TD_CORRUPT;
    if (count == 1) { /* no splicing: where it is, it stays */
        *value = run->views[0];
        return TD_OK;
    }
    if (bytes > run->limits.bytes_max)
        return TD_TOO_LARGE;
    uint8_t *const start = room_for(run, into, (size_t)bytes);
    if (start == NULL)
        return TD_TOO_LARGE;
    uint8_t *at = start;
    for (uint32_t i = 0; i < count; i++) {
        if (run->views[i].bytes > 0)
            memcpy(at, run->views[i].data, run->views[i].bytes);
        at += run->views[i].bytes;
    }
    *value = (td_view){start, (size_t)bytes};
    return TD_OK;
}

static td_view input_value(const td_program_run *run, const tdi_input_row *row)
{
    return row->from == TDI_FROM_STEP ? step_output(run, row->index) : slot_value(run, row->index);
}

td_status tdi_resolve_inputs(td_program_run *run, uint32_t step, td_heap_writer *into, td_view *map)
{
    const td_program *program = run->program;
    const tdi_step_row *row = &program->steps[step];
    uint64_t bytes = 5;
    for (uint32_t i = 0; i < row->input_count; i++) {
        const tdi_input_row *input = &program->inputs[row->input_first + i];
        bytes += 5 + (uint64_t)input->bytes + input_value(run, input).bytes;
    }
    if (bytes > run->limits.bytes_max)
        return TD_TOO_LARGE;
    uint8_t *const start = room_for(run, into, (size_t)bytes);
    if (start == NULL)
        return TD_TOO_LARGE;
    td_writer writer;
    td_writer_fixed(&writer, start, (size_t)bytes);
    td_write_map(&writer, row->input_count);
    for (uint32_t i = 0; i < row->input_count; i++) {
        const tdi_input_row *input = &program->inputs[row->input_first + i];
        const td_view value = input_value(run, input);
        td_write_str(&writer, (const char *)program->literals + input->at, input->bytes);
        td_write_raw(&writer, value.data, value.bytes);
    }
    *map = (td_view){start, td_writer_bytes(&writer)};
    return writer.status;
}

/* An output is looked at once, however many steps it is an input of. */
static unsigned output_depth(td_program_run *run, uint32_t step)
{
    tdi_step_state *state = &run->steps[step];
    if (!state->deep) {
        state->depth = (uint8_t)tdi_value_depth(step_output(run, step));
        state->deep = true;
    }
    return state->depth;
}

bool tdi_inputs_too_deep(td_program_run *run, uint32_t step)
{
    const tdi_step_row *row = &run->program->steps[step];
    for (uint32_t i = 0; i < row->input_count; i++) {
        const tdi_input_row *input = &run->program->inputs[row->input_first + i];
        const td_view value = input_value(run, input);
        if (value.bytes < TD_DEPTH_MAX)
            continue;
        const unsigned depth =
            input->from == TDI_FROM_STEP ? output_depth(run, input->index) : tdi_value_depth(value);
        if (depth + 1 > TD_DEPTH_MAX)
            return true;
    }
    return false;
}

static uint32_t empty_in(const td_program_run *run, uint32_t first, uint32_t count)
{
    const td_program *program = run->program;
    for (uint32_t i = first; i < first + count; i++) {
        if (program->pieces[i].kind != TDI_PIECE_REF)
            continue;
        const tdi_ref_row *ref = &program->refs[program->pieces[i].at];
        /* Slot 0 is the run's inputs, which are always there. */
        if (ref->default_bytes == 0 && gave_nothing(run, ref->from, ref->index))
            return program->pieces[i].at;
    }
    return TDI_NO_ITEM;
}

uint32_t tdi_empty_producer(const td_program_run *run, uint32_t step)
{
    const tdi_step_row *row = &run->program->steps[step];
    const uint32_t found = empty_in(run, row->piece_first, row->piece_count);
    return found != TDI_NO_ITEM ? found : empty_in(run, row->each_first, row->each_count);
}
