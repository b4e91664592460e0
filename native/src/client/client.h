/* client.h - the orchestrator's or an agent's end of one session with a bridge.
 *
 * Connect, handshake (SO_PEERCRED checked, HELLO / WELCOME), map the two memfds, take slots,
 * push CALL frames, drain COMPLETION frames. Knows no Python; `native/ext` only binds it.
 *
 * In an event loop: drain when tdi_client_fd() or tdi_client_socket_fd() is readable, and again
 * at once while *more is 1. Otherwise: tdi_client_wait(), then drain. Either way a long body on
 * its way out goes on inside these calls.
 *
 * Threads: one thread at a time uses a client (the extension holds the GIL, or a lock of its own).
 * Memory:  everything is taken at connect; a call allocates only for a fragmented body.
 * Errors:  td_status; out-parameters change only on TD_OK. `tdi_client_error` has the sentence.
 */
#ifndef TDI_CLIENT_H
#define TDI_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "tandem/agent.h"
#include "tandem/status.h"

typedef struct tdi_client tdi_client;

typedef struct tdi_client_options {
    const char *socket_path;
    const char *name;     /* shown in health, e.g. "orchestrator-01H..." */
    const char *build_id; /* NULL: tdi_build_id(); one that the bridge's differs from is refused */
    uint64_t timeout_ns;  /* for connect + handshake */
    uint32_t spin_ns;     /* before sleeping in tdi_client_wait */
} tdi_client_options;

/* One action the bridge offers, learned in WELCOME. Strings live as long as the client. */
typedef struct tdi_client_action {
    const char *agent, *name, *version;
    uint32_t id;
    uint8_t effects, runs, deterministic;
    uint8_t in_programs; /* 1: a program may hold it */
    uint8_t takes_blobs; /* 1: payload and inputs may exceed 64 MiB, as one blob */
} tdi_client_action;

typedef struct tdi_call_request {
    uint32_t action_id; /* RUN: the program's id */
    uint16_t attempt;
    uint8_t kind;             /* TDI_KIND_CALL (0 is the same), _LOAD or _RUN */
    uint8_t lane;             /* 0 = most urgent .. 3 */
    uint64_t deadline_ns;     /* CLOCK_MONOTONIC, 0 = none */
    uint32_t reply_bytes_max; /* charged in advance; 0: as long as it may be, charged as it grows */
    td_view body;             /* strict MessagePack; with inputs at most 64 MiB, or, where the
                                 action takes blobs, at most the session's blob; borrowed */
    td_view inputs;           /* strict MessagePack map or empty; borrowed */
    td_view idempotency_key;  /* <= 64 bytes or empty; borrowed */
    td_view cpus;             /* where to run it, as in worker/cpus.h, or empty; borrowed */
} tdi_call_request;

typedef struct tdi_completion {
    uint64_t call_id;
    td_status status;
    uint64_t started_ns;
    uint64_t elapsed_ns;
    /* Borrowed until the callback returns. TD_OK and TD_FAILED: strict MessagePack, checked here
     * (what is not becomes TD_CORRUPT); TD_UNKNOWN: perhaps how
     * its agent died; any other status: absent. */
    td_view body;
} tdi_completion;

/* May call everything but drain, poll, wait and close on the same client. */
typedef void (*tdi_completion_fn)(void *context, const tdi_completion *completion);

/* TD_ERR_CLOSED: nobody listens there. TD_TIMED_OUT. TD_BUSY: no session left in the budget.
 * TD_ERR_REFUSED: another uid, build, protocol. TD_CORRUPT: no bridge at all. TD_ERR_SYSTEM. */
td_status tdi_client_connect(const tdi_client_options *options, tdi_client **out);
/* NULL is fine. Calls in flight are the bridge's to cancel. In a forked child: closes the fds
 * and leaves the mappings, which the child does not have, alone. */
void tdi_client_close(tdi_client *client);
/* The sentence of the last failure. NULL: of this thread's last failed connect. */
const char *tdi_client_error(const tdi_client *client);

size_t tdi_client_actions(const tdi_client *client, const tdi_client_action **out);
/* Changes when actions came or went (learned while draining); then ask tdi_client_actions again,
 * whose table has moved, and whose strings may be gone. */
uint64_t tdi_client_actions_version(const tdi_client *client);
uint64_t tdi_client_bridge_pid(const tdi_client *client);
/* What the bridge was asked to have and was refused, as it said in WELCOME: lines with '\n' between
 * them, or "". Cut at 1,023 bytes. */
const char *tdi_client_notes(const tdi_client *client);

/* Readable when completions may be waiting, or at the bridge's death. */
int tdi_client_fd(const tdi_client *client);        /* doorbell pipe */
int tdi_client_socket_fd(const tdi_client *client); /* EOF = the bridge died */

/* Push one call; a body that takes a blob waits for the bridge's two answers, two seconds each at
 * most. TD_BUSY: no slot, quota, blob or ring room now, or a long body is still on its way
 * out: drain, then try again. TD_TOO_LARGE. TD_ERR_ARGUMENT: lane or key. TD_ERR_CLOSED,
 * TD_CORRUPT: the session is over. */
td_status tdi_client_call(tdi_client *client, const tdi_call_request *request, uint64_t *call_id);
/* Calls made from here to tdi_client_show reach the bridge together: one published tail, at most
 * one doorbell. Keep it short; a full ring and a long body show what is held by themselves. */
void tdi_client_hold(tdi_client *client);
void tdi_client_show(tdi_client *client);
/* Ask to stop; no frame, wait-free. A completion still comes. TD_ERR_ARGUMENT: not in flight. */
td_status tdi_client_cancel(tdi_client *client, uint64_t call_id);
/* done/total as last reported by the action; both 0 before the first report. */
td_status tdi_client_progress(tdi_client *client, uint64_t call_id, uint64_t *done,
                              uint64_t *total);

/* The statistics page's fd, for reading only, as long as the client; protocol/statistics.md. */
int tdi_client_statistics_fd(const tdi_client *client);

/* A line that an agent logged for one of our calls; `text` is UTF-8 or meant to be. */
typedef struct tdi_client_log {
    uint64_t call_id; /* in flight, or completed by the same drain */
    uint32_t action_id, level;
    uint32_t part;    /* the program's step + 1; 0 where the call is no program */
    uint32_t dropped; /* lines before this one that nobody will see */
    uint16_t attempt;
    char *text; /* the client's; valid during tdi_client_log_fn */
    size_t bytes;
} tdi_client_log;
typedef void (*tdi_client_log_fn)(void *context, const tdi_client_log *line);
enum { TDI_CLIENT_LOGS_MAX = 256 }; /* kept; more are dropped and counted */
size_t tdi_client_logs_waiting(const tdi_client *client);
/* Hand out the lines that came with drains so far, and forget them; fn NULL only forgets. */
void tdi_client_take_logs(tdi_client *client, tdi_client_log_fn fn, void *context);

/* Hand every waiting completion to `fn` (at most `max`); then arm the sleep ticket if the ring
 * is empty. *more = 1 when something is left. TD_ERR_CLOSED once the bridge is dead and drained;
 * TD_CORRUPT: it broke the rules, give it up. Both stay; ask tdi_client_fate about the rest. */
td_status tdi_client_drain(tdi_client *client, size_t max, tdi_completion_fn fn, void *context,
                           int *more);
/* The same, but without arming: for a caller that will look again at once, so that the bridge
 * need not ring. Its last look before it sleeps must be tdi_client_drain. */
td_status tdi_client_poll(tdi_client *client, size_t max, tdi_completion_fn fn, void *context,
                          int *more);
/* Block until something can be drained, the timeout, or death. TD_TIMED_OUT, TD_ERR_CLOSED. */
td_status tdi_client_wait(tdi_client *client, uint64_t timeout_ns);
/* Was this call, still in flight, popped by the bridge? After the session's end final:
 * TD_NOT_STARTED (never) or TD_UNKNOWN (may have run). TD_ERR_ARGUMENT: not in flight. */
td_status tdi_client_fate(const tdi_client *client, uint64_t call_id);

/* Calls in flight; calls and body bytes both ways; `rescues` counts wake-ups that only the timed
 * look found, and must stay 0. */
typedef struct tdi_client_stats {
    uint64_t calls, completions, bytes_out, bytes_in, doorbells_rung, doorbells_taken, rescues;
    uint32_t in_flight, slots;
} tdi_client_stats;
void tdi_client_stats_read(const tdi_client *client, tdi_client_stats *out);

#endif /* TDI_CLIENT_H */
