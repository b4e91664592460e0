/* client_state.h - what the files of src/client share; nobody else includes it. */
#ifndef TDI_CLIENT_STATE_H
#define TDI_CLIENT_STATE_H

#include "base/error.h"
#include "base/spin.h"
#include "blob/peer.h"
#include "client/client.h"
#include "ring/bell.h"
#include "ring/ring.h"
#include "shm/region.h"
#include "wire/extension.h"

typedef struct client_slot {
    uint64_t end;        /* our tail after the call's last frame; UINT64_MAX: not all pushed */
    uint64_t charged;    /* bytes of the quota */
    uint32_t generation; /* of the call in flight, or of the last one */
    uint32_t in_use;
} client_slot;

/* The one fragmented body that is on its way out. */
typedef struct client_outbound {
    uint8_t *body; /* NULL: none */
    size_t bytes, at;
    uint32_t index;
    uint64_t call_id;
} client_outbound;

/* The one fragmented body that is coming in. */
typedef struct client_inbound {
    uint8_t *body; /* NULL: none */
    size_t bytes, at;
    uint32_t index;
    tdi_frame first;
} client_inbound;

typedef struct client_logs client_logs; /* logs.c */

struct tdi_client {
    int socket_fd, bell_in_fd, bell_out_fd, statistics_fd;
    int64_t bridge_pid;
    int owner_pid; /* the process that has the mappings */
    uint32_t session, spin_ns;
    tdi_spin spin;

    tdi_region down, up;
    tdi_ring_tx tx;
    tdi_ring_rx rx;
    tdi_bell_rope frames_rope, space_rope; /* the bridge's tickets */
    tdi_bell_ticket sleep, space;          /* ours */

    client_slot *slots;
    uint32_t *free_slots; /* a stack */
    uint32_t slots_total, free_total;
    uint64_t bytes_used, bytes_quota, body_bytes_max;
    uint32_t reply_bytes_reserved;

    tdi_blob_peer blobs;
    client_outbound outbound;
    client_inbound inbound;
    uint8_t *scratch; /* body of the frame being handed out */
    uint32_t empty_polls;
    int held; /* tdi_client_hold: calls pushed are not shown yet */
    int draining;
    int socket_ended; /* EOF seen */
    td_status broken; /* TD_OK, or sticky: TD_ERR_CLOSED, TD_CORRUPT */

    tdi_client_action *actions;
    size_t actions_total;
    char *action_text;
    size_t actions_room;
    uint64_t actions_version;    /* counts the changes after WELCOME */
    struct client_text *learned; /* strings of actions that came later */

    tdi_client_stats stats;
    char notes[1024];
    tdi_error error;
    client_logs *logs; /* NULL before the first */
};

/* logs.c: keep one LOG frame; `text` is borrowed. */
void tdi_client_keep_log(tdi_client *client, const tdi_frame *frame, const uint8_t *text);
void tdi_client_free_logs(tdi_client *client);

/* Push what the ring has room for of the outbound body. TD_OK: nothing is left. TD_BUSY. */
td_status tdi_client_pump(tdi_client *client);

/* Strings of one action that came after WELCOME, kept until it goes. */
typedef struct client_text {
    struct client_text *next;
    char text[];
} client_text;

/* Take rows of an EVENT into the action table. TD_CORRUPT, TD_ERR_MEMORY. */
td_status tdi_client_learn(tdi_client *client, td_view rows);

/* Has the bridge gone? Reads its goodbye, if any, into the error. */
int tdi_client_ended(tdi_client *client);

/* After the tail has moved, or the head. */
static inline void tdi_client_ring_bell(tdi_client *client, tdi_bell_rope *rope)
{
    client->stats.doorbells_rung += (uint64_t)tdi_bell_ring(rope, client->bell_out_fd);
}

#endif /* TDI_CLIENT_STATE_H */
