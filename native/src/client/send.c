/* send.c - calls on their way out: slots, quota, frames, fragments; cancel; fate. */
#include <stdlib.h>
#include <string.h>

#include "client/client_state.h"

/* The call in flight with this id, or NULL. */
static client_slot *find(const tdi_client *client, uint64_t call_id)
{
    const uint32_t slot = tdi_call_slot(call_id);
    if (slot >= client->slots_total || !client->slots[slot].in_use ||
        client->slots[slot].generation != tdi_call_generation(call_id))
        return NULL;
    return &client->slots[slot];
}

static void show(tdi_client *client)
{
    if (tdi_ring_publish(&client->tx))
        tdi_client_ring_bell(client, &client->frames_rope);
}

static td_status broke(tdi_client *client, const char *what)
{
    client->broken = TD_CORRUPT;
    return tdi_fail(&client->error, TD_CORRUPT, "the bridge broke the rules: %s", what);
}

td_status tdi_client_pump(tdi_client *client)
{
    client_outbound *out = &client->outbound;
    const size_t piece_max = tdi_ring_span_max(client->tx.capacity) - TDI_FRAME_BYTES;
    int armed = 0;
    while (out->body != NULL) {
        const size_t left = out->bytes - out->at;
        const size_t piece = left < piece_max ? left : piece_max;
        tdi_frame frame = {
            .kind = TDI_KIND_CONT,
            .flags = piece < left ? TDI_FLAG_MORE : 0,
            .body_bytes = (uint32_t)piece,
            .call_id = out->call_id,
            .aux = out->index,
        };
        const td_view part = {out->body + out->at, piece};
        const td_status status = tdi_ring_push(&client->tx, &frame, NULL, &part, 1);
        if (status == TD_ERR_FULL) {
            show(client);
            if (armed)
                return TD_BUSY;
            /* Ask to be woken for room, then look once more. */
            tdi_bell_arm(&client->space);
            armed = 1;
            continue;
        }
        if (status != TD_OK)
            return broke(client, "its cursor makes no sense");
        out->at += piece;
        out->index++;
        client->stats.bytes_out += piece;
        show(client);
        if (out->at == out->bytes) {
            client->slots[tdi_call_slot(out->call_id)].end = client->tx.at;
            free(out->body);
            *out = (client_outbound){0};
        }
    }
    tdi_bell_disarm(&client->space);
    return TD_OK;
}

/* First frame of a body that needs several; the rest is copied, to be pushed as room comes. */
static td_status push_first(tdi_client *client, tdi_frame *frame, const uint8_t *ext,
                            const td_view *parts, size_t parts_total, size_t total)
{
    const size_t piece =
        tdi_ring_span_max(client->tx.capacity) - TDI_FRAME_BYTES - 8u * frame->ext_units;
    uint8_t *body = malloc(total);
    if (body == NULL)
        return tdi_fail(&client->error, TD_ERR_MEMORY, "no memory for a body of %zu bytes", total);
    size_t at = 0;
    for (size_t i = 0; i < parts_total; i++)
        if (parts[i].bytes > 0) {
            memcpy(body + at, parts[i].data, parts[i].bytes);
            at += parts[i].bytes;
        }
    frame->flags |= TDI_FLAG_MORE;
    frame->body_bytes = (uint32_t)piece;
    const td_view first = {body, piece};
    const td_status status = tdi_ring_push(&client->tx, frame, ext, &first, 1);
    if (status != TD_OK) {
        free(body);
        return status;
    }
    client->outbound = (client_outbound){
        .body = body, .bytes = total, .at = piece, .index = 1, .call_id = frame->call_id};
    return TD_OK;
}

/* A body longer than a frame may carry, in a blob. */
static td_status push_blob(tdi_client *client, tdi_frame *frame, uint8_t *ext, const td_view *parts,
                           size_t parts_total)
{
    tdi_blob_name name;
    td_status status =
        tdi_blob_send(client->socket_fd, &client->blobs, parts, parts_total, &name, &client->error);
    if (status != TD_OK)
        return status;
    const uint64_t record[2] = {name.id, name.bytes};
    status = tdi_extension_add(ext, &frame->ext_units, TDI_EXT_BLOB, record, sizeof record);
    frame->flags |= TDI_FLAG_BLOB;
    frame->body_bytes = TDI_BLOB_FRAME_BYTES;
    const td_view sum = {(const uint8_t *)&name.crc, TDI_BLOB_FRAME_BYTES};
    if (status == TD_OK)
        status = tdi_ring_push(&client->tx, frame, ext, &sum, 1);
    if (status != TD_OK) {
        tdi_blob_drop(client->socket_fd, name.id);
        return status;
    }
    client->stats.bytes_out += name.bytes - TDI_BLOB_FRAME_BYTES;
    return TD_OK;
}

static td_status push_call(tdi_client *client, const tdi_call_request *request, uint64_t call_id,
                           bool by_blob)
{
    static const uint8_t pair = 0x92;
    const td_view both[] = {{&pair, 1}, request->body, request->inputs};
    const int with_inputs = request->inputs.bytes > 0;
    const td_view *parts = with_inputs ? both : &request->body;
    const size_t parts_total = with_inputs ? 3 : 1;
    const size_t total = request->body.bytes + (with_inputs ? request->inputs.bytes + 1 : 0);

    tdi_frame frame = {
        .kind = request->kind != 0 ? request->kind : TDI_KIND_CALL,
        .flags = TDI_FLAG_WANT_REPLY,
        .lane = request->lane,
        .body_bytes = (uint32_t)total,
        .call_id = call_id,
        .time_ns = request->deadline_ns,
        .source = client->session,
        .action_id = request->action_id,
        .attempt = request->attempt,
        .aux = request->reply_bytes_max,
    };
    uint8_t ext[TDI_EXT_BYTES_MAX];
    td_status status = TD_OK;
    if (with_inputs)
        status =
            tdi_extension_add(ext, &frame.ext_units, TDI_EXT_INPUTS | TDI_EXT_CRITICAL, NULL, 0);
    if (status == TD_OK && request->idempotency_key.bytes > 0)
        status = tdi_extension_add(ext, &frame.ext_units, TDI_EXT_KEY,
                                   request->idempotency_key.data, request->idempotency_key.bytes);
    if (status == TD_OK && request->cpus.bytes > 0)
        status = tdi_extension_add(ext, &frame.ext_units, TDI_EXT_CPUS, request->cpus.data,
                                   request->cpus.bytes);
    if (status != TD_OK)
        return status;
    client->slots[tdi_call_slot(call_id)].end = UINT64_MAX;
    if (by_blob) {
        status = push_blob(client, &frame, ext, parts, parts_total);
        client->slots[tdi_call_slot(call_id)].end = client->tx.at;
    } else if (tdi_frame_span(&frame) <= tdi_ring_span_max(client->tx.capacity)) {
        status = tdi_ring_push(&client->tx, &frame, ext, parts, parts_total);
        client->slots[tdi_call_slot(call_id)].end = client->tx.at;
    } else {
        const uint64_t total64 = total;
        status = tdi_extension_add(ext, &frame.ext_units, TDI_EXT_TOTAL, &total64, sizeof total64);
        if (status == TD_OK)
            status = push_first(client, &frame, ext, parts, parts_total, total);
    }
    if (status == TD_OK)
        client->stats.bytes_out += frame.body_bytes;
    return status;
}

/* May a body of this length be a blob? */
static bool may_be_blob(const tdi_client *client, const tdi_call_request *request)
{
    if (!client->blobs.on || (request->kind != 0 && request->kind != TDI_KIND_CALL) ||
        request->body.bytes >= client->blobs.bytes_max ||
        request->inputs.bytes >= client->blobs.bytes_max - request->body.bytes)
        return false;
    for (size_t i = 0; i < client->actions_total; i++)
        if (client->actions[i].id == request->action_id)
            return client->actions[i].takes_blobs != 0;
    return false;
}

td_status tdi_client_call(tdi_client *client, const tdi_call_request *request, uint64_t *call_id)
{
    if (client->broken != TD_OK)
        return client->broken;
    if (request->lane >= TDI_LANES || request->idempotency_key.bytes > TDI_KEY_BYTES_MAX)
        return tdi_fail(&client->error, TD_ERR_ARGUMENT, "lane=%u, idempotency key of %zu bytes",
                        request->lane, request->idempotency_key.bytes);
    /* Each by subtraction: sums of lengths overflow. */
    const bool long_body = request->body.bytes > client->body_bytes_max ||
                           request->inputs.bytes > client->body_bytes_max - request->body.bytes;
    const bool by_blob = long_body && may_be_blob(client, request);
    if (long_body && !by_blob)
        return tdi_fail(&client->error, TD_TOO_LARGE,
                        "payload of %zu + inputs of %zu bytes, at most %llu", request->body.bytes,
                        request->inputs.bytes, (unsigned long long)client->body_bytes_max);
    if (tdi_client_pump(client) != TD_OK)
        return client->broken != TD_OK
                   ? client->broken
                   : tdi_fail(&client->error, TD_BUSY, "a long body is still on its way out");
    const uint64_t reply =
        request->reply_bytes_max != 0 ? request->reply_bytes_max : client->reply_bytes_reserved;
    const uint64_t charge =
        reply + (by_blob ? TDI_BLOB_FRAME_BYTES : request->body.bytes + request->inputs.bytes);
    if (client->free_total == 0 || charge > client->bytes_quota - client->bytes_used)
        return tdi_fail(&client->error, TD_BUSY, "%u calls and %llu bytes in flight",
                        client->stats.in_flight, (unsigned long long)client->bytes_used);

    const uint32_t index = client->free_slots[client->free_total - 1];
    client_slot *slot = &client->slots[index];
    const uint32_t generation = slot->generation == UINT32_MAX ? 1 : slot->generation + 1;
    const uint64_t id = tdi_call_id(index, generation);
    const td_status status = push_call(client, request, id, by_blob);
    if (status == TD_ERR_FULL) {
        show(client); /* what is held back must not wait for room that only it can make */
        return tdi_fail(&client->error, TD_BUSY, "the ring is full");
    }
    if (status == TD_CORRUPT)
        return broke(client, "its cursor makes no sense");
    if (status != TD_OK)
        return status;
    client->free_total--;
    slot->generation = generation;
    slot->in_use = 1;
    slot->charged = charge;
    client->bytes_used += charge;
    client->stats.calls++;
    client->stats.in_flight++;
    if (!client->held)
        show(client);
    *call_id = id;
    if (client->outbound.body != NULL && tdi_client_pump(client) == TD_CORRUPT)
        return client->broken;
    return TD_OK;
}

void tdi_client_hold(tdi_client *client)
{
    client->held = 1;
}

void tdi_client_show(tdi_client *client)
{
    client->held = 0;
    if (client->broken == TD_OK)
        show(client);
}

td_status tdi_client_cancel(tdi_client *client, uint64_t call_id)
{
    if (find(client, call_id) == NULL)
        return TD_ERR_ARGUMENT;
    /* release: what the caller did before is seen by whoever sees the wish. */
    atomic_store_explicit(&client->up.cancel[tdi_call_slot(call_id)], tdi_call_generation(call_id),
                          memory_order_release);
    return TD_OK;
}

td_status tdi_client_progress(tdi_client *client, uint64_t call_id, uint64_t *done, uint64_t *total)
{
    if (find(client, call_id) == NULL)
        return TD_ERR_ARGUMENT;
    const tdi_progress *progress = &client->down.progress[tdi_call_slot(call_id)];
    /* acquire: pairs with the bridge's release of done, so total is no older. */
    *done = atomic_load_explicit(&progress->done, memory_order_acquire);
    *total = atomic_load_explicit(&progress->total, memory_order_relaxed);
    return TD_OK;
}

td_status tdi_client_fate(const tdi_client *client, uint64_t call_id)
{
    const client_slot *slot = find(client, call_id);
    if (slot == NULL)
        return TD_ERR_ARGUMENT;
    /* The bridge stores its head before it starts what it popped. acquire: pairs with that. */
    const uint64_t head = atomic_load_explicit(&client->down.control->head, memory_order_acquire);
    /* A head beyond what we published is nonsense, so nothing can be promised. */
    return head >= slot->end || head > client->tx.at ? TD_UNKNOWN : TD_NOT_STARTED;
}
