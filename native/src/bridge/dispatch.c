/* dispatch.c - frames on their way in: checked, reassembled, charged, started. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bridge/blob.h"
#include "strict/strict.h"

/* Is the body what its frame says: one strict value, or a pair? */
static td_status open_body(tdi_run *run)
{
    const td_view body = run->body;
    if (!run->is_pair) {
        run->payload = body;
        return td_strict_check(body.data, body.bytes) == TD_OK ? TD_OK : TD_CORRUPT;
    }
    if (td_strict_check_pair(body.data, body.bytes) != TD_OK)
        return TD_CORRUPT;
    return tdi_body_split(body, &run->payload, &run->inputs);
}

/* From the lane to its status, on whichever thread. The check of a long body takes its time, so
 * a blocking action's is made in the pool as well. */
static void go(tdi_run *run)
{
    run->status = tdi_run_wish(run);
    if (run->status == TD_OK)
        run->status = open_body(run);
    if (run->status == TD_OK)
        tdi_run_perform(run);
}

static void in_the_pool(tdi_job *job)
{
    go((tdi_run *)((uint8_t *)job - offsetof(tdi_run, job)));
}

static void start_short(tdi_session *session, const td_action *action, const tdi_frame *frame,
                        const tdi_extension *ext, td_view body, uint64_t charged)
{
    tdi_run *run = &session->bridge->short_run;
    tdi_run_init(run, session, action, frame, ext);
    run->body = body;
    run->charged = charged;
    go(run);
    tdi_answer_run(run);
}

/* Also for a short action that wishes for other CPUs than ours: pool threads move, we do not.
 * `body` becomes the run's if `owned` says so, else it is copied. */
static void start_blocking(tdi_session *session, const td_action *action, const tdi_frame *frame,
                           const tdi_extension *ext, td_view body, int owned, uint64_t charged)
{
    tdi_run *run = calloc(1, sizeof *run);
    uint8_t *copy = owned ? (uint8_t *)(uintptr_t)body.data : malloc(body.bytes + 1);
    if (run == NULL || copy == NULL) {
        free(run);
        free(copy);
        tdi_answer_refusal(session, frame->call_id, TD_BUSY, charged);
        return;
    }
    if (!owned)
        memcpy(copy, body.data, body.bytes);
    tdi_run_init(run, session, action, frame, ext);
    run->body = (td_view){copy, body.bytes};
    run->owned_body = copy;
    run->charged = charged;
    run->job.perform = in_the_pool;
    const td_status status = tdi_pool_submit(session->bridge->pool, &run->job);
    if (status == TD_OK) {
        session->running++; /* the run is the pool's now, and may have ended already */
        return;
    }
    run->status = status;
    tdi_answer_run(run);
}

/* A whole call: `body` is private memory. */
static void start(tdi_session *session, const tdi_frame *frame, const uint8_t *ext_bytes,
                  const tdi_extension *ext, td_view body, uint8_t *owned, uint64_t charged)
{
    const tdi_registry *registry = &session->bridge->registry;
    const td_action *action = tdi_registry_find(registry, frame->action_id);
    const tdi_registry_row *row = tdi_registry_row_of(registry, frame->action_id);
    session->counters.calls++;
    if (frame->kind != TDI_KIND_CALL) {
        tdi_program_call_start(session, frame, ext, body, owned, charged);
        return;
    }
    if (row != NULL && row->agent != NULL) {
        tdi_agent_call(session, row->agent, frame, ext_bytes, body, owned, charged);
        return; /* it has the body */
    }
    if (row != NULL && action == NULL) {
        tdi_router_start(session, frame, ext, body, charged);
    } else if (action == NULL) {
        tdi_answer_refusal(session, frame->call_id, TD_NO_AGENT, charged);
    } else if (action->runs == TD_RUNS_BLOCKING ||
               !tdi_cpus_within(&session->bridge->cpus, ext->cpus)) {
        start_blocking(session, action, frame, ext, body, owned != NULL, charged);
        return; /* the run has the body */
    } else {
        start_short(session, action, frame, ext, body, charged);
    }
    free(owned);
}

td_status tdi_call_enter(tdi_session *session, const tdi_frame *frame, uint64_t body_bytes,
                         uint64_t *charged)
{
    const uint32_t slot = tdi_call_slot(frame->call_id);
    *charged = 0;
    if (slot >= session->slots || session->slot_busy[slot] ||
        tdi_call_generation(frame->call_id) == 0)
        return TD_CORRUPT;
    session->slot_busy[slot] = 1;
    if (body_bytes > TDI_BODY_BYTES_MAX + UINT64_C(1))
        return TD_TOO_LARGE; /* + 1: the head of a pair */
    const uint64_t wanted = body_bytes + (frame->aux != 0 ? frame->aux : TDI_REPLY_BYTES_RESERVED);
    const td_status status = tdi_session_charge(session, wanted);
    if (status == TD_OK)
        *charged = wanted;
    return status;
}

static td_status begin_long(tdi_session *session, const tdi_frame *frame, const uint8_t *ext_bytes,
                            const tdi_extension *ext, const uint8_t *piece)
{
    tdi_inbound *in = &session->inbound;
    if (!(ext->present & 1u << TDI_EXT_TOTAL) || ext->total_bytes <= frame->body_bytes)
        return TD_CORRUPT;
    *in = (tdi_inbound){.active = true,
                        .first = *frame,
                        .bytes = ext->total_bytes,
                        .at = frame->body_bytes,
                        .index = 1};
    in->refusal = tdi_call_enter(session, frame, ext->total_bytes, &in->charged);
    if (in->refusal == TD_CORRUPT)
        return TD_CORRUPT;
    if (in->refusal != TD_OK)
        return TD_OK; /* its fragments are dropped, and the last one is answered */
    in->body = malloc((size_t)in->bytes);
    if (in->body == NULL) {
        in->refusal = TD_BUSY;
        return TD_OK;
    }
    memcpy(in->ext, ext_bytes, 8u * frame->ext_units);
    memcpy(in->body, piece, frame->body_bytes);
    return TD_OK;
}

td_status tdi_inbound_add(tdi_inbound *in, const tdi_frame *frame, const uint8_t *piece)
{
    const bool more = (frame->flags & TDI_FLAG_MORE) != 0;
    if (!in->active || frame->call_id != in->first.call_id || frame->aux != in->index ||
        frame->ext_units != 0 || frame->body_bytes == 0 || frame->body_bytes > in->bytes - in->at ||
        (frame->body_bytes == in->bytes - in->at) == more)
        return TD_CORRUPT;
    if (in->body != NULL)
        memcpy(in->body + in->at, piece, frame->body_bytes);
    in->at += frame->body_bytes;
    in->index++;
    return more ? TD_ERR_AGAIN : TD_OK;
}

static td_status go_on_long(tdi_session *session, const tdi_frame *frame, const uint8_t *piece)
{
    td_status status = tdi_inbound_add(&session->inbound, frame, piece);
    if (status != TD_OK)
        return status == TD_ERR_AGAIN ? TD_OK : status;
    const tdi_inbound whole = session->inbound;
    session->inbound = (tdi_inbound){0};
    if (whole.body == NULL) {
        tdi_answer_refusal(session, whole.first.call_id, whole.refusal, whole.charged);
        return TD_OK;
    }
    tdi_extension ext;
    status = tdi_extension_parse(whole.ext, 8u * whole.first.ext_units, &ext);
    if (status != TD_OK) {
        free(whole.body);
        return status;
    }
    start(session, &whole.first, whole.ext, &ext, (td_view){whole.body, (size_t)whole.bytes},
          whole.body, whole.charged);
    return TD_OK;
}

/* One frame, in private memory. TD_CORRUPT ends the session. */
static td_status handle(tdi_session *session, const tdi_frame *frame, const uint8_t *ext_bytes,
                        const uint8_t *body)
{
    tdi_extension ext;
    if (tdi_extension_parse(ext_bytes, 8u * frame->ext_units, &ext) != TD_OK)
        return TD_CORRUPT;
    if (frame->kind == TDI_KIND_CONT)
        return go_on_long(session, frame, body);
    const bool is_call =
        frame->kind == TDI_KIND_CALL || frame->kind == TDI_KIND_LOAD || frame->kind == TDI_KIND_RUN;
    if (!is_call || session->inbound.active)
        return TD_CORRUPT;
    if ((frame->flags & ~(TDI_FLAG_MORE | TDI_FLAG_WANT_REPLY)) != 0)
        return (frame->flags & ~(TDI_FLAG_BLOB | TDI_FLAG_WANT_REPLY)) == 0
                   ? tdi_blob_call(session, frame, &ext, ext_bytes, body)
                   : TD_CORRUPT;
    if (frame->flags & TDI_FLAG_MORE)
        return begin_long(session, frame, ext_bytes, &ext, body);
    uint64_t charged;
    const td_status status = tdi_call_enter(session, frame, frame->body_bytes, &charged);
    if (status == TD_CORRUPT)
        return TD_CORRUPT;
    if (status != TD_OK)
        tdi_answer_refusal(session, frame->call_id, status, charged);
    else
        start(session, frame, ext_bytes, &ext, (td_view){body, frame->body_bytes}, NULL, charged);
    return TD_OK;
}

uint32_t tdi_session_round(tdi_session *session)
{
    uint32_t frames = 0;
    uint64_t body_bytes = 0;
    uint8_t ext_bytes[TDI_EXT_BYTES_MAX];
    td_status status = TD_OK;
    const bool agent = session->role == TDI_ROLE_AGENT;
    session->bridge->ended_ns = 0;
    /* An agent is read even while calls wait for room with it: its answers make that room. */
    while (frames < TDI_FRAMES_A_ROUND && body_bytes < TDI_BYTES_A_ROUND && !session->ended &&
           (agent || session->waiting_first == NULL)) {
        tdi_frame frame;
        status = tdi_ring_peek(&session->rx, &frame);
        if (status == TD_OK)
            status = tdi_ring_take(&session->rx, &frame, ext_bytes, session->bridge->scratch);
        if (status != TD_OK)
            break;
        /* Before it starts: a peer that outlives us must be able to tell popped from not. */
        tdi_ring_release(&session->rx);
        frames++;
        body_bytes += frame.body_bytes;
        status = agent ? tdi_agent_handle(session, &frame, ext_bytes, session->bridge->scratch)
                       : handle(session, &frame, ext_bytes, session->bridge->scratch);
        if (status != TD_OK)
            break;
    }
    session->counters.frames_in += frames;
    session->counters.bytes_in += body_bytes;
    if (session->ended)
        return frames;
    if (status == TD_CORRUPT) {
        tdi_session_end(session, "a frame broke the rules");
        return frames;
    }
    if (frames > 0) {
        tdi_answers_show(session);
        session->counters.doorbells_rung +=
            (uint64_t)tdi_bell_ring(&session->space_rope, session->bell_out_fd);
    }
    return frames;
}
