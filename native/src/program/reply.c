/* reply.c - the completion's body: one strict MessagePack array, decoded in one go.
 *
 * [started_ns, elapsed_ns, stopped, rows], a row for each step, in the program's order:
 * [outcome, started_ns, elapsed_ns, output, type, message, detail], cut after the last member
 * that says something. Times count from the program's start. `detail` is the positions of the
 * failed items, or [why, from, index] of a skipped step.
 */
#include "program/state.h"
#include "program/value.h"

enum { DEPTH_AROUND = 3 };

static void write_output(td_program_run *run, td_writer *writer, const tdi_step_state *state,
                         bool packed)
{
    (void)run;
    if (packed)
        td_write_bin(writer, state->output, state->output_bytes);
    else
        td_write_raw(writer, state->output, state->output_bytes);
}

static void write_failure(td_writer *writer, const tdi_step_state *state)
{
    if (state->failure_bytes > 0) {
        td_write_raw(writer, state->failure, state->failure_bytes);
        return;
    }
    td_write_text(writer, "TooLarge");
    td_write_text(writer, "its payload or output is over the limit");
}

static void write_times(td_program_run *run, td_writer *writer, const tdi_step_state *state)
{
    td_write_uint(writer, state->started_ns - run->started_ns);
    td_write_uint(writer, state->ended_ns - state->started_ns);
}

static void write_failed_items(td_writer *writer, const tdi_step_state *state)
{
    td_write_array(writer, state->failed_total);
    for (uint32_t i = 0; i < state->failed_total; i++)
        td_write_uint(writer, state->failed[i]);
}

static void write_succeeded(td_program_run *run, td_writer *writer, uint32_t step)
{
    const tdi_step_state *state = &run->steps[step];
    const bool wanted = (run->program->steps[step].flags & TDI_STEP_WANTED) != 0;
    const td_view output = {state->output, state->output_bytes};
    const bool packed = wanted && output.bytes > TD_DEPTH_MAX - DEPTH_AROUND &&
                        tdi_value_depth(output) > TD_DEPTH_MAX - DEPTH_AROUND;
    td_write_array(writer, state->failed_total > 0 ? 7 : wanted ? 4 : 3);
    td_write_uint(writer, packed ? TDI_OUTCOME_PACKED : TDI_OUTCOME_SUCCEEDED);
    write_times(run, writer, state);
    if (wanted)
        write_output(run, writer, state, packed);
    if (state->failed_total == 0)
        return;
    if (!wanted)
        td_write_nil(writer);
    td_write_nil(writer);
    td_write_nil(writer);
    write_failed_items(writer, state);
}

static void write_row(td_program_run *run, td_writer *writer, uint32_t step)
{
    const tdi_step_state *state = &run->steps[step];
    if (state->phase != TDI_ENDED) {
        td_write_array(writer, 1);
        td_write_uint(writer, TDI_OUTCOME_NOT_STARTED);
    } else if (state->outcome == TDI_OUTCOME_SUCCEEDED) {
        write_succeeded(run, writer, step);
    } else if (state->outcome == TDI_OUTCOME_SKIPPED) {
        const tdi_ref_row *ref =
            state->skip == TDI_SKIP_NO_OUTPUT ? &run->program->refs[state->cause] : NULL;
        td_write_array(writer, 7);
        td_write_uint(writer, TDI_OUTCOME_SKIPPED);
        write_times(run, writer, state);
        td_write_nil(writer);
        td_write_nil(writer);
        td_write_nil(writer);
        td_write_array(writer, ref != NULL ? 3 : 1);
        td_write_uint(writer, state->skip);
        if (ref != NULL) {
            td_write_uint(writer, ref->from);
            td_write_uint(writer, ref->index);
        }
    } else {
        td_write_array(writer, state->failed_total > 0 ? 7 : 6);
        td_write_uint(writer, state->outcome);
        write_times(run, writer, state);
        td_write_nil(writer);
        write_failure(writer, state);
        if (state->failed_total > 0)
            write_failed_items(writer, state);
    }
}

bool tdi_reply_some(td_program_run *run, uint32_t rows)
{
    td_writer *const writer = &run->reply.writer;
    const uint32_t total = run->program->header->steps_total;
    if (!run->reply_begun) {
        run->reply_begun = true;
        td_write_array(writer, 4);
        td_write_uint(writer, run->started_ns);
        td_write_uint(writer, run->now_ns - run->started_ns);
        td_write_uint(writer, run->stopped);
        td_write_array(writer, total);
    }
    for (; rows > 0 && run->reply_row < total; rows--)
        write_row(run, writer, run->reply_row++);
    return run->reply_row == total;
}
