/* router.c - router.route_messages: many messages to agents, over their rings, as credits allow.
 *
 * Each destination has a cursor of its own over the messages, so that a full one waits and the
 * others go on. A batch ends when every message was answered, or at cancel or deadline.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bridge/router.h"
#include "strict/strict.h"

const td_action tdi_router_actions[] = {
    {"router", "route_messages", NULL, TD_EFFECTS_EXTERNAL, TD_RUNS_SHORT, 0, 0, "1"},
};
const size_t tdi_router_actions_count = 1;

static void free_batch(tdi_batch *batch)
{
    for (uint32_t i = 0; batch->shared != NULL && i < batch->messages; i++)
        tdi_blob_release(batch->shared[i].blob);
    free(batch->shared);
    free(batch->to);
    free(batch->owner);
    free(batch->payload);
    free(batch->bodies);
    free(batch);
}

static void answered(tdi_relay *relay, tdi_reply *reply)
{
    destination *to = relay->owner;
    tdi_batch *batch = NULL;
    for (tdi_batch *one = relay->agent->bridge->batches; one != NULL && batch == NULL;
         one = one->next)
        if (to >= one->to && to < one->to + one->destinations)
            batch = one;
    if (batch == NULL)
        return;
    batch->outstanding--;
    if (reply->status == TD_OK)
        to->delivered++;
    else
        to->refused++;
}

/* Is message `index` for destination `d`? */
static bool is_for(const tdi_batch *batch, uint32_t index, uint32_t d)
{
    switch (batch->policy) {
    case ROUND_ROBIN:
        return index % batch->destinations == d;
    case HASH:
        return batch->owner[index] == d;
    default:
        return true;
    }
}

/* May this message be one blob for all its readers? It then becomes the body of `call`. */
static void share(tdi_batch *batch, uint32_t index, shared_body *shared, tdi_outgoing *call,
                  uint8_t *ext)
{
    const td_view whole = batch->bodies[index];
    if (shared->blob == NULL && !shared->copied)
        shared->copied = tdi_blob_of(batch->caller, whole, &shared->crc, &shared->blob) != TD_OK;
    if (shared->blob == NULL)
        return;
    const uint64_t record[2] = {shared->blob->id, shared->blob->bytes};
    if (tdi_extension_add(ext, &call->frame.ext_units, TDI_EXT_BLOB, record, sizeof record) !=
        TD_OK)
        return;
    call->blob = shared->blob;
    call->ext = ext;
    call->body = (td_view){(const uint8_t *)&shared->crc, TDI_BLOB_FRAME_BYTES};
}

/* One message to one destination. TD_BUSY: not now. */
static td_status send_one(tdi_bridge *bridge, tdi_batch *batch, uint32_t index,
                          const tdi_registry_row *row, tdi_outgoing *call)
{
    uint8_t ext[TDI_EXT_BYTES_MAX];
    shared_body *shared = batch->shared != NULL ? &batch->shared[index] : NULL;
    const td_view whole = call->body;
    if (row == NULL || row->agent == NULL)
        return TD_NO_AGENT;
    if (shared != NULL && whole.bytes >= bridge->options.blob_broadcast_bytes)
        share(batch, index, shared, call, ext);
    if (call->blob != NULL)
        tdi_blob_keep(call->blob); /* the relay's */
    td_status status = tdi_agent_send(row->agent, call);
    if (status != TD_OK && call->blob != NULL) {
        tdi_blob_release(call->blob);
        /* This one takes no blobs, or cannot be given one; to try for ever would end nowhere. */
        if (status == TD_TOO_LARGE || status == TD_ERR_SYSTEM) {
            call->blob = NULL;
            call->frame.ext_units = 0;
            call->body = whole;
            status = tdi_agent_send(row->agent, call);
        }
    }
    return status;
}

/* Every destination has the message, or was refused: the calls alone need its blob. */
static void has_gone(tdi_batch *batch, uint32_t index)
{
    if (batch->shared == NULL || ++batch->shared[index].sent < batch->destinations)
        return;
    if (batch->shared[index].blob != NULL)
        tdi_blob_shut(batch->shared[index].blob);
    tdi_blob_release(batch->shared[index].blob);
    batch->shared[index].blob = NULL;
}

/* Send what the credits allow; returns whether everything has been sent or refused. */
static bool send_some(tdi_bridge *bridge, tdi_batch *batch)
{
    bool all = true;
    for (uint32_t d = 0; d < batch->destinations; d++) {
        destination *to = &batch->to[d];
        while (to->at < batch->messages) {
            if (!is_for(batch, to->at, d)) {
                to->at++;
                continue;
            }
            const tdi_registry_row *row = tdi_registry_row_of(&bridge->registry, to->action_id);
            uint8_t memory[16];
            tdi_outgoing call = {
                .frame = {.lane = batch->lane,
                          .attempt = batch->attempt,
                          .time_ns = batch->deadline_ns,
                          .action_id = to->action_id},
                .caller = batch->caller,
                .call_id = batch->call_id,
                .reply = answered,
                .owner = to,
                .batch = true,
            };
            tdi_batch_body(batch, to->at, memory, &call.body);
            batch->outstanding++; /* before: it may be answered at once */
            const td_status status = send_one(bridge, batch, to->at, row, &call);
            if (status == TD_BUSY) {
                batch->outstanding--;
                all = false;
                break; /* back-pressure: its credits come back, and then we do */
            }
            if (status != TD_OK) {
                batch->outstanding--;
                to->refused++;
            }
            has_gone(batch, to->at);
            to->at++;
        }
    }
    return all;
}

static void finish(tdi_batch *batch, td_status status)
{
    td_heap_writer heap;
    td_heap_writer_init(&heap, 1 << 20);
    td_writer *writer = &heap.writer;
    uint64_t delivered = 0, refused = 0;
    for (uint32_t d = 0; d < batch->destinations; d++) {
        delivered += batch->to[d].delivered;
        refused += batch->to[d].refused;
    }
    td_write_map(writer, 3);
    td_write_text(writer, "delivered");
    td_write_uint(writer, delivered);
    td_write_text(writer, "refused");
    td_write_uint(writer, refused);
    td_write_text(writer, "destinations");
    td_write_map(writer, batch->destinations);
    for (uint32_t d = 0; d < batch->destinations; d++) {
        td_write_text(writer, batch->to[d].name);
        td_write_map(writer, 2);
        td_write_text(writer, "delivered");
        td_write_uint(writer, batch->to[d].delivered);
        td_write_text(writer, "refused");
        td_write_uint(writer, batch->to[d].refused);
    }
    if (status == TD_OK && writer->status != TD_OK)
        status = TD_TOO_LARGE;
    const uint64_t elapsed_ns = tdi_now_ns() - batch->started_ns;
    const uint64_t elapsed_us = elapsed_ns / 1000 < UINT32_MAX ? elapsed_ns / 1000 : UINT32_MAX;
    const tdi_frame words = {.flags = TDI_FLAG_ELAPSED_US,
                             .attempt = batch->attempt,
                             .time_ns = batch->started_ns,
                             .source = batch->caller->id,
                             .aux2 = (uint32_t)elapsed_us};
    tdi_reply reply = {.status = status, .frame = &words};
    if (status == TD_OK)
        reply.body = (td_view){writer->start, td_writer_bytes(writer)};
    tdi_answer_reply(batch->caller, batch->call_id, &reply, batch->charged);
    td_heap_writer_fini(&heap);
}

static void cancel_outstanding(tdi_bridge *bridge, const tdi_batch *batch)
{
    for (uint32_t i = 0; i < bridge->sessions_high; i++) {
        tdi_session *session = bridge->sessions[i];
        if (session == NULL || session->relays == NULL || session->ended)
            continue;
        for (uint32_t slot = 0; slot < session->slots; slot++) {
            tdi_relay *relay = &session->relays[slot];
            const destination *to = relay->owner;
            if (relay->in_use && relay->batch && to >= batch->to &&
                to < batch->to + batch->destinations)
                tdi_relay_cancel(relay);
        }
    }
}

/* The wish of whoever asked for the batch. */
static td_status wish_of(const tdi_batch *batch)
{
    if (batch->caller == NULL)
        return TD_CANCELLED;
    const uint32_t slot = tdi_call_slot(batch->call_id);
    if (atomic_load_explicit(&batch->caller->up.cancel[slot], memory_order_acquire) ==
        tdi_call_generation(batch->call_id))
        return TD_CANCELLED;
    return batch->deadline_ns != 0 && tdi_now_ns() >= batch->deadline_ns ? TD_TIMED_OUT : TD_OK;
}

void tdi_batches_go_on(tdi_bridge *bridge)
{
    tdi_batch **link = &bridge->batches;
    while (*link != NULL) {
        tdi_batch *batch = *link;
        if (batch->stop == TD_OK) {
            batch->stop = wish_of(batch);
            if (batch->stop != TD_OK)
                cancel_outstanding(bridge, batch);
        }
        const bool sent = batch->stop != TD_OK || send_some(bridge, batch);
        if (batch->caller != NULL) {
            tdi_progress *progress = &batch->caller->down.progress[tdi_call_slot(batch->call_id)];
            uint64_t done = 0;
            for (uint32_t d = 0; d < batch->destinations; d++)
                done += batch->to[d].delivered + batch->to[d].refused;
            const uint64_t copies = batch->policy == BROADCAST ? batch->destinations : 1;
            atomic_store_explicit(&progress->total, batch->messages * copies, memory_order_relaxed);
            atomic_store_explicit(&progress->done, done, memory_order_release);
        }
        if (!sent || batch->outstanding > 0) {
            link = &batch->next;
            continue;
        }
        *link = batch->next;
        if (batch->caller != NULL)
            finish(batch, batch->stop);
        free_batch(batch);
    }
}

void tdi_batches_orphan(tdi_session *caller)
{
    for (tdi_batch *batch = caller->bridge->batches; batch != NULL; batch = batch->next)
        if (batch->caller == caller) {
            batch->caller = NULL;
            batch->stop = TD_CANCELLED;
            cancel_outstanding(caller->bridge, batch);
        }
}

void tdi_router_start(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                      td_view body, uint64_t charged)
{
    const bool pair = (ext->present & 1u << TDI_EXT_INPUTS) != 0;
    td_view payload = body, inputs;
    const td_status strict =
        pair ? td_strict_check_pair(body.data, body.bytes) : td_strict_check(body.data, body.bytes);
    if (strict != TD_OK || (pair && tdi_body_split(body, &payload, &inputs) != TD_OK)) {
        tdi_answer_refusal(session, frame->call_id, TD_CORRUPT, charged);
        return;
    }
    tdi_batch *batch = calloc(1, sizeof *batch);
    uint8_t *copy = malloc(payload.bytes + 1);
    if (batch == NULL || copy == NULL) {
        free(batch);
        free(copy);
        tdi_answer_refusal(session, frame->call_id, TD_BUSY, charged);
        return;
    }
    memcpy(copy, payload.data, payload.bytes);
    batch->payload = copy;
    batch->caller = session;
    batch->call_id = frame->call_id;
    batch->charged = charged;
    batch->deadline_ns = frame->time_ns;
    batch->started_ns = tdi_now_ns();
    batch->attempt = frame->attempt;
    batch->lane = frame->lane;
    tdi_batch_fault why = {NULL, ""};
    if (tdi_batch_read(session->bridge, batch, (td_view){copy, payload.bytes}, &why)) {
        batch->next = session->bridge->batches;
        session->bridge->batches = batch; /* the round's end sends */
        return;
    }
    uint8_t memory[1024];
    td_writer writer;
    td_writer_fixed(&writer, memory, sizeof memory);
    td_write_map(&writer, 2);
    td_write_text(&writer, "type");
    td_write_text(&writer, why.type);
    td_write_text(&writer, "message");
    td_write_text(&writer, why.text);
    const tdi_frame words = {.attempt = frame->attempt, .time_ns = batch->started_ns};
    tdi_reply reply = {
        .status = TD_FAILED, .body = {memory, td_writer_bytes(&writer)}, .frame = &words};
    free_batch(batch);
    tdi_answer_reply(session, frame->call_id, &reply, charged);
}
