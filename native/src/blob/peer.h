/* peer.h - the orchestrator's or an agent's part in blobs: ask, fill, commit; receive, open, drop.
 *
 * It is also the one reader of a peer's socket after the handshake: blobs that are passed wait
 * here until the frame that names them is read.
 *
 * Threads: one at a time, the one that has the session.
 * Memory:  holds the fds of what was passed and not opened; tdi_blob_peer_end closes them.
 * Errors:  td_status with a sentence in `error`.
 */
#ifndef TDI_BLOB_PEER_H
#define TDI_BLOB_PEER_H

#include <stdbool.h>

#include "blob/blob.h"

typedef struct tdi_blob_held {
    uint64_t id, bytes;
    int fd;
} tdi_blob_held;

typedef struct tdi_blob_peer {
    bool on;            /* the feature is in force */
    uint64_t bytes_max; /* of one blob, as WELCOME said */
    uint32_t request;   /* our last question */
    bool answered;
    tdi_blob_message answer; /* to it */
    int answer_fd;
    uint32_t held_total;
    tdi_blob_held held[TDI_BLOBS_SESSION_MAX];
} tdi_blob_peer;

/* A blob of ours that may be named now. */
typedef struct tdi_blob_name {
    uint64_t id, bytes;
    uint32_t crc;
} tdi_blob_name;

/* As WELCOME agreed; bytes_max 0: not at all. */
void tdi_blob_peer_begin(tdi_blob_peer *peer, uint64_t features, uint64_t bytes_max);
void tdi_blob_peer_end(tdi_blob_peer *peer);

/* Take one message off the socket, without waiting. TD_ERR_AGAIN: none. TD_OK: taken.
 * TD_ERR_REFUSED: a goodbye, in `error`. TD_ERR_CLOSED: the end. TD_CORRUPT. */
td_status tdi_blob_listen(int socket_fd, tdi_blob_peer *peer, tdi_error *error);

/* Have a blob made, fill it and commit it; waits for the bridge's two answers, two seconds each at
 * most. TD_TOO_LARGE: over bytes_max or the quota for ever. TD_BUSY: over the quota now, no memory,
 * or no answer. TD_ERR_CLOSED. */
td_status tdi_blob_send(int socket_fd, tdi_blob_peer *peer, const td_view *parts,
                        size_t parts_total, tdi_blob_name *out, tdi_error *error);

/* Open what was passed, for the frame that names it. TD_CORRUPT: it was not, or is not that. */
td_status tdi_blob_receive(int socket_fd, tdi_blob_peer *peer, uint64_t id, uint64_t bytes,
                           tdi_blob_view *out, tdi_error *error);

/* Say that a blob is not needed any more. */
void tdi_blob_drop(int socket_fd, uint64_t id);

#endif /* TDI_BLOB_PEER_H */
