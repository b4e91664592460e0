/* programs.c - LOAD and RUN: a shelf of programs for each session, and the programs being run.
 *
 * A RUN does its first turn at once, so that a short program is answered in the round that popped
 * it. A longer one gets one turn of at most STEPS_A_TURN steps or NS_A_TURN a round, between the
 * sessions' frames: an echo never waits for more than one turn of each program before it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bridge/program_call.h"

enum {
    PROGRAMS_MAX = 64, /* of a session; the one that was run longest ago makes room */
    PROGRAM_BYTES_MAX = 16 << 20,
    SHELF_BYTES_MAX = 64 << 20,
    RUNNING_MAX = 256,        /* of a session */
    RUN_BYTES_MAX = 64 << 20, /* arena of one run */
    STEPS_A_TURN = 64,
    NS_A_TURN = 50000
};

typedef struct shelved {
    td_program *program; /* NULL: free */
    uint32_t id;
    uint64_t used; /* when, by the shelf's count of uses */
} shelved;

struct tdi_shelf {
    shelved places[PROGRAMS_MAX];
    uint32_t id_last, running;
    uint64_t uses, bytes;
};

static const td_action load_action = {.agent = "program", .name = "load"};
static const td_action run_action = {.agent = "program", .name = "run"};

static const td_action *find_action(void *context, uint32_t id)
{
    const tdi_registry_row *row = tdi_registry_row_of(context, id);
    /* An agent's has no function; the router's, which has none either, is no step. */
    return row != NULL && row->agent != NULL ? &row->about : tdi_registry_find(context, id);
}

static void take_down(struct tdi_shelf *shelf, shelved *place)
{
    if (place->program == NULL)
        return;
    shelf->bytes -= place->program->bytes;
    td_program_drop(place->program);
    *place = (shelved){0};
}

void tdi_shelf_free(tdi_session *session)
{
    if (session->shelf == NULL)
        return;
    for (uint32_t i = 0; i < PROGRAMS_MAX; i++)
        take_down(session->shelf, &session->shelf->places[i]);
    free(session->shelf);
    session->shelf = NULL;
}

static shelved *oldest(struct tdi_shelf *shelf)
{
    shelved *found = NULL;
    for (uint32_t i = 0; i < PROGRAMS_MAX; i++) {
        shelved *place = &shelf->places[i];
        if (place->program != NULL && (found == NULL || place->used < found->used))
            found = place;
    }
    return found;
}

/* A free place, made by taking down what was used longest ago. */
static shelved *make_place(struct tdi_shelf *shelf, size_t bytes)
{
    while (shelf->bytes > 0 && bytes > SHELF_BYTES_MAX - shelf->bytes)
        take_down(shelf, oldest(shelf));
    for (uint32_t i = 0; i < PROGRAMS_MAX; i++)
        if (shelf->places[i].program == NULL)
            return &shelf->places[i];
    shelved *place = oldest(shelf);
    take_down(shelf, place);
    return place;
}

static tdi_run *make_answer(tdi_session *session, const td_action *action, const tdi_frame *frame,
                            const tdi_extension *ext, uint64_t charged)
{
    tdi_run *answer = calloc(1, sizeof *answer);
    if (answer == NULL) {
        tdi_answer_refusal(session, frame->call_id, TD_BUSY, charged);
        return NULL;
    }
    tdi_run_init(answer, session, action, frame, ext);
    answer->charged = charged;
    return answer;
}

/* TD_FAILED with a type and the sentence; TD_TOO_LARGE stays what it is. */
static void refuse(tdi_run *answer, td_status status, const tdi_error *error)
{
    const char *type = status == TD_NO_AGENT     ? "UnknownAction"
                       : status == TD_ERR_MEMORY ? "MemoryError"
                                                 : "ProgramRefused";
    answer->status = status == TD_TOO_LARGE
                         ? TD_TOO_LARGE
                         : answer->call.ops->fail(&answer->call, type, error->text);
    tdi_answer_run(answer);
}

static void load(tdi_session *session, tdi_run *answer, td_view body)
{
    tdi_error error = {""};
    td_program *program = NULL;
    if (session->shelf == NULL)
        session->shelf = calloc(1, sizeof *session->shelf);
    td_status status = session->shelf == NULL ? TD_ERR_MEMORY
                       : body.bytes > PROGRAM_BYTES_MAX
                           ? TD_TOO_LARGE
                           : td_program_load(body.data, body.bytes, find_action,
                                             &session->bridge->registry, &program, &error);
    if (status != TD_OK) {
        refuse(answer, status, &error);
        return;
    }
    struct tdi_shelf *shelf = session->shelf;
    shelved *place = make_place(shelf, program->bytes);
    *place = (shelved){program, ++shelf->id_last, ++shelf->uses};
    shelf->bytes += program->bytes;
    td_write_uint(&answer->output, place->id);
    tdi_answer_run(answer);
}

static shelved *find_shelved(tdi_session *session, uint32_t id)
{
    for (uint32_t i = 0; session->shelf != NULL && i < PROGRAMS_MAX; i++)
        if (session->shelf->places[i].id == id && session->shelf->places[i].program != NULL)
            return &session->shelf->places[i];
    return NULL;
}

/* ---- a run ---- */

static bool is_cancelled(void *context)
{
    return tdi_run_wish(((struct tdi_program_call *)context)->answer) != TD_OK;
}

static td_status submit(void *context, tdi_job *job)
{
    const tdi_run *answer = ((struct tdi_program_call *)context)->answer;
    job->cpus = answer->job.cpus;
    return tdi_pool_submit(answer->session->bridge->pool, job);
}

/* In the slot's progress words, which outlive us: who waits can tell what never started. */
static void started(void *context, uint32_t mark, uint32_t steps_total)
{
    const tdi_run *answer = ((struct tdi_program_call *)context)->answer;
    tdi_progress *progress = &answer->session->down.progress[tdi_call_slot(answer->call_id)];
    atomic_store_explicit(&progress->total, steps_total, memory_order_relaxed);
    /* release: who sees this mark sees the total. */
    atomic_store_explicit(&progress->done, mark, memory_order_release);
}

static void log_line(void *context, const td_action *action, int level, const char *message)
{
    tdi_run *answer = ((struct tdi_program_call *)context)->answer;
    char line[1024];
    snprintf(line, sizeof line, "%s.%s: %s", action->agent, action->name, message);
    answer->call.ops->log(&answer->call, level, line);
}

static void complete(struct tdi_program_call *call)
{
    tdi_run *answer = call->answer;
    tdi_session *session = answer->session;
    size_t bytes = 0;
    uint8_t *body = td_program_take_body(call->run, &bytes);
    td_program_times(call->run, &answer->started_ns, &answer->elapsed_ns);
    td_program_run_destroy(call->run);
    answer->status = body != NULL ? TD_OK : TD_TOO_LARGE;
    if (bytes > answer->reply_charged) {
        const uint64_t more = bytes - answer->reply_charged;
        if (tdi_session_charge(session, more) == TD_OK)
            answer->charged += more;
        else
            answer->status = TD_TOO_LARGE;
    }
    answer->output.start = body;
    answer->output.at = answer->output.end = body != NULL ? body + bytes : NULL;
    session->running--;
    session->shelf->running--;
    tdi_answer_run(answer);
    free(call);
}

static void run_program(tdi_session *session, tdi_run *answer, const tdi_frame *frame,
                        const tdi_extension *ext, uint8_t *body, size_t bytes, shelved *place)
{
    struct tdi_program_call *call = calloc(1, sizeof *call);
    tdi_error error = {""};
    if (call == NULL) {
        free(body);
        refuse(answer, TD_ERR_MEMORY, &error);
        return;
    }
    /* The deadline is the program's: what waits for its answer only hears of a cancel. */
    answer->deadline_ns = 0;
    call->answer = answer;
    call->tenant = frame->tenant;
    call->attempt = frame->attempt;
    call->lane = frame->lane;
    if (ext->trace.bytes == TDI_TRACE_BYTES)
        memcpy(call->trace, ext->trace.data, call->trace_bytes = TDI_TRACE_BYTES);
    const td_program_host host = {.context = call,
                                  .cancelled = is_cancelled,
                                  .submit = submit,
                                  .send = tdi_program_send,
                                  .started = started,
                                  .log = log_line};
    const td_program_limits limits = {
        .bytes_max = RUN_BYTES_MAX,
        .reply_bytes_max = answer->output_bytes_max,
        .deadline_ns = frame->time_ns,
        .attempt = frame->attempt,
        .elsewhere = !tdi_cpus_within(&session->bridge->cpus, answer->job.cpus),
        .lane = frame->lane};
    place->used = ++session->shelf->uses;
    const td_status status =
        td_program_run_create(place->program, body, bytes, &host, &limits, &call->run, &error);
    if (status != TD_OK) {
        free(body);
        free(call);
        refuse(answer, status, &error);
        return;
    }
    session->running++;
    session->shelf->running++;
    if (td_program_step(call->run, STEPS_A_TURN, NS_A_TURN) == TD_PROGRAM_DONE) {
        complete(call);
        return;
    }
    call->next = session->bridge->programs;
    session->bridge->programs = call;
}

void tdi_program_call_start(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                            td_view body, uint8_t *owned, uint64_t charged)
{
    const bool is_load = frame->kind == TDI_KIND_LOAD;
    shelved *place = is_load ? NULL : find_shelved(session, frame->action_id);
    td_status refusal = TD_OK;
    if (!is_load && place == NULL)
        refusal = TD_NO_AGENT; /* never loaded, or it made room: load it again */
    else if (!is_load && session->shelf->running >= RUNNING_MAX)
        refusal = TD_BUSY;
    tdi_run *answer = NULL;
    if (refusal != TD_OK)
        tdi_answer_refusal(session, frame->call_id, refusal, charged);
    else
        answer = make_answer(session, is_load ? &load_action : &run_action, frame, ext, charged);
    if (answer == NULL) {
        free(owned);
        return;
    }
    if (is_load) {
        load(session, answer, body);
        free(owned);
        return;
    }
    if (owned == NULL) {
        owned = malloc(body.bytes + 1);
        if (owned == NULL) {
            const tdi_error error = {"no memory for a RUN"};
            refuse(answer, TD_ERR_MEMORY, &error);
            return;
        }
        if (body.bytes > 0)
            memcpy(owned, body.data, body.bytes);
    }
    run_program(session, answer, frame, ext, owned, body.bytes, place);
}

uint32_t tdi_programs_go_on(tdi_bridge *bridge)
{
    uint32_t work = 0;
    tdi_program_remotes_pump(bridge);
    const uint64_t now_ns = bridge->programs != NULL ? tdi_now_ns() : 0;
    struct tdi_program_call **at = &bridge->programs;
    while (*at != NULL) {
        struct tdi_program_call *call = *at;
        tdi_session *session = call->answer->session;
        tdi_program_remotes_sweep(call, now_ns);
        const td_program_state state = td_program_step(call->run, STEPS_A_TURN, NS_A_TURN);
        work += state != TD_PROGRAM_WAITING;
        if (state != TD_PROGRAM_DONE) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        complete(call);
        if (!session->ended)
            tdi_answers_show(session);
    }
    return work;
}
