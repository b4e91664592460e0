/* blob.h - sealed memory for one long body: its messages on a session's socket, filling, reading.
 *
 * The bridge makes every blob; a sender fills it and commits; the bridge seals it; a reader checks
 * the seals and maps it for reading. protocol/blobs.md says the whole of it. Nobody maps what a
 * peer made, and what is sealed cannot change under its reader.
 *
 * Threads: any, one at a time for one fd.
 * Memory:  a tdi_blob_view is a mapping; tdi_blob_close gives it back. fds stay the caller's.
 * Errors:  td_status with a sentence in `error`.
 */
#ifndef TDI_BLOB_H
#define TDI_BLOB_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tandem/agent.h"

enum {
    TDI_FEATURE_BLOBS = 1, /* a bit of HELLO's and WELCOME's features */
    TDI_BLOB_MESSAGE_BYTES = 32,
    TDI_BLOB_FRAME_BYTES = 4, /* body of the frame that names a blob: the blob's CRC32C */
    TDI_BLOBS_SESSION_MAX = 64
};

typedef enum tdi_blob_op {
    TDI_BLOB_WANT = 1,      /* peer: make one of `bytes` */
    TDI_BLOB_COMMIT = 2,    /* peer: it is filled, and mapped nowhere */
    TDI_BLOB_DROP = 3,      /* peer: done with one that was granted or passed */
    TDI_BLOB_GRANTED = 4,   /* bridge: here it is, with its fd; or a status and none */
    TDI_BLOB_COMMITTED = 5, /* bridge: it is sealed; or a status */
    TDI_BLOB_PASSED = 6     /* bridge: one that a coming frame names, with its fd */
} tdi_blob_op;

typedef struct tdi_blob_message {
    uint16_t op, status;
    uint32_t request; /* the peer's number for its question, and for the answer to it */
    uint64_t id, bytes;
} tdi_blob_message;

void tdi_blob_encode(const tdi_blob_message *message, uint8_t *data);
/* Looks like one? Then TD_OK or TD_CORRUPT; something else: TD_ERR_REFUSED. */
td_status tdi_blob_decode(const uint8_t *data, size_t bytes, tdi_blob_message *out);

/* A memfd of this size that can neither shrink nor grow; no page of it is taken yet. */
td_status tdi_blob_create(uint64_t bytes, int *fd, tdi_error *error);
/* No more writing, for anybody. TD_BUSY: a writable mapping exists somewhere. */
td_status tdi_blob_seal(int fd, tdi_error *error);
/* Write the parts, from 0 on; *crc = CRC32C of them. TD_BUSY: the machine has no memory for it. */
td_status tdi_blob_fill(int fd, const td_view *parts, size_t parts_total, uint32_t *crc,
                        tdi_error *error);

typedef struct tdi_blob_view {
    const uint8_t *data; /* NULL: none */
    size_t bytes;
} tdi_blob_view;

/* Check seals and size, then map for reading. TD_CORRUPT: not what was announced. */
td_status tdi_blob_open(int fd, uint64_t bytes, tdi_blob_view *out, tdi_error *error);
/* Safe on a zeroed view. */
void tdi_blob_close(tdi_blob_view *view);

#endif /* TDI_BLOB_H */
