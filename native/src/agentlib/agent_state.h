/* agent_state.h - what the files of src/agentlib share; nobody else includes it. */
#ifndef TDI_AGENT_STATE_H
#define TDI_AGENT_STATE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/error.h"
#include "blob/peer.h"
#include "ring/bell.h"
#include "ring/ring.h"
#include "shm/region.h"
#include "strict/verdict.h"
#include "tandem/connect.h"
#include "wire/extension.h"
#include "wire/handshake.h"
#include "worker/cpus.h"
#include "worker/pool.h"

/* A completion that did not fit yet. */
typedef struct agent_parcel agent_parcel;
struct agent_parcel {
    agent_parcel *next;
    tdi_frame frame;
    uint64_t blob[2]; /* id and bytes; 0: the body is here */
    uint8_t *body;
    size_t bytes, at;
    uint32_t index;
};

typedef struct agent_line agent_line; /* log.c */

typedef struct agent_run {
    td_call call; /* first: actions know only this */
    tdi_job job;
    td_agent *agent;
    const td_action *action;
    uint64_t call_id, deadline_ns, started_ns, elapsed_ns;
    uint32_t attempt;
    bool failed, is_pair;
    td_status status;
    td_view body, payload, inputs, key;
    uint8_t *owned_body;
    tdi_blob_view blob;                   /* what the body lies in, or none */
    agent_line *lines_first, *lines_last; /* on a pool's thread: for when it has ended */
    uint32_t lines_total, lines_dropped;
    uint8_t key_bytes[TDI_KEY_BYTES_MAX];
    uint8_t cpus_bytes[TDI_CPUS_BYTES_MAX]; /* what job.cpus points to */
    td_heap_writer output;
    size_t failure_bytes;
    uint8_t failure[TDI_FAILURE_BYTES_MAX];
} agent_run;

/* The one fragmented call that is coming in. */
typedef struct agent_inbound {
    uint8_t *body; /* NULL: none */
    size_t bytes, at;
    uint32_t index;
    tdi_frame first;
    uint8_t ext[TDI_EXT_BYTES_MAX];
} agent_inbound;

struct td_agent {
    td_agent_options options;
    int socket_fd, bell_in_fd, bell_out_fd, stop_read_fd, stop_write_fd;
    int64_t bridge_pid;
    uint32_t session, slots;
    tdi_region down, up;
    tdi_ring_tx tx;
    tdi_ring_rx rx;
    tdi_bell_rope frames_rope, space_rope;
    tdi_bell_ticket sleep, space;
    uint32_t ids[TDI_AGENT_ACTIONS_MAX]; /* of options.actions, in this session */
    uint8_t *scratch;
    tdi_blob_peer blobs;
    agent_inbound inbound;
    agent_parcel *waiting_first, *waiting_last;
    agent_run run; /* the call being run on the serving thread */
    tdi_pool *pool;
    tdi_cpus cpus; /* of the serving thread */
    uint32_t in_pool, unshown;
    uint64_t log_window_ns, log_lines;
    uint32_t log_dropped; /* since the last line that went out */
    uint64_t ended_ns;    /* when the call before ended, in one round of frames; else 0 */
    _Atomic bool stopping;
    _Atomic uint64_t looked_ns; /* when a running action last looked for the bridge */
    _Atomic bool bridge_gone;   /* in this session: nobody waits for what runs */
    /* For the host's watch: the call being run, 0 none. */
    _Atomic uint64_t watched_id, watched_deadline_ns;
    tdi_error error;
};

/* session.c */
td_status agent_open(td_agent *agent); /* socket, HELLO, WELCOME, mappings */
void agent_shut(td_agent *agent);
bool agent_bridge_gone(td_agent *agent);

/* call.c */
void agent_run_begin(agent_run *run, td_agent *agent, const td_action *action,
                     const tdi_frame *frame, const tdi_extension *ext);
void agent_run_perform(agent_run *run); /* any thread */

/* blob.c */
/* Open the blob that a call names. TD_CORRUPT, TD_ERR_MEMORY: the session ends. *sound: its
 * checksum is what the caller said. */
td_status agent_blob_take(td_agent *agent, const tdi_frame *frame, const tdi_extension *ext,
                          tdi_blob_view *out, bool *sound);
#define AGENT_RING_BODY_BYTES_MAX (64u << 20)
/* An answer longer than that becomes a blob's name; `sum` must outlive the parcel's
 * push. Without one it becomes TD_TOO_LARGE. */
td_status agent_blob_give(td_agent *agent, agent_parcel *parcel, uint32_t *sum);

/* log.c */
void agent_log(agent_run *run, int level, const char *message); /* the run's thread */
/* Let go of the lines that wait, saying them before the answer if `speak`. Serving thread. */
void agent_log_flush(agent_run *run, bool speak);

/* host.c */
td_status agent_host_prepare(td_agent *agent);

#endif /* TDI_AGENT_STATE_H */
