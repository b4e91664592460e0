#include "bridge/blob.h"

#include <stdlib.h>

#include "wire/channel.h"

static void charge(tdi_blob *blob, tdi_session *holder)
{
    blob->holder = holder;
    holder->blobs++;
    holder->blob_bytes += blob->bytes;
}

static void uncharge(tdi_blob *blob)
{
    if (blob->holder == NULL)
        return;
    blob->holder->blobs--;
    blob->holder->blob_bytes -= blob->bytes;
    blob->holder = NULL;
}

static td_status room_with(const tdi_session *session, uint64_t bytes)
{
    const tdi_bridge_options *options = &session->bridge->options;
    if (bytes > options->blob_bytes)
        return TD_TOO_LARGE;
    if (session->blobs >= options->blobs || bytes > options->blob_bytes - session->blob_bytes)
        return TD_BUSY;
    return TD_OK;
}

/* Each limit by subtraction: sums of lengths overflow. */
static td_status room_for(const tdi_session *session, uint64_t bytes)
{
    const tdi_bridge *bridge = session->bridge;
    const td_status status = room_with(session, bytes);
    if (status != TD_OK)
        return status;
    if (bytes > bridge->options.blob_bytes_total)
        return TD_TOO_LARGE;
    if (bridge->blobs_total >= TDI_BLOBS_TOTAL ||
        bytes > bridge->options.blob_bytes_total - bridge->blob_bytes)
        return TD_BUSY;
    return TD_OK;
}

static td_status make(tdi_session *holder, uint64_t bytes, tdi_blob **out)
{
    tdi_bridge *bridge = holder->bridge;
    td_status status = room_for(holder, bytes);
    if (status != TD_OK)
        return status;
    tdi_blob *blob = calloc(1, sizeof *blob);
    int fd = -1;
    if (blob == NULL || tdi_blob_create(bytes, &fd, NULL) != TD_OK) {
        free(blob);
        return TD_BUSY; /* no memory, or no fd is left */
    }
    *blob = (tdi_blob){.next = bridge->blobs,
                       .bridge = bridge,
                       .id = ++bridge->blob_id_last,
                       .bytes = bytes,
                       .fd = fd,
                       .references = 1};
    bridge->blobs = blob;
    bridge->blobs_total++;
    bridge->blob_bytes += bytes;
    charge(blob, holder);
    *out = blob;
    return TD_OK;
}

void tdi_blob_keep(tdi_blob *blob)
{
    blob->references++;
}

void tdi_blob_shut(tdi_blob *blob)
{
    tdi_close_all(&blob->fd, 1);
}

void tdi_blob_release(tdi_blob *blob)
{
    if (blob == NULL || --blob->references > 0)
        return;
    tdi_bridge *bridge = blob->bridge;
    tdi_blob **link = &bridge->blobs;
    while (*link != blob)
        link = &(*link)->next;
    *link = blob->next;
    uncharge(blob);
    bridge->blobs_total--;
    bridge->blob_bytes -= blob->bytes;
    tdi_blob_shut(blob);
    free(blob);
}

void tdi_blobs_orphan(tdi_session *session)
{
    tdi_blob *blob = session->bridge->blobs;
    while (blob != NULL) {
        tdi_blob *next = blob->next;
        if (blob->holder == session) {
            uncharge(blob);
            if (blob->state != TDI_BLOB_NAMED) /* else the call that has it lets go of it */
                tdi_blob_release(blob);
        }
        blob = next;
    }
}

static tdi_blob *find(const tdi_session *session, uint64_t id)
{
    for (tdi_blob *blob = session->bridge->blobs; blob != NULL; blob = blob->next)
        if (blob->id == id && blob->holder == session)
            return blob;
    return NULL;
}

static td_status tell(const tdi_session *session, const tdi_blob_message *message, int fd)
{
    uint8_t data[TDI_BLOB_MESSAGE_BYTES];
    tdi_blob_encode(message, data);
    return tdi_channel_send(session->socket_fd, data, sizeof data, &fd, fd >= 0, NULL);
}

static td_status want(tdi_session *session, const tdi_blob_message *asked)
{
    if (asked->id != 0 || asked->bytes == 0)
        return TD_CORRUPT;
    tdi_blob *blob = NULL;
    tdi_blob_message said = {
        .op = TDI_BLOB_GRANTED, .request = asked->request, .bytes = asked->bytes};
    const td_status status = make(session, asked->bytes, &blob);
    said.status = (uint16_t)status;
    if (status == TD_OK)
        said.id = blob->id;
    if (tell(session, &said, status == TD_OK ? blob->fd : -1) == TD_OK)
        return TD_OK;
    tdi_blob_release(blob);
    return TD_CORRUPT; /* it asks and does not listen */
}

static td_status commit(tdi_session *session, const tdi_blob_message *asked)
{
    tdi_blob *blob = find(session, asked->id);
    if (blob == NULL || blob->state != TDI_BLOB_FILLING || asked->bytes != 0)
        return TD_CORRUPT;
    const td_status status = tdi_blob_seal(blob->fd, NULL);
    if (status == TD_OK)
        blob->state = TDI_BLOB_SEALED;
    const tdi_blob_message said = {.op = TDI_BLOB_COMMITTED,
                                   .status = status == TD_OK ? TD_OK : TD_BUSY,
                                   .request = asked->request,
                                   .id = asked->id};
    return tell(session, &said, -1) == TD_OK ? TD_OK : TD_CORRUPT;
}

static td_status drop(tdi_session *session, const tdi_blob_message *asked)
{
    tdi_blob *blob = find(session, asked->id);
    if (blob == NULL || blob->state == TDI_BLOB_NAMED || asked->bytes != 0)
        return TD_CORRUPT;
    tdi_blob_release(blob);
    return TD_OK;
}

td_status tdi_blob_hear(tdi_session *session, const uint8_t *message, size_t bytes)
{
    tdi_blob_message asked;
    if (!tdi_blobs_offered(session) || tdi_blob_decode(message, bytes, &asked) != TD_OK ||
        asked.status != 0)
        return TD_CORRUPT;
    switch (asked.op) {
    case TDI_BLOB_WANT:
        return want(session, &asked);
    case TDI_BLOB_COMMIT:
        return commit(session, &asked);
    case TDI_BLOB_DROP:
        return drop(session, &asked);
    default:
        return TD_CORRUPT;
    }
}

td_status tdi_blob_of(tdi_session *holder, td_view body, uint32_t *crc, tdi_blob **out)
{
    tdi_blob *blob;
    td_status status = make(holder, body.bytes, &blob);
    if (status != TD_OK)
        return status;
    status = tdi_blob_fill(blob->fd, &body, 1, crc, NULL);
    if (status == TD_OK)
        status = tdi_blob_seal(blob->fd, NULL);
    if (status != TD_OK) {
        tdi_blob_release(blob);
        return TD_BUSY;
    }
    blob->state = TDI_BLOB_NAMED;
    *out = blob;
    return TD_OK;
}

td_status tdi_blob_named(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                         tdi_blob **out)
{
    const uint32_t with = ext->present & ~(1u << TDI_EXT_BLOB);
    if (!tdi_blobs_offered(session) || (frame->flags & TDI_FLAG_MORE) ||
        !(ext->present & 1u << TDI_EXT_BLOB) || with & 1u << TDI_EXT_TOTAL ||
        frame->body_bytes != TDI_BLOB_FRAME_BYTES)
        return TD_CORRUPT;
    tdi_blob *blob = find(session, ext->blob_id);
    if (blob == NULL || blob->state != TDI_BLOB_SEALED || blob->bytes != ext->blob_bytes)
        return TD_CORRUPT;
    blob->state = TDI_BLOB_NAMED;
    *out = blob;
    return TD_OK;
}

td_status tdi_blob_pass(tdi_blob *blob, tdi_session *to)
{
    if (!tdi_blobs_offered(to))
        return TD_TOO_LARGE;
    const bool agent = to->role == TDI_ROLE_AGENT;
    if (agent && to->blobs_with_calls >= to->bridge->options.blobs)
        return TD_BUSY;
    const tdi_blob_message said = {.op = TDI_BLOB_PASSED, .id = blob->id, .bytes = blob->bytes};
    if (to->ended)
        return TD_BUSY;
    if (tell(to, &said, blob->fd) != TD_OK)
        return TD_ERR_SYSTEM;
    to->blobs_with_calls += agent;
    return TD_OK;
}

td_status tdi_blob_give(tdi_blob *blob, tdi_session *to)
{
    uncharge(blob);
    td_status status = tdi_blobs_offered(to) ? room_with(to, blob->bytes) : TD_TOO_LARGE;
    if (status == TD_OK)
        status = tdi_blob_pass(blob, to);
    if (status != TD_OK)
        return status;
    charge(blob, to);
    blob->state = TDI_BLOB_READ;
    tdi_blob_shut(blob);
    return TD_OK;
}
