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
#include "bridge/wishes.h"
#include "ring/bell.h"
#include "ring/ring.h"
#include "shm/region.h"
#include "shm/statistics.h"
#include "strict/verdict.h"
#include "tandem/agent.h"
#include "wire/extension.h"
#include "wire/frame.h"
#include "wire/handshake.h"
#include "worker/cpus.h"
#include "worker/pool.h"

enum {
    TDI_SLOTS_ORCHESTRATOR = 4096,
    TDI_SLOTS_AGENT = 256,
    TDI_AGENT_BYTES_QUOTA = 128 << 20, /* inputs and replies of the calls an agent has */
    TDI_INSTANCES_MAX = 64,            /* sessions that offer the same agent */
    TDI_BODY_BYTES_MAX = 64 << 20,
    TDI_BYTES_QUOTA = 256 << 20,     /* a session's inputs and replies, in flight or waiting */
    TDI_REPLY_BYTES_RESERVED = 4096, /* charged in advance when a call names no maximum */
    TDI_FRAMES_A_ROUND = 256,
    TDI_BYTES_A_ROUND = 64 * 1024, /* of bodies, of one session */
    TDI_GUESTS_MAX = 64,
    TDI_SESSIONS_MAX = TDI_AGENTS_MAX + TDI_LATER_ORCHESTRATORS + 1,
    TDI_JOBS_QUEUED_MAX = (TDI_LATER_ORCHESTRATORS + 1) * TDI_SLOTS_ORCHESTRATOR
};

typedef struct tdi_bridge tdi_bridge;
typedef struct tdi_session tdi_session;
typedef struct tdi_blob tdi_blob; /* blob.h */

/* What epoll points at. */
typedef enum tdi_source_kind {
    TDI_SOURCE_DOOR,
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

/* A completion, a call for an agent, or an event that did not fit, or does not yet. */
typedef struct tdi_answer tdi_answer;
struct tdi_answer {
    tdi_answer *next;
    tdi_frame frame;
    const uint8_t *ext; /* frame.ext_units * 8 bytes; behind this once it waits */
    bool crc_known;     /* frame.body_crc is that of ext + body, as its sender made it */
    uint8_t *body;      /* owned once it waits */
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

/* One call that an agent has, or will get; index = its slot. */
typedef struct tdi_relay tdi_relay;
typedef struct tdi_reply {
    td_status status;
    td_view body;   /* TD_OK, TD_FAILED, perhaps TD_UNKNOWN */
    uint8_t *owned; /* the body's memory, when the receiver may keep it and must free it */
    bool crc_known;
    const tdi_frame *frame; /* the agent's COMPLETION, or NULL */
    tdi_blob *blob;         /* the body is one; the receiver may take it */
    const uint8_t *ext;     /* frame->ext_units * 8 bytes that name it, or NULL */
} tdi_reply;
/* Called once for each relay that was sent, unless its caller's session ended before. */
typedef void (*tdi_reply_fn)(tdi_relay *relay, tdi_reply *reply);
struct tdi_relay {
    tdi_reply_fn reply; /* NULL: nobody waits for it any more */
    void *owner;
    tdi_session *caller, *agent; /* the sessions */
    uint64_t call_id;            /* the caller's */
    uint64_t deadline_ns;
    uint64_t charged; /* of the caller's quota; handed back by `reply` */
    uint64_t credit;  /* of the agent's bytes */
    uint64_t end;     /* the agent's ring position after its last frame; UINT64_MAX: not all in */
    tdi_blob *blob;   /* its body, or NULL */
    uint32_t generation, action_id, reply_bytes_max;
    uint32_t part; /* as in tdi_outgoing */
    bool in_use, cancelled, batch;
};

/* A call to be sent to an agent. `ext` and `body` are borrowed, `owned` is taken on TD_OK. */
typedef struct tdi_outgoing {
    tdi_frame frame; /* kind, flags, lane, ext_units, deadline, action, attempt, reply maximum */
    const uint8_t *ext;
    td_view body;
    uint8_t *owned;
    tdi_blob *blob; /* NULL, or what `ext` names; the relay takes this reference on TD_OK */
    bool crc_known;
    tdi_session *caller;
    uint64_t call_id, charged;
    tdi_reply_fn reply;
    void *owner;
    tdi_relay **sent; /* NULL, or where to note the relay before it may be answered */
    uint32_t part;    /* of the caller's program: its step + 1; 0: of none */
    bool batch;       /* the owner hears of cancels and deadlines by itself */
} tdi_outgoing;

/* The sessions that offer one agent. */
struct tdi_agent {
    char name[TDI_NAME_BYTES_MAX + 1];
    tdi_session *instances[TDI_INSTANCES_MAX];
    uint32_t instances_total, next;
    uint32_t ids[TDI_AGENT_ACTIONS_MAX], ids_total;
    uint8_t *table; /* the actions as HELLO had them: what another instance must equal */
    size_t table_bytes;
};

typedef struct tdi_batch tdi_batch; /* router.c */

/* Counters of one session; written by the main thread. count.c adds them up for the statistics
 * page. */
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
    uint32_t bells_asked, bells_unasked;   /* loop.c: hear_bell() */

    uint8_t *slot_busy; /* 1: a call with this slot is in here */
    uint32_t slots;
    uint64_t features;         /* in force, of HELLO's */
    uint32_t blobs;            /* it is charged for */
    uint32_t blobs_with_calls; /* an agent's: passed, and their calls not ended */
    uint64_t blob_bytes;
    _Atomic uint64_t bytes_used; /* any thread: replies grow in the pool */
    tdi_inbound inbound;
    tdi_answer *waiting_first, *waiting_last;
    uint32_t running;        /* runs that the pool has, programs */
    struct tdi_shelf *shelf; /* programs it has loaded, or NULL */
    uint64_t registry_seen;  /* an orchestrator's: registry.version of its last EVENT */
    tdi_agent *agent;        /* an agent's; NULL for orchestrators */
    tdi_relay *relays;       /* an agent's: share.slots of them */
    uint32_t *free_relays, free_total;
    uint64_t credit_used;
    uint64_t log_window_ns, log_lines;
    uint32_t logs_owed; /* dropped here, and not told to a caller yet */
    bool dirty;         /* frames pushed since they were last shown */
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
    uint8_t cpus_bytes[TDI_CPUS_BYTES_MAX]; /* what job.cpus points to */
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
    uint64_t late_ns; /* how long an agent may be silent beyond a deadline; 0: a second */
    const char *cpus; /* a list; NULL: those of whoever started us */
    uint64_t blobs, blob_bytes, blob_bytes_total; /* blob.h; blobs 0: none at all */
    uint64_t blob_broadcast_bytes;
    bool huge_pages, realtime, locked;
} tdi_bridge_options;

struct tdi_bridge {
    tdi_bridge_options options;
    int lock_fd, listener_fd, epoll_fd, signal_fd;
    int door_fd; /* an epoll in the epoll: the listener and the guests */
    tdi_source door;
    uint64_t door_opens_ns;          /* 0: it is open */
    uint64_t worked, worked_at_door; /* rounds that did something */
    int spare_fd; /* given up to accept, and close, what comes when no other is left */
    tdi_source listener, pool_source, parent, signal;
    tdi_registry registry;
    tdi_budget budget;
    tdi_pool *pool;
    tdi_cpus cpus; /* of the main thread; it stays where it is */
    tdi_notes notes;
    tdi_guest guests[TDI_GUESTS_MAX];
    tdi_session *sessions[TDI_SESSIONS_MAX];
    uint32_t sessions_total, sessions_high; /* places in use lie below this */
    uint32_t session_id_last, orchestrators_total;
    tdi_agent *agents[TDI_AGENTS_MAX];
    uint32_t agents_total;
    tdi_session *dirty[TDI_SESSIONS_MAX];
    uint32_t dirty_total;
    tdi_blob *blobs;
    uint32_t blobs_total;
    uint64_t blob_bytes, blob_id_last;
    uint32_t relays_total; /* in flight */
    uint64_t relays_swept_ns;
    tdi_batch *batches;
    struct tdi_program_call *programs;                      /* being run */
    struct td_program_remote *remotes_first, *remotes_last; /* program_remote.c: they wait */
    uint32_t remotes_waiting;
    tdi_run short_run; /* short actions run here, one at a time */
    uint64_t ended_ns; /* when the one before ended, in one round; else 0 */
    uint8_t *scratch;  /* body of the frame being handled */
    uint64_t scratch_bytes;
    bool parent_gone, had_session, stopping;
    uint64_t alone_since_ns; /* since when there is no session */
    int statistics_fd;
    tdi_statistics *statistics;          /* NULL in tests of parts */
    uint64_t statistics_ns;              /* of the last update */
    uint64_t past[TDI_STATISTICS_TOTAL]; /* of sessions that are gone */
    uint64_t run_time[TDI_STATISTICS_BUCKETS];
    uint64_t log_window_ns;
    _Atomic uint32_t log_lines;      /* in this window; any thread */
    uint64_t said_window_ns, unsaid; /* say.c */
    uint32_t said;
};

/* admission.c: guests, HELLO, WELCOME. */
void tdi_admit_waiting(tdi_bridge *bridge);                  /* the listener is readable */
void tdi_guest_speaks(tdi_bridge *bridge, tdi_guest *guest); /* its socket is readable */
void tdi_guests_expire(tdi_bridge *bridge, uint64_t now_ns);

/* say.c: one line to standard error, never waiting: control characters are masked, more than 32
 * a second are counted and said later. */
/* Make words of a peer fit to be shown: no control characters, and UTF-8 or ASCII. */
void tdi_mask(char *text);
void tdi_say(tdi_bridge *bridge, const char *format, ...) __attribute__((format(printf, 2, 3)));

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

/* agents.c: who offers what, and calls on their way there and back. */
/* Is what this HELLO offers acceptable? Changes nothing. */
td_status tdi_agent_judge(tdi_bridge *bridge, const tdi_hello *hello, tdi_error *error);
/* An agent's session becomes an instance of its agent. */
td_status tdi_agent_join(tdi_session *session, const tdi_hello *hello, tdi_error *error);
/* Its session has ended: settle its calls, withdraw what it offered. `dead`: the socket's end,
 * so that what was never popped has certainly not run. */
void tdi_agent_leave(tdi_session *session, bool dead);
/* TD_BUSY: no instance has a slot and the bytes left. TD_NO_AGENT. */
td_status tdi_agent_send(tdi_agent *agent, const tdi_outgoing *call);
/* A call of an orchestrator for an agent. */
void tdi_agent_call(tdi_session *caller, tdi_agent *agent, const tdi_frame *frame,
                    const uint8_t *ext, td_view body, uint8_t *owned, uint64_t charged);
/* One frame of an agent, in private memory. TD_CORRUPT ends its session. */
td_status tdi_agent_handle(tdi_session *session, const tdi_frame *frame, const uint8_t *ext_bytes,
                           const uint8_t *body);
/* logs.c: a line of an agent, of at most TDI_LOG_BYTES_MAX; relay NULL: of no call in flight. */
void tdi_agent_log(tdi_session *session, const tdi_relay *relay, const tdi_frame *frame,
                   const uint8_t *body);
/* Its reply_fn for the call of an orchestrator. */
void tdi_relay_to_caller(tdi_relay *relay, tdi_reply *reply);
/* Ask an agent to stop one call. */
void tdi_relay_cancel(tdi_relay *relay);
/* Nobody waits for this caller's calls any more. */
void tdi_relays_orphan(tdi_session *caller);
/* Pass on cancels and progress; give up calls long past their deadline. */
void tdi_relays_sweep(tdi_bridge *bridge, uint64_t now_ns);
tdi_agent *tdi_agent_find(const tdi_bridge *bridge, td_view name);
/* obituary.c: {"type", "message"} for calls whose process died while it had them. */
void tdi_obituary(const tdi_session *session, td_writer *writer, uint8_t *memory, size_t bytes);
/* events.c: tell an orchestrator what came and went since its last EVENT. */
void tdi_events_send(tdi_session *session);

/* router.c: router.route_messages. */
void tdi_router_start(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                      td_view body, uint64_t charged);
void tdi_batches_go_on(tdi_bridge *bridge);
void tdi_batches_orphan(tdi_session *caller);

/* programs.c */
/* A LOAD or RUN frame; takes `owned`. */
void tdi_program_call_start(tdi_session *session, const tdi_frame *frame, const tdi_extension *ext,
                            td_view body, uint8_t *owned, uint64_t charged);
/* One turn for each program that is being run. Returns how many did something. */
uint32_t tdi_programs_go_on(tdi_bridge *bridge);
void tdi_shelf_free(tdi_session *session);

/* dispatch.c: add one CONT frame to a body in pieces. TD_OK: it is whole. TD_ERR_AGAIN: more comes.
 * TD_CORRUPT: a piece out of place. A body that found no memory is counted and not kept. */
td_status tdi_inbound_add(tdi_inbound *in, const tdi_frame *frame, const uint8_t *piece);
/* Take the slot, charge the quota. TD_CORRUPT: the peer re-used a slot. TD_BUSY, TD_TOO_LARGE:
 * this call is refused. */
td_status tdi_call_enter(tdi_session *session, const tdi_frame *frame, uint64_t body_bytes,
                         uint64_t *charged);
/* Handle at most TDI_FRAMES_A_ROUND frames. Returns how many. */
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
/* Complete a call with what an agent, or the router, said; takes reply->owned. */
void tdi_answer_reply(tdi_session *session, uint64_t call_id, tdi_reply *reply, uint64_t charged);
/* Push any frame, or let it wait. `owned`: body is on the heap and taken. */
void tdi_answer_push(tdi_session *session, tdi_answer *answer, int owned);
/* Publish on every session that got frames since. */
void tdi_answers_show_all(tdi_bridge *bridge);
/* Push what waits. Returns 1 when nothing waits any more. */
int tdi_answers_pump(tdi_session *session);
/* Publish and ring. */
void tdi_answers_show(tdi_session *session);
void tdi_answers_drop(tdi_session *session);

/* count.c: the statistics page. */
/* Store what has been counted, at most once a millisecond. Returns 0 when it was too early. */
int tdi_count_show(tdi_bridge *bridge, uint64_t now_ns);
/* Keep what a session counted that is about to go. */
void tdi_count_keep(tdi_bridge *bridge, const tdi_session *session);
static inline void tdi_count_run(tdi_bridge *bridge, uint64_t elapsed_ns)
{
    bridge->run_time[tdi_statistics_bucket(elapsed_ns)]++;
}
static inline void tdi_count_completion(tdi_bridge *bridge, const tdi_frame *frame)
{
    const bool in_us = (frame->flags & TDI_FLAG_ELAPSED_US) != 0;
    tdi_count_run(bridge, in_us ? frame->aux2 * UINT64_C(1000) : frame->aux2);
}

/* loop.c: serve until told to leave; 0 = clean. */
int tdi_bridge_serve(tdi_bridge *bridge);

/* runtime_dir.c: where a bridge listens that was not told: $TANDEM_SOCKET, else default/bridge.sock
 * in the user's runtime directory, which is made with mode 700; the bridge checks what it finds. */
void tdi_default_socket(char *path, size_t bytes_max);
/* Lock the directory, make room for the socket. */
td_status tdi_runtime_dir_take(const char *socket_path, int *lock_fd, tdi_error *error);
/* Unlink socket and lock file, then let go. */
void tdi_runtime_dir_leave(const char *socket_path, int lock_fd);

#endif /* TDI_BRIDGE_H */
