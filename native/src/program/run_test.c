/* run_test.c - budgets, cancel, deadline, the mark, and jobs that come back. */
#include "base/clock.h"
#include "program/made.h"

static uint32_t performed;
static bool cancelled;
static uint32_t mark;
static tdi_job *submitted;

static td_status noop(td_call *call)
{
    performed++;
    return td_write_nil(td_output(call));
}

static td_status fails(td_call *call)
{
    performed++;
    return td_fail(call, "ValueError", "no");
}

static td_status cancels(td_call *call)
{
    performed++;
    cancelled = true;
    return td_cancelled(call) ? TD_CANCELLED : td_write_nil(td_output(call));
}

static td_status floods(td_call *call)
{
    static const uint8_t zeros[4096];
    while (td_write_bin(td_output(call), zeros, sizeof zeros) == TD_OK)
        ;
    return td_output(call)->status;
}

static const td_action actions[] = {
    {"t", "noop", noop, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"t", "fails", fails, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"t", "cancels", cancels, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"t", "slow", noop, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, "1"},
    {"t", "floods", floods, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
};
enum { NOOP = 1, FAILS, CANCELS, SLOW, FLOODS };

static const td_action *find(void *context, uint32_t id)
{
    (void)context;
    return id >= 1 && id <= 5 ? &actions[id - 1] : NULL;
}

static bool is_cancelled(void *context)
{
    (void)context;
    return cancelled;
}

static td_status submit(void *context, tdi_job *job)
{
    (void)context;
    job->next = submitted;
    submitted = job;
    return TD_OK;
}

static void started(void *context, uint32_t now, uint32_t total)
{
    (void)context;
    (void)total;
    mark = now;
}

static const td_program_host host = {
    .cancelled = is_cancelled, .submit = submit, .started = started};
static td_program_limits limits = {.bytes_max = 1 << 16, .reply_bytes_max = 1 << 16, .attempt = 1};
static _Alignas(8) made_program made;

static td_program_run *begin(uint32_t steps, const uint32_t *ids, const uint32_t *flags, int chain)
{
    td_program *program = NULL;
    td_program_run *run = NULL;
    tdi_error error;
    size_t body_bytes;
    performed = mark = 0;
    cancelled = false;
    submitted = NULL;
    const size_t bytes = make_steps(&made, steps, ids, flags, chain);
    if (td_program_load((const uint8_t *)&made, bytes, find, NULL, &program, &error) != TD_OK)
        return NULL;
    uint8_t *body = make_body(&body_bytes);
    if (td_program_run_create(program, body, body_bytes, &host, &limits, &run, &error) != TD_OK)
        free(body);
    td_program_drop(program); /* a run holds it */
    return run;
}

/* To the end; the outcomes in `codes`. */
static void finish(td_program_run *run, uint32_t steps, uint64_t *codes)
{
    size_t bytes, rows, members;
    uint64_t number;
    td_program_state state;
    while ((state = td_program_step(run, 64, UINT64_MAX)) == TD_PROGRAM_MORE)
        ;
    CHECK_EQ(state, TD_PROGRAM_DONE);
    uint8_t *body = td_program_take_body(run, &bytes);
    REQUIRE(body != NULL);
    td_reader reader = td_reader_of(body, bytes);
    CHECK_EQ(td_read_array(&reader, &members), TD_OK);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(td_read_uint(&reader, &number), TD_OK);
    CHECK_EQ(td_read_array(&reader, &rows), TD_OK);
    CHECK_EQ(rows, steps);
    for (uint32_t i = 0; i < steps; i++) {
        td_read_array(&reader, &members);
        CHECK_EQ(td_read_uint(&reader, &codes[i]), TD_OK);
        for (size_t k = 1; k < members; k++)
            td_skip(&reader);
    }
    CHECK_EQ(td_reader_left(&reader), 0);
    free(body);
    td_program_run_destroy(run);
}

static const uint32_t none[8];
static uint64_t codes[8];

static void a_budget_of_one_step_is_one_step(void)
{
    const uint32_t ids[] = {NOOP, NOOP, NOOP};
    td_program_run *run = begin(3, ids, none, 1);
    REQUIRE(run != NULL);
    for (uint32_t i = 1; i <= 3; i++) {
        CHECK_EQ(td_program_step(run, 1, UINT64_MAX), TD_PROGRAM_MORE);
        CHECK_EQ(performed, i);
        CHECK_EQ(mark, i);
    }
    finish(run, 3, codes);
    CHECK_EQ(codes[2], TDI_OUTCOME_SUCCEEDED);
}

static void no_time_is_still_one_step(void)
{
    const uint32_t ids[] = {NOOP, NOOP};
    td_program_run *run = begin(2, ids, none, 1);
    REQUIRE(run != NULL);
    CHECK_EQ(td_program_step(run, 64, 0), TD_PROGRAM_MORE);
    CHECK_EQ(performed, 1);
    finish(run, 2, codes);
}

static void a_failure_starts_nothing_more(void)
{
    const uint32_t ids[] = {NOOP, FAILS, NOOP};
    td_program_run *run = begin(3, ids, none, 0);
    REQUIRE(run != NULL);
    finish(run, 3, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_SUCCEEDED);
    CHECK_EQ(codes[1], TDI_OUTCOME_FAILED);
    CHECK_EQ(codes[2], TDI_OUTCOME_NOT_STARTED);
    CHECK_EQ(performed, 2);
    CHECK_EQ(mark, 2);
}

static void a_tolerated_failure_lets_its_dependents_run(void)
{
    const uint32_t ids[] = {FAILS, NOOP}, flags[] = {TDI_STEP_CAN_FAIL, 0};
    td_program_run *run = begin(2, ids, flags, 1);
    REQUIRE(run != NULL);
    finish(run, 2, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_FAILED);
    CHECK_EQ(codes[1], TDI_OUTCOME_SUCCEEDED);
}

static void a_cancel_is_seen_by_the_action_and_between_steps(void)
{
    const uint32_t ids[] = {CANCELS, NOOP}, flags[] = {TDI_STEP_CAN_FAIL, 0};
    td_program_run *run = begin(2, ids, flags, 1);
    REQUIRE(run != NULL);
    finish(run, 2, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_CANCELLED);
    CHECK_EQ(codes[1], TDI_OUTCOME_NOT_STARTED);
    CHECK_EQ(performed, 1);
}

static void a_deadline_that_has_passed_starts_nothing(void)
{
    const uint32_t ids[] = {NOOP, NOOP};
    limits.deadline_ns = 1;
    td_program_run *run = begin(2, ids, none, 1);
    limits.deadline_ns = 0;
    REQUIRE(run != NULL);
    finish(run, 2, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_NOT_STARTED);
    CHECK_EQ(performed, 0);
    CHECK_EQ(mark, 0);
}

static void others_run_while_a_job_is_out_and_what_needs_it_waits(void)
{
    const uint32_t ids[] = {SLOW, NOOP, SLOW};
    td_program_run *run = begin(3, ids, none, 0);
    REQUIRE(run != NULL);
    CHECK_EQ(td_program_step(run, 64, UINT64_MAX), TD_PROGRAM_WAITING);
    CHECK_EQ(performed, 1);
    CHECK_EQ(td_program_jobs(run), 2);
    tdi_job *second = submitted, *first = submitted->next;
    td_program_perform(second);
    CHECK(td_program_finished(second, false) == run);
    CHECK_EQ(td_program_step(run, 64, UINT64_MAX), TD_PROGRAM_WAITING);
    cancelled = true;
    td_program_finished(first, true); /* swept: it never began */
    finish(run, 3, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_CANCELLED);
    CHECK_EQ(codes[1], TDI_OUTCOME_SUCCEEDED);
    CHECK_EQ(codes[2], TDI_OUTCOME_SUCCEEDED);
}

static void an_output_beyond_the_programs_bytes_fails_its_step_alone(void)
{
    const uint32_t ids[] = {FLOODS, NOOP}, flags[] = {TDI_STEP_CAN_FAIL, 0};
    td_program_run *run = begin(2, ids, flags, 1);
    REQUIRE(run != NULL);
    finish(run, 2, codes);
    CHECK_EQ(codes[0], TDI_OUTCOME_FAILED);
    CHECK_EQ(codes[1], TDI_OUTCOME_SUCCEEDED);
}

static void outcomes_that_cannot_fit_are_refused_before_anything_runs(void)
{
    const uint32_t ids[] = {NOOP, NOOP};
    limits.reply_bytes_max = 200;
    CHECK(begin(2, ids, none, 1) == NULL);
    limits.reply_bytes_max = 1 << 16;
    CHECK_EQ(performed, 0);
}

int main(void)
{
    RUN(a_budget_of_one_step_is_one_step);
    RUN(no_time_is_still_one_step);
    RUN(a_failure_starts_nothing_more);
    RUN(a_tolerated_failure_lets_its_dependents_run);
    RUN(a_cancel_is_seen_by_the_action_and_between_steps);
    RUN(a_deadline_that_has_passed_starts_nothing);
    RUN(others_run_while_a_job_is_out_and_what_needs_it_waits);
    RUN(an_output_beyond_the_programs_bytes_fails_its_step_alone);
    RUN(outcomes_that_cannot_fit_are_refused_before_anything_runs);
    return TEST_RESULT;
}
