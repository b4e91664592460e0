/* run.c - the order of steps: what is ready, what an end means for others, when to pause. */
#include "base/clock.h"
#include "program/state.h"
#include "strict/strict.h"

/* Outcomes encoded before the clock is looked at again. */
#define ROWS_AT_ONCE    64
#define BODY_HEAD_BYTES 64

/* ---- what RUN brings ---- */

static uint64_t table_bytes(uint32_t slots_total)
{
    return ((uint64_t)slots_total * 4 + 7) & ~UINT64_C(7);
}

/* Are there as many lengths as the program has slots? Before anything is allocated for them: a
 * program may say four billion. */
static td_status check_head(const td_program *program, const uint8_t *body, size_t bytes,
                            size_t *keys_bytes, tdi_error *error)
{
    const uint32_t slots_total = program->header->slots_total;
    tdi_run_header header;
    if (bytes < sizeof header)
        return tdi_fail(error, TD_CORRUPT, "run: %zu bytes", bytes);
    memcpy(&header, body, sizeof header);
    const bool keyed = header.magic == TDI_RUN_KEYED_MAGIC;
    if ((header.magic != TDI_RUN_MAGIC && !keyed) || header.slots_total != slots_total)
        return tdi_fail(error, TD_CORRUPT, "run: %u slots, the program has %u", header.slots_total,
                        slots_total);
    *keys_bytes = keyed ? (size_t)program->header->steps_total * TDI_RUN_KEY_BYTES : 0;
    if (*keys_bytes > bytes - sizeof header)
        return tdi_fail(error, TD_CORRUPT, "run: the keys end beyond byte %zu", bytes);
    if (table_bytes(slots_total) > bytes - sizeof header - *keys_bytes)
        return tdi_fail(error, TD_CORRUPT, "run: the lengths end beyond byte %zu", bytes);
    return TD_OK;
}

static td_status open_body(td_program_run *run, size_t bytes, size_t keys_bytes, tdi_error *error)
{
    const tdi_program_header *program = run->program->header;
    const uint64_t table = table_bytes(program->slots_total);
    const uint8_t *const lengths = run->body + sizeof(tdi_run_header) + keys_bytes;
    const uint8_t *at = lengths + table;
    size_t left = bytes - sizeof(tdi_run_header) - keys_bytes - (size_t)table;
    run->keys = keys_bytes > 0 ? run->body + sizeof(tdi_run_header) : NULL;
    for (uint32_t i = 0; i < program->slots_total; i++) {
        uint32_t length;
        memcpy(&length, lengths + 4 * (size_t)i, 4);
        if (length > left)
            return tdi_fail(error, TD_CORRUPT, "run: slot %u ends beyond byte %zu", i, bytes);
        const bool may_lack = i >= 1 && i <= program->outers_total;
        if (length == 0 ? !may_lack : td_strict_check(at, length) != TD_OK)
            return tdi_fail(error, TD_CORRUPT, "run: slot %u is no strict value", i);
        run->slots[i] = (td_view){at, length};
        at += length;
        left -= length;
    }
    if (left > 0)
        return tdi_fail(error, TD_CORRUPT, "run: %zu bytes after the last slot", left);
    return TD_OK;
}

static uint32_t pieces_most(const td_program *program)
{
    uint32_t most = 1;
    for (uint32_t i = 0; i < program->header->steps_total; i++) {
        const tdi_step_row *row = &program->steps[i];
        most = row->piece_count > most ? row->piece_count : most;
        most = row->each_count > most ? row->each_count : most;
    }
    return most;
}

/* The run and its tables, in one allocation. */
static td_program_run *allocate(td_program *program)
{
    const tdi_program_header *header = program->header;
    const size_t steps = header->steps_total;
    const size_t slots_at = (sizeof(td_program_run) + 15) & ~(size_t)15;
    const size_t steps_at = slots_at + header->slots_total * sizeof(td_view);
    const size_t resolved_at = steps_at + steps * sizeof(tdi_step_state);
    const size_t views_at = resolved_at + header->refs_total * sizeof(tdi_resolved);
    const size_t ready_at = views_at + pieces_most(program) * sizeof(td_view);
    uint8_t *const block = malloc(ready_at + steps * sizeof(uint32_t));
    if (block == NULL)
        return NULL;
    td_program_run *run = (td_program_run *)block;
    /* The last member is a unit, whose failure buffer is written before it is read. */
    memset(run, 0, offsetof(td_program_run, unit));
    memset(block + steps_at, 0, views_at - steps_at);
    run->slots = (td_view *)(block + slots_at);
    run->steps = (tdi_step_state *)(block + steps_at);
    run->resolved = (tdi_resolved *)(block + resolved_at);
    run->views = (td_view *)(block + views_at);
    run->ready = (uint32_t *)(block + ready_at);
    return run;
}

td_status td_program_run_create(td_program *program, uint8_t *body, size_t bytes,
                                const td_program_host *host, const td_program_limits *limits,
                                td_program_run **out, tdi_error *error)
{
    const uint32_t steps_total = program->header->steps_total;
    const uint64_t reserved = BODY_HEAD_BYTES + (uint64_t)steps_total * TDI_PROGRAM_REPLY_ROW_BYTES;
    if (reserved > limits->reply_bytes_max)
        return tdi_fail(error, TD_TOO_LARGE, "run: %u outcomes do not fit into %llu bytes",
                        steps_total, (unsigned long long)limits->reply_bytes_max);
    size_t keys_bytes = 0;
    td_status status = check_head(program, body, bytes, &keys_bytes, error);
    if (status != TD_OK)
        return status;
    td_program_run *run = allocate(program);
    if (run == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "run: no memory for %u steps", steps_total);
    run->program = program;
    run->host = *host;
    run->limits = *limits;
    run->body = body;
    run->current = TDI_NO_ITEM;
    run->reply_bytes_left = limits->reply_bytes_max - reserved;
    memset(&run->unit, 0, offsetof(tdi_unit, failure));
    status = open_body(run, bytes, keys_bytes, error);
    if (status != TD_OK) {
        free(run);
        return status;
    }
    td_program_hold(program);
    tdi_arena_init(&run->arena, limits->bytes_max);
    td_heap_writer_init(&run->payload, (size_t)limits->bytes_max);
    td_heap_writer_init(&run->inputs, (size_t)limits->bytes_max);
    td_heap_writer_init(&run->reply, (size_t)limits->reply_bytes_max);
    for (uint32_t i = 0; i < steps_total; i++) {
        run->steps[i].missing = program->steps[i].needs;
        if (program->steps[i].needs == 0)
            run->ready[run->ready_last++] = i;
    }
    *out = run;
    return TD_OK;
}

void td_program_run_destroy(td_program_run *run)
{
    if (run == NULL)
        return;
    td_heap_writer_fini(&run->payload);
    td_heap_writer_fini(&run->inputs);
    td_heap_writer_fini(&run->reply);
    tdi_arena_fini(&run->arena);
    td_program_drop(run->program);
    free(run->body);
    free(run);
}

uint32_t td_program_jobs(const td_program_run *run)
{
    return run->jobs + run->remotes;
}

void *td_program_host_context(const td_program_run *run)
{
    return run->host.context;
}

bool td_program_is_whole_step(const td_program_remote *remote)
{
    return remote->item == TDI_NO_ITEM;
}

bool td_program_stopped(const td_program_run *run)
{
    return run->stopped != 0;
}

uint8_t *td_program_take_body(td_program_run *run, size_t *bytes)
{
    td_writer *const writer = &run->reply.writer;
    uint8_t *body = writer->start;
    *bytes = td_writer_bytes(writer);
    if (writer->status != TD_OK)
        return NULL;
    writer->start = writer->at = writer->end = NULL;
    return body;
}

void td_program_times(const td_program_run *run, uint64_t *started_ns, uint64_t *elapsed_ns)
{
    *started_ns = run->started_ns;
    *elapsed_ns = run->now_ns - run->started_ns;
}

/* ---- ends ---- */

/* What an end takes of the reply; a failure or list of failed items that does not fit is left out,
 * an output that does not fit fails its step. */
static bool charge(td_program_run *run, uint64_t bytes)
{
    if (bytes > run->reply_bytes_left)
        return false;
    run->reply_bytes_left -= bytes;
    return true;
}

static void release_dependents(td_program_run *run, uint32_t step)
{
    const tdi_step_row *row = &run->program->steps[step];
    for (uint32_t i = 0; i < row->edge_count; i++) {
        const uint32_t to = run->program->edges[row->edge_first + i];
        if (--run->steps[to].missing == 0)
            run->ready[run->ready_last++] = to;
    }
}

void tdi_step_end(td_program_run *run, uint32_t step, uint8_t outcome, td_view output,
                  td_view failure)
{
    const tdi_step_row *row = &run->program->steps[step];
    tdi_step_state *state = &run->steps[step];
    if (outcome == TDI_OUTCOME_SUCCEEDED &&
        !charge(run, 5 + 5 * (uint64_t)state->failed_total +
                         ((row->flags & TDI_STEP_WANTED) ? output.bytes : 0)))
        outcome = TDI_OUTCOME_FAILED;
    if (outcome == TDI_OUTCOME_SUCCEEDED) {
        state->output = output.data;
        state->output_bytes = output.bytes;
    } else if (outcome != TDI_OUTCOME_SKIPPED) {
        if (!charge(run, failure.bytes))
            failure = (td_view){NULL, 0};
        if (!charge(run, 5 + 5 * (uint64_t)state->failed_total))
            state->failed_total = 0;
        state->failure = failure.data;
        state->failure_bytes = (uint32_t)failure.bytes;
    }
    state->outcome = outcome;
    state->phase = TDI_ENDED;
    state->ended_ns = run->now_ns;
    run->ended_total++;
    const bool fine = outcome == TDI_OUTCOME_SUCCEEDED || outcome == TDI_OUTCOME_SKIPPED;
    const bool lost = outcome == TDI_OUTCOME_UNKNOWN || outcome == TDI_OUTCOME_NOT_STARTED;
    if (fine || ((row->flags & TDI_STEP_CAN_FAIL) && !lost))
        release_dependents(run, step);
    else if (run->stopped == 0)
        run->stopped = outcome == TDI_OUTCOME_CANCELLED ? outcome : TDI_OUTCOME_FAILED;
}

void tdi_unit_ended(td_program_run *run, uint32_t step, uint32_t item, uint8_t outcome,
                    td_view output, td_view failure)
{
    if (item == TDI_NO_ITEM)
        tdi_step_end(run, step, outcome, output, failure);
    else
        tdi_item_ended(run, step, item, outcome, output, failure);
}

void tdi_step_fail(td_program_run *run, uint32_t step, uint32_t item, const char *type,
                   const char *message)
{
    uint8_t encoded[TDI_FAILURE_BYTES_MAX];
    const uint32_t bytes = tdi_failure_encode(encoded, sizeof encoded, true, type, message);
    td_view failure = {tdi_arena_take(&run->arena, bytes), bytes};
    if (failure.data != NULL)
        memcpy((uint8_t *)(uintptr_t)failure.data, encoded, bytes);
    else
        failure.bytes = 0;
    tdi_unit_ended(run, step, item, TDI_OUTCOME_FAILED, (td_view){NULL, 0}, failure);
}

/* ---- starts ---- */

static void skip(td_program_run *run, uint32_t step, uint8_t why, uint32_t cause)
{
    run->steps[step].skip = why;
    run->steps[step].cause = cause;
    tdi_step_end(run, step, TDI_OUTCOME_SKIPPED, (td_view){NULL, 0}, (td_view){NULL, 0});
}

static void start(td_program_run *run, uint32_t step)
{
    const tdi_step_row *row = &run->program->steps[step];
    run->steps[step].started_ns = run->now_ns;
    if (row->when_count > 0 && !tdi_condition_holds(run, row->when_first)) {
        skip(run, step, TDI_SKIP_CONDITION, 0);
        return;
    }
    const uint32_t empty = tdi_empty_producer(run, step);
    if (empty != TDI_NO_ITEM) {
        skip(run, step, TDI_SKIP_NO_OUTPUT, empty);
        return;
    }
    run->steps[step].phase = TDI_RUNNING;
    if (step >= run->mark) {
        run->mark = step + 1;
        if (run->host.started != NULL)
            run->host.started(run->host.context, run->mark, run->program->header->steps_total);
    }
    if (row->flags & TDI_STEP_FOR_EACH)
        tdi_items_start(run, step);
    else
        tdi_unit_start(run, step, TDI_NO_ITEM, (td_view){NULL, 0});
}

/* Cancelled, or too late? Then nothing more starts. */
static void look(td_program_run *run)
{
    if (run->host.cancelled != NULL && run->host.cancelled(run->host.context))
        run->stopped = TDI_OUTCOME_CANCELLED;
    else if (run->limits.deadline_ns != 0 && run->now_ns >= run->limits.deadline_ns)
        run->stopped = TDI_OUTCOME_TIMED_OUT;
}

/* Is what would start next remote, and are too many of those out? */
static bool is_held_up(const td_program_run *run)
{
    if (!tdi_remotes_full(run) || run->answered_first != NULL)
        return false;
    if (run->current != TDI_NO_ITEM)
        return tdi_is_remote(run, run->current) && tdi_items_go_on(run, run->current);
    return run->stopped == 0 && run->ready_first < run->ready_last &&
           tdi_is_remote(run, run->ready[run->ready_first]);
}

td_program_state td_program_step(td_program_run *run, uint32_t steps, uint64_t ns)
{
    run->now_ns = tdi_now_ns();
    if (run->started_ns == 0)
        run->started_ns = run->now_ns;
    const uint64_t end_ns = ns < UINT64_MAX - run->now_ns ? run->now_ns + ns : UINT64_MAX;
    const uint64_t now_ns = run->now_ns;
    tdi_remotes_end(run);
    run->now_ns = now_ns;
    do {
        const bool all_ended = run->ended_total == run->program->header->steps_total;
        if (run->stopped == 0 && !all_ended)
            look(run);
        if (is_held_up(run)) {
            return TD_PROGRAM_WAITING;
        } else if (run->answered_first != NULL) {
            tdi_remotes_end(run); /* refused at once */
        } else if (run->current != TDI_NO_ITEM) {
            tdi_items_next(run, run->current);
        } else if (run->stopped == 0 && run->ready_first < run->ready_last) {
            start(run, run->ready[run->ready_first++]);
        } else if (run->jobs > 0 || run->remotes > 0) {
            return TD_PROGRAM_WAITING;
        } else {
            if (tdi_reply_some(run, ROWS_AT_ONCE))
                return TD_PROGRAM_DONE;
            run->now_ns = tdi_now_ns();
        }
        if (steps > 0)
            steps--;
    } while (steps > 0 && run->now_ns < end_ns);
    return TD_PROGRAM_MORE;
}
