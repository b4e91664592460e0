/* client.h - the orchestrator's or an agent's end of one session with a bridge.
 *
 * Connect, handshake (SO_PEERCRED checked, HELLO / WELCOME), map the two memfds, take slots,
 * push CALL frames, drain COMPLETION frames. Knows no Python; `native/ext` only binds it.
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
    const char *build_id; /* hex digest; a differing one is refused with a clear line */
    uint64_t timeout_ns;  /* for connect + handshake */
    uint32_t spin_ns;     /* before sleeping in tdi_client_wait */
} tdi_client_options;

/* One action the bridge offers, learned in WELCOME (and again after CREDIT/REGISTER events). */
typedef struct tdi_client_action {
    const char *agent, *name, *version;
    uint32_t id;
    uint8_t effects, runs, deterministic;
} tdi_client_action;

typedef struct tdi_call_request {
    uint32_t action_id;
    uint16_t attempt;
    uint8_t lane;             /* 0 = most urgent .. 3 */
    uint64_t deadline_ns;     /* CLOCK_MONOTONIC, 0 = none */
    uint32_t reply_bytes_max; /* 0 = the session's default */
    td_view body;             /* strict MessagePack, at most 64 MiB; fragments are made here */
    td_view inputs;           /* strict MessagePack map or empty */
    td_view idempotency_key;  /* <= 64 bytes or empty */
} tdi_call_request;

typedef struct tdi_completion {
    uint64_t call_id;
    td_status status;
    uint64_t started_ns;
    uint64_t elapsed_ns;
    td_view body; /* borrowed until the callback returns */
} tdi_completion;

typedef void (*tdi_completion_fn)(void *context, const tdi_completion *completion);

td_status tdi_client_connect(const tdi_client_options *options, tdi_client **out);
void tdi_client_close(
    tdi_client *client); /* NULL is fine; after it in-flight calls are the bridge's to cancel */
const char *tdi_client_error(
    const tdi_client *client); /* NULL client: the last failed connect of this thread */

size_t tdi_client_actions(const tdi_client *client, const tdi_client_action **out);
uint64_t tdi_client_bridge_pid(const tdi_client *client);

/* Readable when completions may be waiting, or at the bridge's death. */
int tdi_client_fd(const tdi_client *client);        /* doorbell pipe */
int tdi_client_socket_fd(const tdi_client *client); /* EOF = the bridge died */

/* Push one call. TD_BUSY: no slot or ring room now. TD_TOO_LARGE. TD_ERR_CLOSED. */
td_status tdi_client_call(tdi_client *client, const tdi_call_request *request, uint64_t *call_id);
/* Ask to stop; no frame, wait-free. A completion still comes. TD_ERR_ARGUMENT: unknown call. */
td_status tdi_client_cancel(tdi_client *client, uint64_t call_id);
/* done/total as last reported by the action; both 0 before the first report. */
td_status tdi_client_progress(tdi_client *client, uint64_t call_id, uint64_t *done,
                              uint64_t *total);

/* Hand every waiting completion to `fn` (at most `max`); then arm the sleep ticket if the ring
 * is empty. *more = 1 when something is left. TD_ERR_CLOSED once the bridge is dead and drained. */
td_status tdi_client_drain(tdi_client *client, size_t max, tdi_completion_fn fn, void *context,
                           int *more);
/* The same, but without arming: for a caller that will look again at once, so that the bridge
 * need not ring. Its last look before it sleeps must be tdi_client_drain. */
td_status tdi_client_poll(tdi_client *client, size_t max, tdi_completion_fn fn, void *context,
                          int *more);
/* Block until something can be drained, the deadline, or death. TD_TIMED_OUT, TD_ERR_CLOSED. */
td_status tdi_client_wait(tdi_client *client, uint64_t timeout_ns);
/* After death: was this call popped by the bridge? TD_NOT_STARTED (never) or TD_UNKNOWN (may have
 * run). */
td_status tdi_client_fate(const tdi_client *client, uint64_t call_id);

/* Calls in flight; frames and bytes both ways, for metrics. */
typedef struct tdi_client_stats {
    uint64_t calls, completions, bytes_out, bytes_in, doorbells_rung, doorbells_taken, rescues;
    uint32_t in_flight, slots;
} tdi_client_stats;
void tdi_client_stats_read(const tdi_client *client, tdi_client_stats *out);

#endif /* TDI_CLIENT_H */
