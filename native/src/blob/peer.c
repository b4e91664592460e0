#include "blob/peer.h"

#include <string.h>

#include "base/clock.h"
#include "wire/channel.h"
#include "wire/handshake.h"

#define ANSWER_NS_MAX (2 * TDI_NS_PER_S)

void tdi_blob_peer_begin(tdi_blob_peer *peer, uint64_t features, uint64_t bytes_max)
{
    *peer = (tdi_blob_peer){.on = (features & TDI_FEATURE_BLOBS) != 0 && bytes_max > 0,
                            .bytes_max = bytes_max,
                            .answered = true, /* nothing was asked */
                            .answer_fd = -1};
}

void tdi_blob_peer_end(tdi_blob_peer *peer)
{
    for (uint32_t i = 0; i < peer->held_total; i++)
        tdi_close_all(&peer->held[i].fd, 1);
    if (peer->on)
        tdi_close_all(&peer->answer_fd, 1);
    tdi_blob_peer_begin(peer, 0, 0);
}

static td_status say(int socket_fd, const tdi_blob_message *message, tdi_error *error)
{
    uint8_t data[TDI_BLOB_MESSAGE_BYTES];
    tdi_blob_encode(message, data);
    return tdi_channel_send(socket_fd, data, sizeof data, NULL, 0, error);
}

void tdi_blob_drop(int socket_fd, uint64_t id)
{
    /* A bridge that cannot be told frees it with the session. */
    say(socket_fd, &(tdi_blob_message){.op = TDI_BLOB_DROP, .id = id}, NULL);
}

/* Keep what the message brings. Takes the fd (-1: none) on TD_OK. */
static td_status keep(int socket_fd, tdi_blob_peer *peer, const tdi_blob_message *message, int fd)
{
    const bool passed = message->op == TDI_BLOB_PASSED;
    const bool granted = message->op == TDI_BLOB_GRANTED && message->status == TD_OK;
    if (message->op < TDI_BLOB_GRANTED || (fd >= 0) != (passed || granted))
        return TD_CORRUPT;
    if (passed) {
        if (peer->held_total == TDI_BLOBS_SESSION_MAX)
            return TD_CORRUPT;
        peer->held[peer->held_total++] = (tdi_blob_held){message->id, message->bytes, fd};
        return TD_OK;
    }
    if (message->request == peer->request && !peer->answered) {
        peer->answer = *message;
        peer->answer_fd = fd;
        peer->answered = true;
        return TD_OK;
    }
    if (granted) { /* later than we waited */
        tdi_close_all(&fd, 1);
        tdi_blob_drop(socket_fd, message->id);
    }
    return TD_OK;
}

td_status tdi_blob_listen(int socket_fd, tdi_blob_peer *peer, tdi_error *error)
{
    uint8_t data[512];
    size_t bytes, fds_total = 0;
    int fds[TDI_CHANNEL_FDS];
    td_status status = tdi_channel_receive(socket_fd, data, sizeof data, &bytes,
                                           peer->on ? fds : NULL, &fds_total, NULL);
    if (status == TD_ERR_AGAIN)
        return status;
    if (status != TD_OK)
        return TD_ERR_CLOSED;
    tdi_blob_message message;
    status = tdi_blob_decode(data, bytes, &message);
    if (status == TD_ERR_REFUSED)
        tdi_goodbye_decode(data, bytes, error);
    else if (status == TD_OK)
        status = peer->on && fds_total <= 1
                     ? keep(socket_fd, peer, &message, fds_total == 1 ? fds[0] : -1)
                     : TD_CORRUPT;
    if (status != TD_OK)
        tdi_close_all(fds, fds_total);
    if (status == TD_CORRUPT)
        tdi_fail(error, TD_CORRUPT, "the bridge broke the rules: a message out of place");
    return status;
}

/* Ask, and wait for the answer; its fd is in peer->answer_fd. */
static td_status ask(int socket_fd, tdi_blob_peer *peer, tdi_blob_message *message,
                     tdi_error *error)
{
    message->request = ++peer->request;
    peer->answered = false;
    td_status status = say(socket_fd, message, error);
    const uint64_t until_ns = tdi_now_ns() + ANSWER_NS_MAX;
    while (status == TD_OK && !peer->answered) {
        status = tdi_channel_wait(socket_fd, until_ns, error);
        if (status == TD_OK)
            status = tdi_blob_listen(socket_fd, peer, error);
        if (status == TD_ERR_AGAIN)
            status = TD_OK;
    }
    if (status == TD_OK) {
        status = (td_status)peer->answer.status;
        if (peer->answer.op == message->op + 3u &&
            (status == TD_OK || status == TD_BUSY || status == TD_TOO_LARGE))
            return status;
        tdi_close_all(&peer->answer_fd, 1);
        return tdi_fail(error, TD_CORRUPT, "the bridge broke the rules: another answer than asked");
    }
    peer->answered = true; /* an answer that comes now comes too late */
    return status == TD_ERR_CLOSED || status == TD_ERR_REFUSED ? TD_ERR_CLOSED
           : status == TD_CORRUPT                              ? TD_CORRUPT
                                                               : TD_BUSY;
}

td_status tdi_blob_send(int socket_fd, tdi_blob_peer *peer, const td_view *parts,
                        size_t parts_total, tdi_blob_name *out, tdi_error *error)
{
    uint64_t total = 0;
    for (size_t i = 0; i < parts_total; i++)
        total += parts[i].bytes;
    if (!peer->on || total > peer->bytes_max)
        return tdi_fail(error, TD_TOO_LARGE, "a body of %llu bytes, at most %llu",
                        (unsigned long long)total, (unsigned long long)peer->bytes_max);
    tdi_blob_message message = {.op = TDI_BLOB_WANT, .bytes = total};
    td_status status = ask(socket_fd, peer, &message, error);
    if (status != TD_OK) {
        if (status == TD_BUSY || status == TD_TOO_LARGE)
            tdi_fail(error, status, "the bridge has no blob of %llu bytes for this session%s",
                     (unsigned long long)total, status == TD_BUSY ? " now" : "");
        return status;
    }
    int fd = peer->answer_fd;
    peer->answer_fd = -1;
    *out = (tdi_blob_name){.id = peer->answer.id, .bytes = total};
    status = tdi_blob_fill(fd, parts, parts_total, &out->crc, error);
    tdi_close_all(&fd, 1);
    if (status == TD_OK) {
        message = (tdi_blob_message){.op = TDI_BLOB_COMMIT, .id = out->id};
        status = ask(socket_fd, peer, &message, error);
    }
    if (status != TD_OK && status != TD_ERR_CLOSED)
        tdi_blob_drop(socket_fd, out->id);
    return status;
}

td_status tdi_blob_receive(int socket_fd, tdi_blob_peer *peer, uint64_t id, uint64_t bytes,
                           tdi_blob_view *out, tdi_error *error)
{
    for (;;) {
        for (uint32_t i = 0; i < peer->held_total; i++) {
            if (peer->held[i].id != id)
                continue;
            tdi_blob_held found = peer->held[i];
            peer->held[i] = peer->held[--peer->held_total];
            const td_status status =
                found.bytes == bytes
                    ? tdi_blob_open(found.fd, bytes, out, error)
                    : tdi_fail(error, TD_CORRUPT, "a frame and its blob differ in length");
            tdi_close_all(&found.fd, 1); /* the mapping outlives it */
            return status;
        }
        /* It was sent before the frame was shown, so it is here, or will never be. */
        const td_status status = tdi_blob_listen(socket_fd, peer, error);
        if (status != TD_OK && status != TD_ERR_REFUSED)
            return tdi_fail(error, TD_CORRUPT, "a frame names a blob that was never passed");
    }
}
