/* program_actions.h - actions for trying programs: what a fuzzer, a test and td_programs run.
 *
 * Threads: one.  Memory: none.  Errors: none.
 */
#ifndef PROGRAM_ACTIONS_H
#define PROGRAM_ACTIONS_H

#include "program/run.h"
#include "tandem/message.h"
#include "wire/extension.h"

static td_status noop(td_call *call)
{
    return td_write_nil(td_output(call));
}

static td_status echo(td_call *call)
{
    const td_view payload = td_payload(call);
    return td_write_raw(td_output(call), payload.data, payload.bytes);
}

/* {"fail": TEXT, ...} fails with the text; anything else is echoed. */
static td_status fail(td_call *call)
{
    const td_view payload = td_payload(call);
    td_reader value;
    const char *text;
    size_t bytes;
    if (td_map_find(td_reader_of(payload.data, payload.bytes), "fail", &value) == TD_OK &&
        td_read_str(&value, &text, &bytes) == TD_OK) {
        char message[64] = "";
        memcpy(message, text, bytes < 63 ? bytes : 63);
        return td_fail(call, "TestError", message);
    }
    return echo(call);
}

/* What it was given, as it was given: [payload, inputs]. */
static td_status given(td_call *call)
{
    const td_view payload = td_payload(call), inputs = td_inputs(call);
    td_writer *const output = td_output(call);
    td_write_array(output, 2);
    td_write_raw(output, payload.data, payload.bytes);
    if (inputs.bytes == 0)
        return td_write_map(output, 0);
    return td_write_raw(output, inputs.data, inputs.bytes);
}

/* Not one value. */
static td_status twice(td_call *call)
{
    td_write_nil(td_output(call));
    return td_write_nil(td_output(call));
}

/* Stops though nobody asked, unless somebody did. */
static td_status stops(td_call *call)
{
    (void)call;
    return TD_CANCELLED;
}

static const td_action program_actions[] = {
    {"system", "noop", noop, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"system", "echo", echo, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"test", "fail", fail, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"test", "given", given, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"test", "slow_given", given, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, "1"},
    {"test", "slow_fail", fail, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, "1"},
    {"test", "twice", twice, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"test", "stops", stops, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"test", "far_given", NULL, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"test", "far_fail", NULL, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, "1"},
};

static const td_action *find_program_action(void *context, uint32_t id)
{
    (void)context;
    return id >= 1 && id <= sizeof program_actions / sizeof *program_actions
               ? &program_actions[id - 1]
               : NULL;
}

/* A pool of no threads: jobs wait in a list and are performed when the program waits. */
typedef struct waiting_jobs {
    tdi_job *first;
    td_program_remote *sent;  /* the newest first */
    uint32_t performed, most; /* stop performing after `most`: the rest is swept */
    bool cancelled;
} waiting_jobs;

static td_status submit_job(void *context, tdi_job *job)
{
    waiting_jobs *jobs = context;
    job->next = jobs->first;
    jobs->first = job;
    return TD_OK;
}

static bool is_cancelled(void *context)
{
    return ((waiting_jobs *)context)->cancelled;
}

static td_status send_remote(void *context, td_program_remote *remote)
{
    waiting_jobs *jobs = context;
    remote->next = jobs->sent;
    jobs->sent = remote;
    return TD_OK;
}

static const td_program_host program_host = {
    .cancelled = is_cancelled, .submit = submit_job, .send = send_remote};

/* What an agent would write. */
static td_status perform_far(const td_program_remote *remote, td_writer *output)
{
    td_view payload = {remote->body, remote->body_bytes}, inputs = {NULL, 0};
    td_reader value;
    const char *text;
    size_t bytes;
    if (remote->is_pair && tdi_body_split(payload, &payload, &inputs) != TD_OK)
        return TD_CORRUPT;
    if (strcmp(remote->action->name, "far_given") == 0) {
        td_write_array(output, 2);
        td_write_raw(output, payload.data, payload.bytes);
        if (inputs.bytes == 0)
            td_write_map(output, 0);
        else
            td_write_raw(output, inputs.data, inputs.bytes);
        return TD_OK;
    }
    if (td_map_find(td_reader_of(payload.data, payload.bytes), "fail", &value) != TD_OK ||
        td_read_str(&value, &text, &bytes) != TD_OK) {
        td_write_raw(output, payload.data, payload.bytes);
        return TD_OK;
    }
    td_write_map(output, 2);
    td_write_text(output, "type");
    td_write_text(output, "TestError");
    td_write_text(output, "message");
    td_write_str(output, text, bytes < 63 ? bytes : 63);
    return TD_FAILED;
}

/* Answer one remote call, the newest or the oldest. */
static void answer_one(waiting_jobs *jobs, bool oldest)
{
    td_program_remote **at = &jobs->sent;
    while (oldest && (*at)->next != NULL)
        at = &(*at)->next;
    td_program_remote *const remote = *at;
    *at = remote->next;
    if (jobs->performed++ >= jobs->most) {
        jobs->cancelled = true;
        td_program_answered(remote, TD_CANCELLED, (td_view){NULL, 0}, NULL);
        return;
    }
    td_heap_writer heap;
    td_heap_writer_init(&heap, 64 << 20);
    td_status status = perform_far(remote, &heap.writer);
    const td_view body = {heap.writer.start, td_writer_bytes(&heap.writer)};
    const bool owned = jobs->performed % 2 == 0;
    if (owned)
        heap.writer.start = NULL;
    td_program_answered(remote, status, body, owned ? (uint8_t *)(uintptr_t)body.data : NULL);
    td_heap_writer_fini(&heap);
}

/* Take one job, the newest or the oldest, and let it come back. */
static void perform_one(waiting_jobs *jobs, bool oldest)
{
    tdi_job **at = &jobs->first;
    while (oldest && (*at)->next != NULL)
        at = &(*at)->next;
    tdi_job *const job = *at;
    *at = job->next;
    const bool swept = jobs->performed++ >= jobs->most;
    jobs->cancelled |= swept;
    if (!swept)
        td_program_perform(job);
    td_program_finished(job, swept);
}

/* Run to the end, `steps` at a time; `oldest`: jobs come back in the order they were given. */
static void run_program(td_program_run *run, waiting_jobs *jobs, uint32_t steps, bool oldest)
{
    for (;;) {
        switch (td_program_step(run, steps, UINT64_MAX)) {
        case TD_PROGRAM_DONE:
            return;
        case TD_PROGRAM_WAITING:
            if (jobs->first != NULL)
                perform_one(jobs, oldest);
            else
                answer_one(jobs, oldest);
            break;
        case TD_PROGRAM_MORE:
            break;
        }
    }
}

#endif /* PROGRAM_ACTIONS_H */
