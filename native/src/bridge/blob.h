/* bridge/blob.h - the bridge's blobs: who holds which, in what state, and within which quota.
 *
 * A blob is charged to one session (or, for a moment, to none) and to the bridge from its making
 * to its release. The bridge keeps the fd only until it is passed: whoever closes a memfd last
 * frees its pages, and that should be a reader.
 *
 * Threads: the main thread.
 * Memory:  a blob lives until its last reference is released; a session's end releases its own.
 * Errors:  TD_BUSY over a quota now, TD_TOO_LARGE over it for ever, TD_CORRUPT: the peer broke the
 *          rules and loses its session.
 */
#ifndef TDI_BRIDGE_BLOB_H
#define TDI_BRIDGE_BLOB_H

#include "blob/blob.h"
#include "bridge/bridge.h"

enum {
    TDI_BLOBS_DEFAULT = 8,         /* a session's; --blobs */
    TDI_BLOBS_TOTAL = 128,         /* of all sessions together */
    TDI_BLOB_MESSAGES_A_LOOK = 16, /* of one session */
    TDI_BLOB_BROADCAST_BYTES =
        1 << 20 /* from here a blob beats copies: benchmarks/blobs.py --sweep */
};
#define TDI_BLOB_BYTES_DEFAULT (UINT64_C(1) << 30) /* a session's; --blob-bytes */
#define TDI_BLOB_BYTES_TOTAL   (UINT64_C(2) << 30) /* of all sessions; --blob-bytes-total */

typedef enum tdi_blob_state {
    TDI_BLOB_FILLING, /* its maker may write */
    TDI_BLOB_SEALED,  /* its maker may name it */
    TDI_BLOB_NAMED,   /* a call has it */
    TDI_BLOB_READ     /* its holder got it with a completion, and will drop it */
} tdi_blob_state;

struct tdi_blob {
    tdi_blob *next;
    tdi_bridge *bridge;
    tdi_session *holder; /* charged for it; NULL: nobody any more */
    uint64_t id, bytes;
    int fd; /* -1: passed, and not needed here */
    uint32_t references;
    tdi_blob_state state;
};

/* blob.c */
static inline bool tdi_blobs_offered(const tdi_session *session)
{
    return (session->features & TDI_FEATURE_BLOBS) != 0;
}
/* One message of a peer after its handshake. TD_CORRUPT. */
td_status tdi_blob_hear(tdi_session *session, const uint8_t *message, size_t bytes);
/* A sealed blob of this body, charged to `holder`; the caller has its one reference. */
td_status tdi_blob_of(tdi_session *holder, td_view body, uint32_t *crc, tdi_blob **out);
/* The blob that a frame names becomes a call's, with one reference. TD_CORRUPT: not the session's
 * own, not sealed, of another length, or a frame that no honest peer sends. */
td_status tdi_blob_named(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                         tdi_blob **out);
/* Send its fd. TD_BUSY: the peer has as many as it may, and gives some back. TD_ERR_SYSTEM: an fd
 * cannot be sent now, and nothing says when it can. TD_TOO_LARGE: it never offered to take blobs.
 */
td_status tdi_blob_pass(tdi_blob *blob, tdi_session *to);
/* Charge it to the reader of a completion, which drops it. TD_BUSY: over its quota. */
td_status tdi_blob_give(tdi_blob *blob, tdi_session *to);
void tdi_blob_keep(tdi_blob *blob);
void tdi_blob_release(tdi_blob *blob); /* NULL is fine */
void tdi_blob_shut(tdi_blob *blob);    /* its fd is not needed here any more */
/* The session has ended. */
void tdi_blobs_orphan(tdi_session *session);

/* blob_call.c */
/* A frame of an orchestrator with the flag BLOB. TD_CORRUPT. */
td_status tdi_blob_call(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                        const uint8_t *ext_bytes, const uint8_t *body);
/* Hand the blob of an agent's answer to its caller; on failure the answer becomes TD_TOO_LARGE. */
void tdi_blob_answer(tdi_session *caller, uint32_t reply_bytes_max, tdi_reply *reply);

#endif /* TDI_BRIDGE_BLOB_H */
