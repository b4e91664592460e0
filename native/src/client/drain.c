/* drain.c - completions on their way in: frames, fragments, sleeping, and the bridge's death. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "client/client_state.h"
#include "strict/strict.h"

/* A wait looks again after this long, even if nobody rang. It must never find anything. */
#define RESCUE_NS    (TDI_NS_PER_S / 2)
#define RINGING_MS   50
#define POLLS_A_LOOK 64
#define GOODBYES_MAX 4
#define MESSAGES_MAX 256 /* about blobs, in one look */
/* Beside completions, in one drain: a bridge that logs without end must not keep us here. */
#define OTHER_FRAMES_MAX 1024u

static td_status broke(tdi_client *client, const char *what)
{
    client->broken = TD_CORRUPT;
    return tdi_fail(&client->error, TD_CORRUPT, "the bridge broke the rules: %s", what);
}

int tdi_client_ended(tdi_client *client)
{
    for (int heard = 0, said = 0; !client->socket_ended; heard++) {
        const td_status status = tdi_blob_listen(client->socket_fd, &client->blobs, &client->error);
        if (status == TD_ERR_AGAIN)
            return 0;
        if (status == TD_OK && heard < MESSAGES_MAX)
            continue;
        if (status == TD_ERR_REFUSED && ++said <= GOODBYES_MAX)
            continue;             /* its end follows */
        client->socket_ended = 1; /* or it talks without end */
        if (client->error.text[0] == '\0')
            tdi_fail(&client->error, TD_ERR_CLOSED, "the bridge (pid %lld) has died",
                     (long long)client->bridge_pid);
    }
    return 1;
}

/* Free the slot, hand the completion out. */
static td_status deliver(tdi_client *client, const tdi_frame *frame, td_view body,
                         tdi_completion_fn fn, void *context)
{
    const uint32_t index = tdi_call_slot(frame->call_id);
    client_slot *slot = &client->slots[index];
    tdi_completion completion = {
        .call_id = frame->call_id,
        .status = (td_status)frame->aux,
        .started_ns = frame->time_ns,
        .elapsed_ns =
            frame->flags & TDI_FLAG_ELAPSED_US ? frame->aux2 * UINT64_C(1000) : frame->aux2,
        .body = body,
    };
    if (completion.status == TD_OK || completion.status == TD_FAILED) {
        if (td_strict_check(body.data, body.bytes) != TD_OK) {
            completion.status = TD_CORRUPT; /* this answer alone; its session is sound */
            completion.body = (td_view){NULL, 0};
        }
    } else if (body.bytes == 0 || (completion.status == TD_UNKNOWN &&
                                   td_strict_check(body.data, body.bytes) != TD_OK)) {
        completion.body = (td_view){NULL, 0};
    }
    slot->in_use = 0;
    client->bytes_used -= slot->charged;
    client->free_slots[client->free_total++] = index;
    client->stats.in_flight--;
    client->stats.completions++;
    client->stats.bytes_in += body.bytes;
    fn(context, &completion);
    return TD_OK;
}

static td_status check_completion(tdi_client *client, const tdi_frame *frame)
{
    const uint32_t index = tdi_call_slot(frame->call_id);
    if (index >= client->slots_total || !client->slots[index].in_use ||
        client->slots[index].generation != tdi_call_generation(frame->call_id))
        return broke(client, "it completed a call that is not in flight");
    if (frame->aux > TD_CORRUPT)
        return broke(client, "it sent a status that does not exist");
    return TD_OK;
}

/* The body is a blob: looked at where it lies, for it cannot change any more. */
static td_status deliver_blob(tdi_client *client, const tdi_frame *frame, const tdi_extension *ext,
                              tdi_completion_fn fn, void *context)
{
    tdi_blob_view view = {0};
    uint32_t crc;
    if (!(ext->present & 1u << TDI_EXT_BLOB) || frame->aux != TD_OK ||
        frame->body_bytes != TDI_BLOB_FRAME_BYTES)
        return broke(client, "a blob that is none");
    td_status status = tdi_blob_receive(client->socket_fd, &client->blobs, ext->blob_id,
                                        ext->blob_bytes, &view, &client->error);
    if (status != TD_OK) {
        client->broken = status;
        return status;
    }
    memcpy(&crc, client->scratch, sizeof crc);
    tdi_frame words = *frame;
    td_view body = {view.data, view.bytes};
    if (tdi_crc32c(0, view.data, view.bytes) != crc) {
        words.aux = TD_CORRUPT; /* its agent's doing; the session is sound */
        body = (td_view){NULL, 0};
    }
    status = deliver(client, &words, body, fn, context);
    tdi_blob_close(&view);
    tdi_blob_drop(client->socket_fd, ext->blob_id);
    return status;
}

static td_status begin_long(tdi_client *client, const tdi_frame *frame, const tdi_extension *ext,
                            const uint8_t *piece)
{
    client_inbound *in = &client->inbound;
    if (!(ext->present & 1u << TDI_EXT_TOTAL) || ext->total_bytes <= frame->body_bytes ||
        ext->total_bytes > client->body_bytes_max)
        return broke(client, "a fragmented body of impossible length");
    in->body = malloc((size_t)ext->total_bytes);
    if (in->body == NULL) {
        client->broken = TD_ERR_MEMORY;
        return tdi_fail(&client->error, TD_ERR_MEMORY, "no memory for a reply of %llu bytes",
                        (unsigned long long)ext->total_bytes);
    }
    in->bytes = (size_t)ext->total_bytes;
    in->index = 1;
    in->first = *frame;
    in->at = frame->body_bytes;
    memcpy(in->body, piece, frame->body_bytes);
    return TD_OK;
}

static td_status go_on_long(tdi_client *client, const tdi_frame *frame, const uint8_t *piece,
                            tdi_completion_fn fn, void *context)
{
    client_inbound *in = &client->inbound;
    const int more = (frame->flags & TDI_FLAG_MORE) != 0;
    if (in->body == NULL || frame->call_id != in->first.call_id || frame->aux != in->index ||
        frame->body_bytes == 0 || frame->body_bytes > in->bytes - in->at ||
        (in->bytes - in->at == frame->body_bytes) == more)
        return broke(client, "a fragment out of place");
    memcpy(in->body + in->at, piece, frame->body_bytes);
    in->at += frame->body_bytes;
    in->index++;
    if (more)
        return TD_OK;
    const client_inbound whole = *in;
    *in = (client_inbound){0};
    const td_status status =
        deliver(client, &whole.first, (td_view){whole.body, whole.bytes}, fn, context);
    free(whole.body);
    return status;
}

/* One frame, header in `frame`. *handed += 1 when a completion went out. */
static td_status take_one(tdi_client *client, const tdi_frame *frame, tdi_completion_fn fn,
                          void *context)
{
    uint8_t ext_bytes[TDI_EXT_BYTES_MAX];
    tdi_extension ext;
    if (tdi_ring_take(&client->rx, frame, ext_bytes, client->scratch) != TD_OK)
        return broke(client, "a body's checksum is wrong");
    if (tdi_extension_parse(ext_bytes, 8u * frame->ext_units, &ext) != TD_OK)
        return broke(client, "malformed extension");
    if (frame->kind == TDI_KIND_CONT)
        return go_on_long(client, frame, client->scratch, fn, context);
    if (frame->kind == TDI_KIND_LOG) {
        tdi_client_keep_log(client, frame, client->scratch);
        return TD_OK;
    }
    if (frame->kind == TDI_KIND_EVENT) {
        const td_view rows = {client->scratch, frame->body_bytes};
        return tdi_client_learn(client, rows) == TD_OK ? TD_OK : broke(client, "a malformed event");
    }
    if (frame->kind != TDI_KIND_COMPLETION || client->inbound.body != NULL)
        return broke(client, "a frame of a kind that has no place here");
    const td_status status = check_completion(client, frame);
    if (status != TD_OK)
        return status;
    if (frame->flags & TDI_FLAG_MORE)
        return begin_long(client, frame, &ext, client->scratch);
    if (frame->flags & TDI_FLAG_BLOB)
        return deliver_blob(client, frame, &ext, fn, context);
    return deliver(client, frame, (td_view){client->scratch, frame->body_bytes}, fn, context);
}

/* Everything that is in the ring now, at most `max` completions. */
static td_status take_all(tdi_client *client, size_t max, tdi_completion_fn fn, void *context)
{
    td_status status = TD_OK;
    const uint64_t before = client->stats.completions;
    const uint64_t room = client->rx.capacity / 4;
    for (uint64_t frames = 0; client->stats.completions - before < max; frames++) {
        if (frames - (client->stats.completions - before) >= OTHER_FRAMES_MAX)
            break;
        tdi_frame frame;
        status = tdi_ring_peek(&client->rx, &frame);
        if (status == TD_CORRUPT)
            status = broke(client, "a frame or cursor makes no sense");
        if (status == TD_OK)
            status = take_one(client, &frame, fn, context);
        if (status != TD_OK)
            break;
        /* Give room back in large steps, so that a long body flows. */
        if (client->rx.at - atomic_load_explicit(client->rx.head, memory_order_relaxed) >= room) {
            tdi_ring_release(&client->rx);
            tdi_client_ring_bell(client, &client->space_rope);
        }
    }
    tdi_ring_release(&client->rx);
    tdi_client_ring_bell(client, &client->space_rope);
    return status == TD_ERR_AGAIN ? TD_OK : status;
}

static td_status drain(tdi_client *client, size_t max, tdi_completion_fn fn, void *context,
                       int *more, int arm)
{
    if (client->draining)
        return tdi_fail(&client->error, TD_ERR_ARGUMENT, "drain called from its own callback");
    if (client->broken != TD_OK)
        return client->broken;
    /* The bridge rings only for an odd ticket, so an even one needs no look at the pipe. */
    if (client->sleep.value & 1 || client->space.value & 1) {
        tdi_bell_disarm(&client->sleep);
        client->stats.doorbells_taken += (uint64_t)tdi_bell_drain(client->bell_in_fd);
    }
    client->draining = 1;
    const uint64_t before = client->stats.completions;
    td_status status = take_all(client, max, fn, context);
    client->draining = 0;
    if (status == TD_OK && tdi_client_pump(client) == TD_CORRUPT)
        status = TD_CORRUPT;
    if (status != TD_OK)
        return status;
    *more = tdi_ring_waiting(&client->rx);
    if (*more || client->stats.completions != before) {
        if (!*more && arm) {
            tdi_bell_arm(&client->sleep);
            *more = tdi_ring_waiting(&client->rx);
        }
        return TD_OK;
    }
    /* Nothing came. Death is announced by the socket, after everything that was published. A
     * caller that polls in a loop pays for that look only now and then. */
    if ((arm || ++client->empty_polls % POLLS_A_LOOK == 0) && tdi_client_ended(client)) {
        *more = tdi_ring_waiting(&client->rx);
        if (*more)
            return TD_OK;
        client->broken = TD_ERR_CLOSED;
        return TD_ERR_CLOSED;
    }
    if (arm) {
        tdi_bell_arm(&client->sleep);
        *more = tdi_ring_waiting(&client->rx);
    }
    return TD_OK;
}

td_status tdi_client_drain(tdi_client *client, size_t max, tdi_completion_fn fn, void *context,
                           int *more)
{
    return drain(client, max, fn, context, more, 1);
}

td_status tdi_client_poll(tdi_client *client, size_t max, tdi_completion_fn fn, void *context,
                          int *more)
{
    return drain(client, max, fn, context, more, 0);
}

static td_status spin(tdi_client *client, uint64_t now_ns, uint64_t spin_ns)
{
    while (!tdi_ring_waiting(&client->rx)) {
        if (!tdi_spin_once(&client->spin, now_ns, spin_ns))
            return TD_ERR_AGAIN;
        now_ns = tdi_now_ns();
    }
    tdi_spin_end(&client->spin);
    return TD_OK;
}

/* Sleep once, at most until `until_ns`. TD_ERR_AGAIN: nothing yet. */
static td_status sleep_once(tdi_client *client, uint64_t until_ns)
{
    tdi_bell_arm(&client->sleep);
    if (tdi_ring_waiting(&client->rx))
        return TD_OK;
    const uint64_t now = tdi_now_ns();
    const uint64_t left = until_ns > now ? until_ns - now : 0;
    const uint64_t slice = left < RESCUE_NS ? left : RESCUE_NS;
    const struct timespec limit = {.tv_sec = (time_t)(slice / TDI_NS_PER_S),
                                   .tv_nsec = (long)(slice % TDI_NS_PER_S)};
    struct pollfd wanted[2] = {{.fd = client->bell_in_fd, .events = POLLIN},
                               {.fd = client->socket_fd, .events = POLLIN}};
    const int ready = ppoll(wanted, 2, &limit, NULL);
    if (ready < 0 && errno != EINTR)
        return tdi_fail(&client->error, TD_ERR_SYSTEM, "ppoll: %s", strerror(errno));
    if (wanted[0].revents != 0)
        client->stats.doorbells_taken += (uint64_t)tdi_bell_drain(client->bell_in_fd);
    if (tdi_ring_waiting(&client->rx)) {
        /* Nobody rang, or the bridge has published and is just about to: give it time. */
        if (ready == 0 && poll(wanted, 1, RINGING_MS) == 0)
            client->stats.rescues++;
        return TD_OK;
    }
    if (wanted[1].revents != 0 && tdi_client_ended(client) && !tdi_ring_waiting(&client->rx)) {
        client->broken = TD_ERR_CLOSED;
        return TD_ERR_CLOSED;
    }
    return left == 0 ? TD_TIMED_OUT : TD_ERR_AGAIN;
}

td_status tdi_client_wait(tdi_client *client, uint64_t timeout_ns)
{
    if (client->broken != TD_OK)
        return client->broken;
    const uint64_t now = tdi_now_ns();
    const uint64_t until_ns = timeout_ns < UINT64_MAX - now ? now + timeout_ns : UINT64_MAX;
    td_status status =
        spin(client, now, client->spin_ns < timeout_ns ? client->spin_ns : timeout_ns);
    while (status == TD_ERR_AGAIN) {
        if (tdi_client_pump(client) == TD_CORRUPT)
            return TD_CORRUPT;
        status = sleep_once(client, until_ns);
    }
    tdi_bell_disarm(&client->sleep);
    return status;
}
