/* ext_messages.h - calls whose answers are settled here, in C: messages.
 *
 * A client's completions go two ways. A call that was made by `Client.call` comes back to Python
 * as a row; a message has an entry in the table below, one per slot, and its answer is decoded and
 * put into its Future, or into its place in a batch, inside the drain that found it.
 *
 * Threads: with the GIL, on the loop's thread; only ext_messages_ask lets go of the GIL.
 * Memory:  the table is taken at the first use; each message holds its Future until its end.
 */
#ifndef TDI_EXT_MESSAGES_H
#define TDI_EXT_MESSAGES_H

#include "client/client.h"
#include "ext_codec.h"

/* Many payloads for one action, one Future for all their answers. */
typedef struct ext_batch {
    struct ext_batch *next;
    PyObject *payloads; /* tuple */
    PyObject *results;  /* list, hidden from the collector until it is whole */
    PyObject *future;
    Py_ssize_t total, sent, done;
    uint64_t deadline_ns; /* 0: none */
    uint32_t action_id;
    uint8_t lane, flags;
} ext_batch;

/* Flags of a message. */
enum {
    EXT_ENCODED = 1, /* the payload is a strict MessagePack body, as bytes */
    EXT_RAW = 2,     /* give the answer as such a body */
};

typedef enum ext_entry_state {
    EXT_NOT_OURS = 0, /* no message: the completion is a row for Python */
    EXT_WAITING,
    EXT_GIVEN_UP, /* cancelled or out of time: what still comes is only counted */
} ext_entry_state;

typedef struct ext_entry {
    uint64_t call_id, deadline_ns;
    PyObject *future; /* owned; NULL in a batch */
    ext_batch *batch; /* borrowed; NULL for a single message */
    Py_ssize_t index; /* in the batch */
    uint32_t action_id;
    uint8_t flags, state;
} ext_entry;

typedef struct ext_messages {
    ext_entry *table; /* NULL before the first use */
    uint32_t slots, high;
    uint32_t held;      /* sent and not shown to the bridge yet */
    uint32_t waiting;   /* entries in the state WAITING */
    ext_batch *batches; /* unfinished */
    ext_buffer scratch;
    PyObject *loop, *future_type; /* NULL where only ask() is used */
    PyObject *make_error;         /* (action_id, status, body) -> exception */
    PyObject *make_body;          /* (payload, encoded) -> bytes, for what is not plain */
    PyObject *revive;             /* (value) -> value, for marked maps */
    PyObject *timestamp;          /* (seconds, nanoseconds) -> value */
    /* Counted for metrics, read on demand. */
    uint64_t settled, failed, elapsed_ns, dropped, late;
} ext_messages;

int ext_messages_prepare(ext_messages *messages, tdi_client *client, PyObject *const hooks[6]);
int ext_messages_traverse(ext_messages *messages, visitproc visit, void *arg);
void ext_messages_clear(ext_messages *messages);

/* Push one message; its Future (new reference), with `owner` as its attribute `_stop`. */
PyObject *ext_messages_send(const ext_state *state, ext_messages *messages, tdi_client *client,
                            PyObject *owner, PyObject *payload, const tdi_call_request *request,
                            unsigned flags);
/* Take a tuple of payloads in; pushed as room comes. Its Future (new reference). */
PyObject *ext_messages_send_many(const ext_state *state, ext_messages *messages, tdi_client *client,
                                 PyObject *owner, PyObject *payloads,
                                 const tdi_call_request *request, unsigned flags);
/* Send one message and block, without the GIL, until its answer (new reference). */
PyObject *ext_messages_ask(const ext_state *state, ext_messages *messages, tdi_client *client,
                           PyObject *payload, const tdi_call_request *request, unsigned flags);

/* Show the bridge what is held; comes before every look. */
void ext_messages_show(ext_messages *messages, tdi_client *client);
/* Take a completion if it is a message's: 1, else 0. Raises nothing. */
int ext_messages_take(const ext_state *state, ext_messages *messages,
                      const tdi_completion *completion);
/* Push what waits in batches, and finish those that are whole. True if anything was pushed. */
bool ext_messages_refill(const ext_state *state, ext_messages *messages, tdi_client *client);
/* The Future was cancelled: ask its calls to stop. True if it was ours. */
bool ext_messages_forget(ext_messages *messages, tdi_client *client, PyObject *future);
/* End what is past its deadline by more than `grace_ns`: the bridge is silent. How many. */
size_t ext_messages_sweep(const ext_state *state, ext_messages *messages, tdi_client *client,
                          uint64_t grace_ns);
/* The session is over: answer everything with its fate (`known`), or with UNKNOWN. */
void ext_messages_end(const ext_state *state, ext_messages *messages, tdi_client *client,
                      bool known);

#endif /* TDI_EXT_MESSAGES_H */
