/* run.c - one call from start to status: what td_call offers, and what a return value means. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bridge/bridge.h"

#define LOG_LINES_A_SECOND 64
#define LOG_BYTES_MAX      4096

static tdi_run *run_of(td_call *call)
{
    return (tdi_run *)call; /* its first member */
}

static td_view op_payload(td_call *call)
{
    return run_of(call)->payload;
}

static td_view op_inputs(td_call *call)
{
    return run_of(call)->inputs;
}

static td_writer *op_output(td_call *call)
{
    return &run_of(call)->output;
}

static td_status op_fail(td_call *call, const char *type, const char *message)
{
    tdi_run *run = run_of(call);
    run->failure_bytes =
        tdi_failure_encode(run->failure, sizeof run->failure, false, type, message);
    run->failed = true;
    return TD_FAILED;
}

td_status tdi_run_wish(const tdi_run *run)
{
    const tdi_session *session = run->session;
    /* acquire: pairs with the release of whoever ended the session, or wished. */
    if (atomic_load_explicit(&session->ended, memory_order_acquire))
        return TD_CANCELLED;
    const uint32_t wish = atomic_load_explicit(&session->up.cancel[tdi_call_slot(run->call_id)],
                                               memory_order_acquire);
    if (wish == tdi_call_generation(run->call_id))
        return TD_CANCELLED;
    if (run->deadline_ns != 0 && tdi_now_ns() >= run->deadline_ns)
        return TD_TIMED_OUT;
    return TD_OK;
}

static bool op_cancelled(td_call *call)
{
    return tdi_run_wish(run_of(call)) != TD_OK;
}

static void op_progress(td_call *call, uint64_t done, uint64_t total)
{
    const tdi_run *run = run_of(call);
    tdi_progress *progress = &run->session->down.progress[tdi_call_slot(run->call_id)];
    atomic_store_explicit(&progress->total, total, memory_order_relaxed);
    /* release: who sees this `done` sees a `total` no older. */
    atomic_store_explicit(&progress->done, done, memory_order_release);
}

/* To our standard error, which belongs to whoever supervises us. A line is at most PIPE_BUF
 * bytes and is written only where it cannot block. */
static void op_log(td_call *call, int level, const char *message)
{
    tdi_run *run = run_of(call);
    tdi_bridge *bridge = run->session->bridge;
    if (atomic_fetch_add_explicit(&bridge->log_lines, 1, memory_order_relaxed) >=
        LOG_LINES_A_SECOND)
        return; /* the loop counts the window's surplus and says so */
    char line[LOG_BYTES_MAX];
    int bytes = snprintf(line, sizeof line, "agent_bridge: level=%d session=%u call=%llx %s.%s: %s",
                         level, run->session->id, (unsigned long long)run->call_id,
                         run->action->agent, run->action->name, message);
    if (bytes < 0)
        return;
    if ((size_t)bytes > sizeof line - 2)
        bytes = (int)sizeof line - 2;
    for (int i = 0; i < bytes; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7F)
            line[i] = '?';
    line[bytes++] = '\n';
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&ready, 1, 0) == 1 && (ready.revents & POLLOUT) &&
        write(STDERR_FILENO, line, (size_t)bytes) < 0)
        return; /* nobody reads; a log line is never worth a stop */
}

static uint64_t op_deadline_ns(td_call *call)
{
    return run_of(call)->deadline_ns;
}

static uint32_t op_attempt(td_call *call)
{
    return run_of(call)->attempt;
}

static td_view op_idempotency_key(td_call *call)
{
    return run_of(call)->key;
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

/* Double, within the call's maximum, charging the session for what goes beyond the reserve. */
static td_status grow(td_writer *writer, size_t need)
{
    tdi_run *run = writer->owner;
    const size_t used = (size_t)(writer->at - writer->start);
    const size_t had = (size_t)(writer->end - writer->start);
    if (need > run->output_bytes_max - used)
        return writer->status = TD_TOO_LARGE;
    size_t want = had < 256 ? 256 : had * 2;
    if (want < used + need)
        want = used + need;
    if (want > run->output_bytes_max)
        want = (size_t)run->output_bytes_max;
    if (want > run->reply_charged) {
        const uint64_t more = want - run->reply_charged;
        const td_status status = tdi_session_charge(run->session, more);
        if (status != TD_OK)
            return writer->status = status;
        run->reply_charged += more;
        run->charged += more;
    }
    uint8_t *bigger = realloc(writer->start, want);
    if (bigger == NULL)
        return writer->status = TD_ERR_MEMORY;
    writer->start = bigger;
    writer->at = bigger + used;
    writer->end = bigger + want;
    return TD_OK;
}

void tdi_run_init(tdi_run *run, tdi_session *session, const td_action *action,
                  const tdi_frame *frame, const tdi_extension *ext)
{
    run->call.ops = &ops;
    run->session = session;
    run->action = action;
    run->call_id = frame->call_id;
    run->deadline_ns = frame->time_ns;
    run->started_ns = run->elapsed_ns = 0;
    run->charged = 0;
    run->output_bytes_max =
        frame->aux != 0 && frame->aux < TDI_BODY_BYTES_MAX ? frame->aux : TDI_BODY_BYTES_MAX;
    run->reply_charged = frame->aux != 0 ? frame->aux : TDI_REPLY_BYTES_RESERVED;
    run->attempt = frame->attempt;
    run->failed = false;
    run->status = TD_OK;
    run->payload = run->inputs = run->key = (td_view){NULL, 0};
    if (ext->key.bytes > 0) {
        memcpy(run->key_bytes, ext->key.data, ext->key.bytes);
        run->key = (td_view){run->key_bytes, ext->key.bytes};
    }
    run->body = (td_view){NULL, 0};
    run->owned_body = NULL;
    run->is_pair = (ext->present & 1u << TDI_EXT_INPUTS) != 0;
    run->job.lane = frame->lane;
    run->job.cpus = (td_view){NULL, 0};
    if (ext->cpus.bytes > 0) {
        memcpy(run->cpus_bytes, ext->cpus.data, ext->cpus.bytes);
        run->job.cpus = (td_view){run->cpus_bytes, ext->cpus.bytes};
    }
    run->job.next = NULL;
    run->failure_bytes = 0;
    /* The buffer, if there is one, stays from the last call, but what goes beyond this call's
     * maximum or reserve has to pass through grow(). */
    const uint64_t free_of_charge =
        run->reply_charged < run->output_bytes_max ? run->reply_charged : run->output_bytes_max;
    run->output.at = run->output.start;
    if ((uint64_t)(run->output.end - run->output.start) > free_of_charge)
        run->output.end = run->output.start + free_of_charge;
    run->output.status = TD_OK;
    run->output.grow = grow;
    run->output.owner = run;
}

static td_status judge(tdi_run *run, td_status returned)
{
    const td_status wished = returned == TD_CANCELLED ? tdi_run_wish(run) : TD_OK;
    const tdi_verdict verdict =
        tdi_judge(returned, wished, run->failed, &run->output, run->output_bytes_max, false);
    if (verdict.status == TD_FAILED && verdict.type != NULL)
        run->failure_bytes = tdi_verdict_encode(run->failure, sizeof run->failure, false, verdict,
                                                run->action->agent, run->action->name);
    return verdict.status;
}

void tdi_run_perform(tdi_run *run)
{
    /* A short one begins when the one before it in the round ended: one reading less. */
    tdi_bridge *bridge = run->session->bridge;
    const bool is_short = run == &bridge->short_run;
    run->started_ns = is_short && bridge->ended_ns != 0 ? bridge->ended_ns : tdi_now_ns();
    run->status = judge(run, run->action->run(&run->call));
    const uint64_t ended_ns = tdi_now_ns();
    run->elapsed_ns = ended_ns - run->started_ns;
    if (is_short)
        bridge->ended_ns = ended_ns;
}
