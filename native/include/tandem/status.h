/* status.h - what a native call can end with.
 *
 * Threads: constants only.  Memory: none.  Errors: none.
 * The numbers of TD_OK .. TD_CORRUPT travel in frames (COMPLETION, offset 30) and are
 * described once in protocol/statuses.tsv; negative ones never leave a process.
 */
#ifndef TANDEM_STATUS_H
#define TANDEM_STATUS_H

typedef enum td_status {
    TD_OK = 0,          /* the action ran and its output is in the body */
    TD_FAILED = 1,      /* the action ran and called td_fail(); body = {"type","message"} */
    TD_TIMED_OUT = 2,   /* the deadline passed before or while it ran */
    TD_CANCELLED = 3,   /* the caller asked to stop and it did */
    TD_UNKNOWN = 4,     /* it may have run: its process died after taking it */
    TD_NOT_STARTED = 5, /* it certainly never ran: retry freely */
    TD_NO_AGENT = 6,    /* no such agent or action here */
    TD_BUSY = 7,        /* no slot, credit or quota left: retry later */
    TD_TOO_LARGE = 8,   /* a body or reply is over its limit */
    TD_CORRUPT = 9,     /* a frame or body broke the rules */

    TD_ERR_AGAIN = -1,   /* nothing there now; never an error of the peer */
    TD_ERR_FULL = -2,    /* the ring has no room now */
    TD_ERR_CLOSED = -3,  /* the session or peer is gone */
    TD_ERR_SYSTEM = -4,  /* errno has the reason */
    TD_ERR_MEMORY = -5,  /* an allocation failed */
    TD_ERR_REFUSED = -6, /* the peer refused the handshake; a text says why */
    TD_ERR_ARGUMENT = -7 /* the caller broke the contract */
} td_status;

#endif /* TANDEM_STATUS_H */
