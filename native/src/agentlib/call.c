/* call.c - one call from start to status, in an agent's process. */
#include <poll.h>
#include <string.h>

#include "agentlib/agent_state.h"
#include "agentlib/running.h"
#include "base/clock.h"
#include "strict/strict.h"

#define BODY_BYTES_MAX (64u << 20)
#define LOOK_NS        (10 * TDI_NS_PER_MS)

static agent_run *run_of(td_call *call)
{
    return (agent_run *)call; /* its first member */
}

const td_action *tdi_running_action(const td_call *call)
{
    return ((const agent_run *)call)->action;
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
    return &run_of(call)->output.writer;
}

static td_status op_fail(td_call *call, const char *type, const char *message)
{
    agent_run *run = run_of(call);
    run->failure_bytes =
        tdi_failure_encode(run->failure, sizeof run->failure, false, type, message);
    run->failed = true;
    return TD_FAILED;
}

/* A running action keeps the serving thread from hearing of the bridge's end, so it looks itself,
 * now and then. Blobs may have been passed since, which only the serving thread reads, so what
 * counts is that the other end is shut. */
static bool bridge_gone(td_agent *agent)
{
    const uint64_t now_ns = tdi_now_ns();
    uint64_t looked_ns = atomic_load_explicit(&agent->looked_ns, memory_order_relaxed);
    if (now_ns - looked_ns >= LOOK_NS &&
        atomic_compare_exchange_strong_explicit(&agent->looked_ns, &looked_ns, now_ns,
                                                memory_order_relaxed, memory_order_relaxed)) {
        struct pollfd other_end = {.fd = agent->socket_fd, .events = POLLRDHUP};
        if (poll(&other_end, 1, 0) > 0)
            atomic_store_explicit(&agent->bridge_gone, true, memory_order_relaxed);
    }
    return atomic_load_explicit(&agent->bridge_gone, memory_order_relaxed);
}

static td_status wish(const agent_run *run)
{
    td_agent *agent = run->agent;
    if (bridge_gone(agent))
        return TD_CANCELLED;
    /* acquire: pairs with the release of whoever wished. */
    if (atomic_load_explicit(&agent->down.cancel[tdi_call_slot(run->call_id)],
                             memory_order_acquire) == tdi_call_generation(run->call_id))
        return TD_CANCELLED;
    if (run->deadline_ns != 0 && tdi_now_ns() >= run->deadline_ns)
        return TD_TIMED_OUT;
    return TD_OK;
}

static bool op_cancelled(td_call *call)
{
    return wish(run_of(call)) != TD_OK;
}

static void op_progress(td_call *call, uint64_t done, uint64_t total)
{
    agent_run *run = run_of(call);
    tdi_progress *progress = &run->agent->up.progress[tdi_call_slot(run->call_id)];
    atomic_store_explicit(&progress->total, total, memory_order_relaxed);
    /* release: who sees this `done` sees a `total` no older. */
    atomic_store_explicit(&progress->done, done, memory_order_release);
}

static void op_log(td_call *call, int level, const char *message)
{
    agent_log(run_of(call), level, message);
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

void agent_run_begin(agent_run *run, td_agent *agent, const td_action *action,
                     const tdi_frame *frame, const tdi_extension *ext)
{
    run->call.ops = &ops;
    run->agent = agent;
    run->action = action;
    run->call_id = frame->call_id;
    run->deadline_ns = frame->time_ns;
    run->attempt = frame->attempt;
    run->started_ns = run->elapsed_ns = 0;
    run->failed = false;
    run->job.cpus = (td_view){NULL, 0};
    if (ext->cpus.bytes > 0) {
        memcpy(run->cpus_bytes, ext->cpus.data, ext->cpus.bytes);
        run->job.cpus = (td_view){run->cpus_bytes, ext->cpus.bytes};
    }
    run->is_pair = (ext->present & 1u << TDI_EXT_INPUTS) != 0;
    run->status = TD_OK;
    run->payload = run->inputs = run->key = (td_view){NULL, 0};
    if (ext->key.bytes > 0) {
        memcpy(run->key_bytes, ext->key.data, ext->key.bytes);
        run->key = (td_view){run->key_bytes, ext->key.bytes};
    }
    run->failure_bytes = 0;
    run->job.lane = frame->lane;
    run->job.next = NULL;
    const uint64_t most = agent->blobs.on && agent->blobs.bytes_max > BODY_BYTES_MAX
                              ? agent->blobs.bytes_max
                              : BODY_BYTES_MAX;
    run->output.bytes_max = frame->aux != 0 && frame->aux < most ? frame->aux : most;
}

static td_status judge(agent_run *run, td_status returned)
{
    const td_status wished = returned == TD_CANCELLED ? wish(run) : TD_OK;
    const tdi_verdict verdict =
        tdi_judge(returned, wished, run->failed, &run->output.writer, run->output.bytes_max, false);
    if (verdict.status == TD_FAILED && verdict.type != NULL)
        run->failure_bytes = tdi_verdict_encode(run->failure, sizeof run->failure, false, verdict,
                                                run->action->agent, run->action->name);
    return verdict.status;
}

void agent_run_perform(agent_run *run)
{
    /* The serving thread's own run begins when the one before it ended: one reading less. */
    const bool own = run == &run->agent->run;
    run->started_ns = own && run->agent->ended_ns != 0 ? run->agent->ended_ns : tdi_now_ns();
    run->status = wish(run);
    if (run->status != TD_OK)
        return;
    const td_view body = run->body;
    if (!run->is_pair) {
        run->payload = body;
        run->status = td_strict_check(body.data, body.bytes) == TD_OK ? TD_OK : TD_CORRUPT;
    } else {
        run->status = td_strict_check_pair(body.data, body.bytes) == TD_OK
                          ? tdi_body_split(body, &run->payload, &run->inputs)
                          : TD_CORRUPT;
    }
    if (run->status != TD_OK)
        return;
    run->status = judge(run, run->action->run(&run->call));
    const uint64_t ended_ns = tdi_now_ns();
    run->elapsed_ns = ended_ns - run->started_ns;
    if (own)
        run->agent->ended_ns = ended_ns;
}
