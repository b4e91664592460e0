/* handshake.h - HELLO, WELCOME and GOODBYE, the messages on a session's socket.
 *
 * Fixed little-endian heads, then strings; protocol/handshake.md has the tables. A head may
 * grow at its end: `head_bytes` says how long the sender's is, and a reader skips the rest.
 *
 * Threads: any.
 * Memory:  decoded strings borrow the message.
 * Errors:  TD_CORRUPT for malformed, TD_ERR_REFUSED for well-formed but not for us.
 */
#ifndef TDI_HANDSHAKE_H
#define TDI_HANDSHAKE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "tandem/agent.h"

enum {
    TDI_PROTOCOL = 1,
    TDI_ROLE_ORCHESTRATOR = 1,
    TDI_ROLE_AGENT = 2,
    TDI_NAME_BYTES_MAX = 128,
    TDI_ENDIAN_MARK = 0x01020304,
    TDI_ACTIONS_MAX = 512,       /* offered by a bridge at one time */
    TDI_AGENT_ACTIONS_MAX = 128, /* brought by one agent */
    TDI_HELLO_BYTES_MAX = 32 * 1024
};

typedef struct tdi_hello {
    uint16_t protocol_min, protocol_max;
    uint32_t role;
    uint64_t features_required, features_offered; /* TDI_FEATURE_BLOBS */
    uint64_t monotonic_ns;
    td_view name, build_id, token;
    uint32_t actions_total; /* that an agent brings; their ids are 0 */
    td_view actions;        /* encoded; see tdi_action_next */
} tdi_hello;

typedef struct tdi_welcome {
    uint16_t protocol;
    uint16_t status; /* TD_OK, or why not: TD_BUSY, TD_FAILED (refused) */
    uint32_t session;
    uint64_t features;
    uint64_t monotonic_ns;
    uint64_t ring_bytes; /* of either ring */
    uint32_t slots;
    uint32_t reply_bytes_reserved; /* charged to the quota when a call names no maximum */
    uint64_t bytes_quota;          /* inputs and reserved replies of all calls in flight */
    uint64_t body_bytes_max;
    uint64_t blob_bytes_max;         /* 0: no blobs */
    td_view version, build_id, text; /* text: the refusal's sentence */
    uint32_t actions_total;
    td_view actions; /* encoded; see tdi_action_next */
} tdi_welcome;

/* One row of the action table. */
typedef struct tdi_action_row {
    uint32_t id;
    uint8_t effects, runs, deterministic;
    uint8_t gone;        /* in an EVENT: 1 = no longer offered */
    uint8_t in_programs; /* from the bridge: 1 = a program may hold it */
    uint8_t takes_blobs; /* from the bridge: 1 = a payload may be one */
    td_view agent, name, version;
} tdi_action_row;

/* Encode into `data`; *bytes = length. TD_TOO_LARGE. */
td_status tdi_hello_encode(const tdi_hello *hello, uint8_t *data, size_t bytes_max, size_t *bytes);
td_status tdi_welcome_encode(const tdi_welcome *welcome, uint8_t *data, size_t bytes_max,
                             size_t *bytes);
/* Append one row to a buffer at *at. TD_TOO_LARGE. */
td_status tdi_action_encode(const tdi_action_row *row, uint8_t *data, size_t bytes_max, size_t *at);

td_status tdi_hello_decode(const uint8_t *data, size_t bytes, tdi_hello *out, tdi_error *error);
td_status tdi_welcome_decode(const uint8_t *data, size_t bytes, tdi_welcome *out, tdi_error *error);
/* Step through welcome.actions; *at starts at 0. TD_ERR_AGAIN after the last. TD_CORRUPT. */
td_status tdi_action_next(td_view actions, size_t *at, tdi_action_row *out);

/* "TANDEMBY" + sentence: why the bridge ends a session that it could still talk to. */
size_t tdi_goodbye_encode(const char *text, uint8_t *data, size_t bytes_max);
/* TD_OK with the sentence in `error` when the message is a goodbye. */
td_status tdi_goodbye_decode(const uint8_t *data, size_t bytes, tdi_error *error);

#endif /* TDI_HANDSHAKE_H */
