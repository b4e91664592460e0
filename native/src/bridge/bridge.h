/* bridge.h - what the files of src/bridge share: the bridge, its sessions, calls and answers.
 *
 * Threads: everything belongs to the main thread, except where a field says otherwise. A pool
 *          thread touches one tdi_run, and of its session what tdi_run_* needs (atomics).
 * Memory:  the bridge owns sessions; a session lives until its last running call has returned.
 * Errors:  td_status.
 */
#ifndef TDI_BRIDGE_H
#define TDI_BRIDGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "bridge/budget.h"
#include "bridge/registry.h"
#include "ring/bell.h"
#include "ring/ring.h"
#include "shm/region.h"
#include "tandem/agent.h"
#include "wire/extension.h"
#include "wire/frame.h"
#include "wire/handshake.h"
#include "worker/pool.h"

enum {
    TDI_SLOTS_ORCHESTRATOR = 4096,
    TDI_BODY_BYTES_MAX = 64 << 20,
    TDI_BYTES_QUOTA = 256 << 20,     /* a session's inputs and replies, in flight or waiting */
    TDI_REPLY_BYTES_RESERVED = 4096, /* charged in advance when a call names no maximum */
    TDI_FRAMES_A_ROUND = 256,
    TDI_GUESTS_MAX = 64,
    TDI_SESSIONS_MAX = 64,
    TDI_JOBS_QUEUED_MAX = TDI_SESSIONS_MAX * TDI_SLOTS_ORCHESTRATOR,
    TDI_FAILURE_BYTES_MAX = 1400
};

typedef struct tdi_bridge tdi_bridge;
typedef struct tdi_session tdi_session;

/* What epoll points at. */
typedef enum tdi_source_kind {
    TDI_SOURCE_LISTENER,
    TDI_SOURCE_GUEST,
    TDI_SOURCE_SOCKET,
    TDI_SOURCE_BELL,
    TDI_SOURCE_POOL,
    TDI_SOURCE_PARENT,
    TDI_SOURCE_SIGNAL
} tdi_source_kind;

typedef struct tdi_source {
    tdi_source_kind kind;
    void *owner;
} tdi_source;

/* A connection that has not said HELLO yet. */
typedef struct tdi_guest {
    tdi_source source;
    int fd; /* -1: free */
    uint64_t deadline_ns;
} tdi_guest;

/* A completion that did not fit, or does not yet. */
typedef struct tdi_answer tdi_answer;
struct tdi_answer {
    tdi_answer *next;
    tdi_frame frame;
    uint8_t *body; /* owned once it waits */
    size_t bytes, at;
    uint32_t index; /* frames pushed so far */
    uint64_t charged;
};

/* The one fragmented body that a session is sending. */
typedef struct tdi_inbound {
    bool active;
    tdi_frame first;
    uint8_t ext[TDI_EXT_BYTES_MAX];
    uint8_t *body; /* NULL while active: refused, its fragments are dropped */
    uint64_t bytes, at;
    uint32_t index;
    uint64_t charged;
    td_status refusal;
} tdi_inbound;

/* Counters of one session; written by the main thread. The statistics memfd of a later step
 * is made of these. */
typedef struct tdi_counters {
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    uint64_t calls, completions, failures, refusals, waited;
    uint64_t doorbells_rung, doorbells_taken, rescues, logs, logs_dropped;
} tdi_counters;

struct tdi_session {
    tdi_bridge *bridge;
    tdi_source socket_source, bell_source;
    uint32_t id, role;
    int64_t pid;
    char name[TDI_NAME_BYTES_MAX + 1];
    tdi_share share; /* of the budget */

    int socket_fd, bell_in_fd, bell_out_fd;
    tdi_region down, up;
    tdi_ring_tx tx;
    tdi_ring_rx rx;
    tdi_bell_rope frames_rope, space_rope; /* the peer's tickets */
    tdi_bell_ticket sleep, space;          /* ours */

    uint8_t *slot_busy; /* 1: a call with this slot is in here */
    uint32_t slots;
    _Atomic uint64_t bytes_used; /* any thread: replies grow in the pool */
    tdi_inbound inbound;
    tdi_answer *waiting_first, *waiting_last;
    uint32_t running;   /* runs that the pool has */
    _Atomic bool ended; /* any thread reads it: cancels the session's calls */
    tdi_counters counters;
};

/* One call being performed. `job` links it into the pool. */
typedef struct tdi_run {
    td_call call; /* first: actions know only this */
    tdi_job job;
    tdi_session *session;
    const td_action *action;
    uint64_t call_id, deadline_ns, started_ns, elapsed_ns;
    uint64_t charged;       /* of the session's quota, everything */
    uint64_t reply_charged; /* the reply's part of it */
    uint64_t output_bytes_max;
    uint32_t attempt;
    bool failed; /* td_fail was called */
    td_status status;
    td_view payload, inputs, key;
    td_view body;        /* what payload and inputs point into, once it is opened */
    uint8_t *owned_body; /* the body, when the run has to free it */
    bool is_pair;        /* [payload, inputs] */
    uint8_t key_bytes[TDI_KEY_BYTES_MAX];
    td_writer output;
    uint32_t failure_bytes;
    uint8_t failure[TDI_FAILURE_BYTES_MAX];
} tdi_run;

typedef struct tdi_bridge_options {
    const char *socket_path;
    const char *build_id; /* NULL: the compiled one */
    uint64_t buffer_bytes;
    uint32_t agents_max, workers;
    int spawned_by_fd; /* -1: started by hand */
    int ready_fd;      /* -1: none */
    uint64_t linger_ns, spin_ns;
} tdi_bridge_options;

struct tdi_bridge {
    tdi_bridge_options options;
    int lock_fd, listener_fd, epoll_fd, signal_fd;
    tdi_source listener, pool_source, parent, signal;
    tdi_registry registry;
    tdi_budget budget;
    tdi_pool *pool;
    tdi_guest guests[TDI_GUESTS_MAX];
    tdi_session *sessions[TDI_SESSIONS_MAX];
    uint32_t sessions_total, session_id_last;
    tdi_run short_run; /* short actions run here, one at a time */
    uint8_t *scratch;  /* body of the frame being handled */
    uint64_t scratch_bytes;
    bool parent_gone, had_session, stopping;
    uint64_t alone_since_ns; /* since when there is no session */
    uint64_t log_window_ns;
    _Atomic uint32_t log_lines; /* in this window; any thread */
};

/* admission.c: guests, HELLO, WELCOME. */
void tdi_admit_waiting(tdi_bridge *bridge);                  /* the listener is readable */
void tdi_guest_speaks(tdi_bridge *bridge, tdi_guest *guest); /* its socket is readable */
void tdi_guests_expire(tdi_bridge *bridge, uint64_t now_ns);

/* session.c */
td_status tdi_session_create(tdi_bridge *bridge, int socket_fd, int64_t pid, const tdi_hello *hello,
                             tdi_session **out, int *fds, tdi_error *error);
/* Stop reading, cancel its calls; says `why` to the peer unless NULL. Idempotent. */
void tdi_session_end(tdi_session *session, const char *why);
/* Free the ended sessions that no running call needs any more. */
void tdi_sessions_reap(tdi_bridge *bridge);
/* Its socket is readable: death, or a word out of turn. */
void tdi_session_hears(tdi_session *session);
/* Add to the bytes in flight. TD_BUSY over the quota. Any thread. */
td_status tdi_session_charge(tdi_session *session, uint64_t bytes);
void tdi_session_refund(tdi_session *session, uint64_t bytes);

/* dispatch.c: handle at most TDI_FRAMES_A_ROUND frames. Returns how many. */
uint32_t tdi_session_round(tdi_session *session);

/* run.c */
void tdi_run_init(tdi_run *run, tdi_session *session, const td_action *action,
                  const tdi_frame *frame, const tdi_extension *ext);
void tdi_run_perform(tdi_run *run); /* any thread */
/* TD_OK, or why it should not start or go on: TD_CANCELLED, TD_TIMED_OUT. Any thread. */
td_status tdi_run_wish(const tdi_run *run);

/* answer.c */
/* Complete the run's call; takes what it owns. */
void tdi_answer_run(tdi_run *run);
/* Complete a call that never became a run. */
void tdi_answer_refusal(tdi_session *session, uint64_t call_id, td_status status, uint64_t charged);
/* Push what waits. Returns 1 when nothing waits any more. */
int tdi_answers_pump(tdi_session *session);
/* Publish and ring. */
void tdi_answers_show(tdi_session *session);
void tdi_answers_drop(tdi_session *session);

/* loop.c: serve until told to leave; 0 = clean. */
int tdi_bridge_serve(tdi_bridge *bridge);

/* runtime_dir.c: lock the directory, make room for the socket. */
td_status tdi_runtime_dir_take(const char *socket_path, int *lock_fd, tdi_error *error);
/* Unlink socket and lock file, then let go. */
void tdi_runtime_dir_leave(const char *socket_path, int lock_fd);

#endif /* TDI_BRIDGE_H */
