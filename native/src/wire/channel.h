/* channel.h - the Unix socket of a session: addresses, peers' uids, messages with fds.
 *
 * The socket is SOCK_SEQPACKET: one send is one message. It carries the handshake, perhaps one
 * goodbye, and by its end the news of a death; frames never travel here.
 *
 * Threads: any, one at a time for one socket.
 * Memory:  none.
 * Errors:  td_status with a sentence in `error`; TD_ERR_CLOSED when the peer is gone.
 */
#ifndef TDI_CHANNEL_H
#define TDI_CHANNEL_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    TDI_SESSION_FDS = 4, /* memory and doorbells: all that an agent gets */
    TDI_CHANNEL_FDS = 5, /* and the statistics page, for orchestrators */
    TDI_MESSAGE_BYTES_MAX = 64 * 1024
};

/* Make a non-blocking, close-on-exec socket bound to `path` and listening; the caller has made
 * sure that nothing lies there. Paths longer than sun_path go through /proc/self/fd. */
td_status tdi_channel_listen(const char *path, int *fd, tdi_error *error);

/* Connect, waiting while the bridge's queue is full, until deadline_ns (CLOCK_MONOTONIC).
 * TD_ERR_CLOSED: nobody listens there. TD_TIMED_OUT. */
td_status tdi_channel_connect(const char *path, uint64_t deadline_ns, int *fd, tdi_error *error);

/* TD_OK when the process at the other end runs under our effective uid; else TD_ERR_REFUSED.
 * *pid is its pid as the kernel saw it. */
td_status tdi_channel_check_peer(int fd, int64_t *pid, tdi_error *error);

/* Send one message without waiting; fds may be NULL (0 of them). */
td_status tdi_channel_send(int fd, const void *data, size_t bytes, const int *fds, size_t fds_total,
                           tdi_error *error);

/* Receive one message without waiting. fds: room for TDI_CHANNEL_FDS, *fds_total set; NULL
 * discards what was passed. TD_ERR_AGAIN: nothing yet. TD_ERR_CLOSED: the end.
 * TD_TOO_LARGE: the message was longer than bytes_max. */
td_status tdi_channel_receive(int fd, void *data, size_t bytes_max, size_t *bytes, int *fds,
                              size_t *fds_total, tdi_error *error);

/* Wait until readable. TD_TIMED_OUT at deadline_ns. */
td_status tdi_channel_wait(int fd, uint64_t deadline_ns, tdi_error *error);

/* Close every fd that is not -1, and set it to -1. */
void tdi_close_all(int *fds, size_t fds_total);

#endif /* TDI_CHANNEL_H */
