/* unit.c - one call of an action inside a program: what td_call offers it, and its verdict. */
#include <stdio.h>

#include "base/clock.h"
#include "program/state.h"
#include "strict/strict.h"
#include "wire/extension.h"

static tdi_unit *unit_of(td_call *call)
{
    return (tdi_unit *)call; /* its first member */
}

static td_view op_payload(td_call *call)
{
    return unit_of(call)->payload;
}

/* Most actions never ask, so a short one's map is made when it does. */
static td_view op_inputs(td_call *call)
{
    tdi_unit *unit = unit_of(call);
    if (!unit->inputs_made) {
        unit->inputs_made = true;
        if (tdi_resolve_inputs(unit->run, unit->step, &unit->run->inputs, &unit->inputs) != TD_OK)
            unit->inputs = (td_view){NULL, 0};
    }
    return unit->inputs;
}

static td_writer *op_output(td_call *call)
{
    return &unit_of(call)->output;
}

static td_status op_fail(td_call *call, const char *type, const char *message)
{
    tdi_unit *unit = unit_of(call);
    unit->failure_bytes =
        tdi_failure_encode(unit->failure, sizeof unit->failure, true, type, message);
    unit->failed = true;
    return TD_FAILED;
}

static td_status wish(const tdi_unit *unit)
{
    const td_program_host *host = &unit->run->host;
    if (host->cancelled != NULL && host->cancelled(host->context))
        return TD_CANCELLED;
    if (unit->deadline_ns != 0 && tdi_now_ns() >= unit->deadline_ns)
        return TD_TIMED_OUT;
    return TD_OK;
}

static bool op_cancelled(td_call *call)
{
    return wish(unit_of(call)) != TD_OK;
}

static void op_progress(td_call *call, uint64_t done, uint64_t total)
{
    /* The slot's progress words say how far the program is. */
    (void)call;
    (void)done;
    (void)total;
}

static void op_log(td_call *call, int level, const char *message)
{
    const tdi_unit *unit = unit_of(call);
    const td_program_host *host = &unit->run->host;
    if (host->log != NULL)
        host->log(host->context, unit->action, level, message);
}

static uint64_t op_deadline_ns(td_call *call)
{
    return unit_of(call)->deadline_ns;
}

static uint32_t op_attempt(td_call *call)
{
    return unit_of(call)->run->limits.attempt;
}

uint8_t tdi_unit_key(const td_program_run *run, uint32_t step, uint32_t item, char *into)
{
    static const uint8_t none[TDI_RUN_KEY_BYTES];
    static const char digits[] = "0123456789abcdef";
    if (run->keys == NULL)
        return 0;
    const uint8_t *const key = run->keys + (size_t)step * TDI_RUN_KEY_BYTES;
    if (memcmp(key, none, sizeof none) == 0)
        return 0;
    for (int i = 0; i < TDI_RUN_KEY_BYTES; i++) {
        into[2 * i] = digits[key[i] >> 4];
        into[2 * i + 1] = digits[key[i] & 15];
    }
    if (item == TDI_NO_ITEM)
        return 2 * TDI_RUN_KEY_BYTES;
    return (uint8_t)(2 * TDI_RUN_KEY_BYTES +
                     snprintf(into + 2 * TDI_RUN_KEY_BYTES, 12, "-%u", item));
}

static td_view op_idempotency_key(td_call *call)
{
    tdi_unit *unit = unit_of(call);
    const size_t bytes = tdi_unit_key(unit->run, unit->step, unit->item, unit->key);
    return (td_view){bytes > 0 ? (const uint8_t *)unit->key : NULL, bytes};
}

static const td_call_ops ops = {
    .size = sizeof ops,
    .payload = op_payload,
    .inputs = op_inputs,
    .output = op_output,
    .fail = op_fail,
    .cancelled = op_cancelled,
    .progress = op_progress,
    .log = op_log,
    .deadline_ns = op_deadline_ns,
    .attempt = op_attempt,
    .idempotency_key = op_idempotency_key,
};

/* The heap, for a unit in the pool: the arena is the owner's thread's. */
static td_status grow_on_heap(td_writer *writer, size_t need)
{
    const tdi_unit *unit = writer->owner;
    const size_t used = td_writer_bytes(writer);
    const size_t had = (size_t)(writer->end - writer->start);
    if (need > unit->output_bytes_max - used)
        return TD_TOO_LARGE;
    size_t want = had < 256 ? 256 : had * 2;
    if (want < used + need)
        want = used + need;
    if (want > unit->output_bytes_max)
        want = (size_t)unit->output_bytes_max;
    uint8_t *const start = realloc(writer->start, want);
    if (start == NULL)
        return TD_ERR_MEMORY;
    writer->start = start;
    writer->at = start + used;
    writer->end = start + want;
    return TD_OK;
}

/* Stopped, and by whom: TD_CANCELLED or TD_TIMED_OUT. */
static td_status stopped(tdi_unit *unit, td_status why)
{
    const bool late = why == TD_TIMED_OUT;
    op_fail(&unit->call, late ? "TimeoutError" : "Cancelled",
            late ? "the step's time limit passed" : "asked to stop");
    return why;
}

static td_status judge(tdi_unit *unit, td_status returned)
{
    /* Strict, since the output may become part of a payload, where a body's rules are taken for
     * granted. */
    const td_status wished = returned == TD_CANCELLED ? wish(unit) : TD_OK;
    const tdi_verdict verdict =
        tdi_judge(returned, wished, unit->failed, &unit->output, UINT64_MAX, true);
    if (verdict.status == TD_CANCELLED || verdict.status == TD_TIMED_OUT)
        return stopped(unit, verdict.status);
    if (verdict.type == NULL)
        return verdict.status;
    unit->failure_bytes = tdi_verdict_encode(unit->failure, sizeof unit->failure, true, verdict,
                                             unit->action->agent, unit->action->name);
    return TD_FAILED;
}

void tdi_unit_perform(tdi_unit *unit)
{
    unit->status = judge(unit, unit->action->run(&unit->call));
    unit->ended_ns = tdi_now_ns();
}

void td_program_perform(tdi_job *job)
{
    tdi_unit *unit = (tdi_unit *)((uint8_t *)job - offsetof(tdi_unit, job));
    unit->started_ns = tdi_now_ns();
    unit->ended_ns = unit->started_ns;
    unit->status = wish(unit);
    if (unit->status != TD_OK)
        stopped(unit, unit->status);
    else
        tdi_unit_perform(unit);
}

/* Into the run: its output or failure, and what follows. */
static void settle(td_program_run *run, tdi_unit *unit)
{
    static const uint8_t outcomes[] = {TDI_OUTCOME_SUCCEEDED, TDI_OUTCOME_FAILED,
                                       TDI_OUTCOME_TIMED_OUT, TDI_OUTCOME_CANCELLED};
    td_view output = {NULL, 0}, failure = {NULL, 0};
    uint8_t outcome = outcomes[unit->status];
    run->now_ns = unit->ended_ns;
    if (outcome == TDI_OUTCOME_SUCCEEDED) {
        output = (td_view){unit->output.start, td_writer_bytes(&unit->output)};
        if (!unit->blocking) {
            tdi_arena_keep(&run->arena, &unit->output);
        } else {
            uint8_t *const start = unit->output.start;
            unit->output.start = NULL;
            if (!tdi_arena_adopt(&run->arena, start, output.bytes)) {
                output = (td_view){NULL, 0};
                outcome = TDI_OUTCOME_FAILED; /* without a failure: "over the limit" */
            }
        }
    } else {
        uint8_t *const kept = tdi_arena_take(&run->arena, unit->failure_bytes);
        if (kept != NULL) {
            memcpy(kept, unit->failure, unit->failure_bytes);
            failure = (td_view){kept, unit->failure_bytes};
        }
    }
    tdi_unit_ended(run, unit->step, unit->item, outcome, output, failure);
}

static uint64_t deadline_of(const td_program_run *run, uint32_t step)
{
    const uint64_t timeout_ns = run->program->steps[step].timeout_ns;
    const uint64_t whole_ns = run->limits.deadline_ns;
    if (timeout_ns == 0 || timeout_ns > UINT64_MAX - run->now_ns)
        return whole_ns;
    const uint64_t own_ns = run->now_ns + timeout_ns;
    return whole_ns != 0 && whole_ns < own_ns ? whole_ns : own_ns;
}

static void begin(td_program_run *run, tdi_unit *unit, uint32_t step, uint32_t item)
{
    unit->call.ops = &ops;
    unit->run = run;
    unit->action = run->program->actions[step];
    unit->step = step;
    unit->item = item;
    unit->inputs = (td_view){NULL, 0};
    unit->inputs_made = run->program->steps[step].input_count == 0;
    unit->failed = false;
    unit->failure_bytes = 0;
    unit->deadline_ns = deadline_of(run, step);
    unit->started_ns = run->now_ns;
}

/* Its payload, and for the pool its inputs; false: the step or item has failed. */
static bool supply(td_program_run *run, tdi_unit *unit, td_view item_value)
{
    const tdi_step_row *row = &run->program->steps[unit->step];
    tdi_error where;
    char text[400];
    td_status status =
        tdi_resolve_template(run, row->piece_first, row->piece_count, item_value,
                             unit->blocking ? NULL : &run->payload, &unit->payload, &where);
    if (status == TD_OK && row->input_count > 0 && tdi_inputs_too_deep(run, unit->step))
        status = TD_CORRUPT;
    if (status == TD_OK && unit->blocking && !unit->inputs_made) {
        unit->inputs_made = true;
        status = tdi_resolve_inputs(run, unit->step, NULL, &unit->inputs);
    }
    if (status == TD_OK)
        return true;
    if (status == TD_FAILED) {
        snprintf(text, sizeof text, "the payload refers to %s, which is not there", where.text);
        tdi_step_fail(run, unit->step, unit->item, "BadReference", text);
        return false;
    }
    const bool deep = status == TD_CORRUPT;
    snprintf(text, sizeof text, "%s.%s: %s", unit->action->agent, unit->action->name,
             deep ? "its payload or inputs are nested deeper than 32 containers"
                  : "its payload or output is over the limit");
    tdi_step_fail(run, unit->step, unit->item, deep ? "NotAValue" : "TooLarge", text);
    return false;
}

static void start_in_pool(td_program_run *run, uint32_t step, uint32_t item, td_view item_value)
{
    tdi_unit *unit = calloc(1, sizeof *unit);
    if (unit == NULL) {
        tdi_step_fail(run, step, item, "MemoryError", "no memory for a call");
        return;
    }
    unit->blocking = true;
    begin(run, unit, step, item);
    if (!supply(run, unit, item_value)) {
        free(unit);
        return;
    }
    unit->output_bytes_max = run->limits.bytes_max;
    unit->output.grow = grow_on_heap;
    unit->output.owner = unit;
    unit->job.perform = td_program_perform;
    unit->job.lane = run->limits.lane;
    run->jobs++;
    if (run->host.submit(run->host.context, &unit->job) == TD_OK)
        return;
    run->jobs--;
    free(unit);
    tdi_step_fail(run, step, item, "Busy", "no slot, credit or quota was left");
}

void tdi_unit_start(td_program_run *run, uint32_t step, uint32_t item, td_view item_value)
{
    if ((run->program->actions[step]->runs == TD_RUNS_BLOCKING || run->limits.elsewhere) &&
        run->host.submit != NULL && !tdi_is_remote(run, step)) {
        start_in_pool(run, step, item, item_value);
        return;
    }
    tdi_unit *unit = &run->unit;
    begin(run, unit, step, item);
    if (!supply(run, unit, item_value))
        return;
    if (tdi_is_remote(run, step)) {
        op_inputs(&unit->call);
        tdi_remote_start(run, unit);
        return;
    }
    tdi_arena_begin(&run->arena, &unit->output);
    tdi_unit_perform(unit);
    settle(run, unit);
}

bool td_program_job_is_stale(const tdi_job *job)
{
    return wish((const tdi_unit *)((const uint8_t *)job - offsetof(tdi_unit, job))) != TD_OK;
}

td_program_run *td_program_finished(tdi_job *job, bool swept)
{
    tdi_unit *unit = (tdi_unit *)((uint8_t *)job - offsetof(tdi_unit, job));
    td_program_run *run = unit->run;
    if (swept) {
        unit->ended_ns = unit->started_ns = tdi_now_ns();
        const td_status why = wish(unit); /* for that it was swept */
        unit->status = stopped(unit, why != TD_OK ? why : TD_CANCELLED);
    }
    run->jobs--;
    settle(run, unit);
    free(unit->output.start);
    free(unit);
    return run;
}
