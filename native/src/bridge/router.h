/* router.h - what the two files of the router share; nobody else includes it.
 *
 * Threads: the main thread.
 * Memory:  a batch owns what it points to; its messages lie in its copy of the payload.
 * Errors:  what is wrong with a payload, as a type's name and a sentence.
 */
#ifndef TDI_ROUTER_H
#define TDI_ROUTER_H

#include "bridge/blob.h"

typedef enum policy { ROUND_ROBIN, HASH, BROADCAST } policy;

typedef struct destination {
    char name[TDI_NAME_BYTES_MAX + 1];
    uint32_t action_id;
    uint32_t at; /* the next message to look at */
    uint64_t delivered, refused;
} destination;

/* One long message for every destination. */
typedef struct shared_body {
    tdi_blob *blob;
    uint32_t crc, sent;
    bool copied; /* no blob was to be had: each gets a copy */
} shared_body;

struct tdi_batch {
    tdi_batch *next;
    tdi_session *caller; /* NULL: gone */
    uint64_t call_id, charged, deadline_ns, started_ns;
    uint16_t attempt;
    uint8_t lane;
    policy policy;
    uint32_t messages, destinations;
    destination *to;
    uint16_t *owner;     /* HASH: whose each message is */
    uint8_t *payload;    /* a copy, when it has the messages */
    td_view *bodies;     /* into it; NULL: {"seq": i} */
    shared_body *shared; /* BROADCAST: one a message, or NULL */
    uint64_t outstanding;
    td_status stop; /* TD_OK, or why nothing more is sent */
};

/* What is wrong with a payload. */
typedef struct tdi_batch_fault {
    const char *type;
    char text[400];
} tdi_batch_fault;

/* The body of one message; `memory` has 16 bytes for one that is made. Returns its length. */
size_t tdi_batch_body(const tdi_batch *batch, uint32_t index, uint8_t *memory, td_view *out);
/* Read the payload of router.route_messages into an empty batch; `body` must live as long. */
bool tdi_batch_read(const tdi_bridge *bridge, tdi_batch *batch, td_view body, tdi_batch_fault *why);

#endif /* TDI_ROUTER_H */
