/* bell.h - how one end of a ring wakes the other: a pipe, and a ticket that says "I sleep".
 *
 * Sleeper: store an odd ticket, then load the cursor, and sleep only if nothing is there.
 * Waker:   store the cursor, then load the ticket, and write one byte for each new odd ticket.
 * All four are seq_cst, so at least one of the two sees the other. Release and acquire alone
 * lose wake-ups: both sides may read old values (a store buffer), and no sanitizer notices.
 *
 * Pipes, because their two ends have flags of their own: a peer cannot make our end blocking,
 * as it can with a shared eventfd.
 *
 * Threads: each end belongs to one thread.
 * Memory:  fds stay the caller's.
 * Errors:  none; a full pipe is already readable, a broken one shows as the peer's death.
 */
#ifndef TDI_BELL_H
#define TDI_BELL_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"

/* Waker's view of one ticket of the other side. */
typedef struct tdi_bell_rope {
    const _Atomic uint32_t *ticket;
    uint32_t rung; /* the odd ticket that we rang for last */
} tdi_bell_rope;

/* Call after publishing. Enters the kernel once a new odd ticket. Returns 1 if it rang. */
int tdi_bell_ring(tdi_bell_rope *rope, int write_fd);

/* Sleeper's own ticket. */
typedef struct tdi_bell_ticket {
    _Atomic uint32_t *shared;
    uint32_t value; /* odd: armed */
} tdi_bell_ticket;

/* Show a new odd ticket. The caller looks at the ring after this, before it sleeps. */
void tdi_bell_arm(tdi_bell_ticket *ticket);
/* Show an even ticket: awake, no ringing needed. */
void tdi_bell_disarm(tdi_bell_ticket *ticket);

/* Empty the pipe, of at most 64 KiB: its usual size. Returns the number of bytes taken. */
int tdi_bell_drain(int read_fd);

/* TD_OK when the fds that a bridge passed are the two ends of pipes and neither can make us wait;
 * else TD_CORRUPT. */
td_status tdi_bell_check(int read_fd, int write_fd, tdi_error *error);

#endif /* TDI_BELL_H */
