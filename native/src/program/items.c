/* items.c - a for_each: one table of offsets into its list, items in a window, one list out. */
#include <stdio.h>

#include "program/state.h"
#include "program/value.h"

static bool is_blocking(const td_program_run *run, uint32_t step)
{
    return tdi_is_remote(run, step) ||
           (run->program->actions[step]->runs == TD_RUNS_BLOCKING && run->host.submit != NULL);
}

/* Cancelled or late: items that have not started do not start any more. */
static bool halted(const td_program_run *run)
{
    return run->stopped == TDI_OUTCOME_CANCELLED || run->stopped == TDI_OUTCOME_TIMED_OUT;
}

/* The table of a list whose head has been read. NULL: no memory. */
static tdi_items *make_items(td_program_run *run, td_view list, td_reader reader, uint32_t total)
{
    tdi_items *items = tdi_arena_take(&run->arena, sizeof *items);
    uint32_t *offsets = tdi_arena_take(&run->arena, ((size_t)total + 1) * sizeof *offsets);
    td_view *outputs = tdi_arena_take(&run->arena, (size_t)total * sizeof *outputs);
    uint32_t *failed = tdi_arena_take(&run->arena, (size_t)total * sizeof *failed);
    if (items == NULL || offsets == NULL || outputs == NULL || failed == NULL)
        return NULL;
    *items = (tdi_items){.list = list.data,
                         .offsets = offsets,
                         .outputs = outputs,
                         .failed = failed,
                         .total = total};
    for (uint32_t i = 0; i < total; i++) {
        offsets[i] = (uint32_t)(reader.at - list.data);
        outputs[i] = (td_view){NULL, 0};
        td_skip(&reader);
    }
    offsets[total] = (uint32_t)(reader.at - list.data);
    return items;
}

/* Have td_program_step() come back to this step, before any other starts. */
static void come_back(td_program_run *run, tdi_items *items, uint32_t step)
{
    if (items->current)
        return;
    items->current = true;
    items->below = run->current;
    run->current = step;
}

void tdi_items_start(td_program_run *run, uint32_t step)
{
    const tdi_step_row *row = &run->program->steps[step];
    tdi_error where;
    char text[400];
    td_view list = {NULL, 0};
    const td_status status = tdi_resolve_template(run, row->each_first, row->each_count,
                                                  (td_view){NULL, 0}, NULL, &list, &where);
    if (status == TD_FAILED) {
        snprintf(text, sizeof text, "for_each: there is no %s", where.text);
        tdi_step_fail(run, step, TDI_NO_ITEM, "BadReference", text);
        return;
    }
    if (status != TD_OK) {
        const bool deep = status == TD_CORRUPT;
        tdi_step_fail(run, step, TDI_NO_ITEM, deep ? "NotAValue" : "TooLarge",
                      deep ? "for_each: nested deeper than 32 containers"
                           : "for_each: over the limit");
        return;
    }
    td_reader reader = td_reader_of(list.data, list.bytes);
    size_t total = 0;
    if (td_read_array(&reader, &total) != TD_OK) {
        snprintf(text, sizeof text, "for_each: expected a list, got %s", tdi_value_type_name(list));
        tdi_step_fail(run, step, TDI_NO_ITEM, "TypeError", text);
        return;
    }
    if (total == 0) {
        tdi_step_end(run, step, TDI_OUTCOME_SUCCEEDED, list, (td_view){NULL, 0});
        return;
    }
    tdi_items *items = make_items(run, list, reader, (uint32_t)total);
    if (items == NULL) {
        tdi_step_fail(run, step, TDI_NO_ITEM, "TooLarge", "for_each: over the limit");
        return;
    }
    run->steps[step].items = items;
    come_back(run, items, step); /* td_program_step() starts them */
}

/* The outputs one after another, in order. */
static bool join(td_program_run *run, const tdi_items *items, td_view *list)
{
    const uint64_t bytes = 5 + items->output_bytes + items->total;
    if (bytes > run->limits.bytes_max)
        return false;
    uint8_t *const start = tdi_arena_take(&run->arena, (size_t)bytes);
    if (start == NULL)
        return false;
    td_writer writer;
    td_writer_fixed(&writer, start, (size_t)bytes);
    td_write_array(&writer, items->total);
    for (uint32_t i = 0; i < items->total; i++) {
        const td_view *output = &items->outputs[i];
        if (output->bytes == 0)
            td_write_nil(&writer);
        else if (output->bytes >= TD_DEPTH_MAX && tdi_value_depth(*output) == TD_DEPTH_MAX)
            return false;
        else
            td_write_raw(&writer, output->data, output->bytes);
    }
    *list = (td_view){start, td_writer_bytes(&writer)};
    return writer.status == TD_OK;
}

static int by_position(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static bool may_start(const td_program_run *run, const tdi_items *items)
{
    return items->next < items->total && !items->gives_up && !halted(run);
}

bool tdi_items_go_on(const td_program_run *run, uint32_t step)
{
    return may_start(run, run->steps[step].items);
}

/* Which end of an item decides what the step's is: where nobody knows, always; where it did not
 * start, before failures only if those are collected. */
static int weight(uint8_t outcome, bool collects)
{
    if (outcome == TDI_OUTCOME_UNKNOWN)
        return 3;
    return (outcome == TDI_OUTCOME_NOT_STARTED) == collects ? 2 : 1;
}

/* The step as a whole has not started only if none of its items has. */
static uint8_t outcome_of(const tdi_items *items)
{
    if (items->failed_total == 0)
        return TDI_OUTCOME_CANCELLED;
    if (items->outcome == TDI_OUTCOME_NOT_STARTED && items->not_started < items->next)
        return TDI_OUTCOME_UNKNOWN;
    return items->outcome;
}

static void end(td_program_run *run, uint32_t step)
{
    tdi_step_state *state = &run->steps[step];
    tdi_items *items = state->items;
    const bool gave_up = items->gives_up || items->next < items->total;
    state->items = NULL;
    if (items->failed_total > 1)
        qsort(items->failed, items->failed_total, sizeof *items->failed, by_position);
    state->failed = items->failed;
    state->failed_total = items->failed_total;
    const td_view none = {NULL, 0};
    td_view list = none;
    if (gave_up) {
        tdi_step_end(run, step, outcome_of(items), none,
                     (td_view){items->failure, items->failure_bytes});
    } else if (join(run, items, &list)) {
        tdi_step_end(run, step, TDI_OUTCOME_SUCCEEDED, list, none);
    } else {
        tdi_step_fail(run, step, TDI_NO_ITEM, "TooLarge",
                      "the outputs of its items are over the limit");
    }
}

void tdi_items_next(td_program_run *run, uint32_t step)
{
    tdi_items *items = run->steps[step].items;
    const bool blocking = is_blocking(run, step);
    uint32_t starts = blocking ? TDI_ITEMS_AT_ONCE : 1;
    /* An item may end within its start; what follows from that is done here, not deeper down. */
    items->starting = true;
    while (starts > 0 && may_start(run, items) && items->out < TDI_ITEMS_AT_ONCE &&
           !(tdi_is_remote(run, step) && tdi_remotes_full(run))) {
        const uint32_t item = items->next++;
        items->out++;
        starts--;
        tdi_unit_start(run, step, item,
                       (td_view){items->list + items->offsets[item],
                                 items->offsets[item + 1] - items->offsets[item]});
    }
    items->starting = false;
    if (run->current == step && (blocking || !may_start(run, items))) {
        run->current = items->below;
        items->current = false;
    }
    if (items->out == 0 && !may_start(run, items))
        end(run, step);
    else if (items->out == 0)
        come_back(run, items, step);
}

/* "item 3: " and what it said, as the step's own failure. */
static void take_failure(td_program_run *run, tdi_items *items, uint32_t item, td_view failure)
{
    const char *type = "TooLarge", *message = "its payload or output is over the limit";
    size_t type_bytes = strlen(type), message_bytes = strlen(message);
    if (failure.bytes > 0) {
        td_reader reader = td_reader_of(failure.data, failure.bytes);
        td_read_str(&reader, &type, &type_bytes);
        td_read_str(&reader, &message, &message_bytes);
    }
    char name[160], text[1100];
    snprintf(name, sizeof name, "%.*s", (int)type_bytes, type);
    snprintf(text, sizeof text, "item %u: %.*s", item, (int)message_bytes, message);
    uint8_t encoded[TDI_FAILURE_BYTES_MAX];
    const uint32_t bytes = tdi_failure_encode(encoded, sizeof encoded, true, name, text);
    uint8_t *const kept = tdi_arena_take(&run->arena, bytes);
    if (kept == NULL)
        return;
    memcpy(kept, encoded, bytes);
    items->failure = kept;
    items->failure_bytes = bytes;
}

void tdi_item_ended(td_program_run *run, uint32_t step, uint32_t item, uint8_t outcome,
                    td_view output, td_view failure)
{
    tdi_items *items = run->steps[step].items;
    items->out--;
    items->outputs[item] = output;
    items->output_bytes += output.bytes;
    if (outcome != TDI_OUTCOME_SUCCEEDED) {
        const bool collects = (run->program->steps[step].flags & TDI_STEP_COLLECT) != 0;
        const bool lost = outcome == TDI_OUTCOME_UNKNOWN || outcome == TDI_OUTCOME_NOT_STARTED;
        if (items->failed_total == 0 ||
            weight(outcome, collects) > weight(items->outcome, collects)) {
            items->outcome = outcome;
            take_failure(run, items, item, failure);
        }
        items->failed[items->failed_total++] = item;
        items->not_started += outcome == TDI_OUTCOME_NOT_STARTED;
        if (lost || !collects)
            items->gives_up = true;
    }
    if (!items->starting && !items->current)
        tdi_items_next(run, step);
}
