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
#include "ext_future.h"

/* Many payloads for one action, one Future for all their answers. */
typedef struct ext_batch {
    struct ext_batch *next;
    PyObject *payloads; /* tuple */
    PyObject *results;  /* list, hidden from the collector until it is whole */
    PyObject *future;
    Py_ssize_t total, sent, done;
    Py_ssize_t *again; /* sent, and refused for want of room: to be sent once more */
    Py_ssize_t again_total, again_room;
    Py_ssize_t window;      /* in flight at one time; shrinks when the far side has no room */
    Py_ssize_t refused;     /* for want of room, since the last refill */
    Py_ssize_t done_before; /* at the last refill */
    uint64_t rest_until_ns; /* nothing is sent before: the far side is full of others' calls */
    uint64_t deadline_ns;   /* 0: none */
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
    ext_futures futures;  /* without a loop where only ask() is used */
    PyObject *make_error; /* (action_id, status, body) -> exception */
    PyObject *make_body;  /* (payload, encoded) -> bytes, for what is not plain */
    PyObject *revive;     /* (value) -> value, for marked maps */
    PyObject *timestamp;  /* (seconds, nanoseconds) -> value */
    PyObject *wake;       /* () -> None: a look is due in this turn of the loop */
    bool look_due;        /* wake was called, and no look has come since */
    /* Counted for metrics, read on demand. */
    uint64_t settled, failed, elapsed_ns, dropped, late;
} ext_messages;

/* The arguments of prepare(): loop, future_type, make_error, make_body, revive, timestamp, wake. */
#define EXT_HOOKS 7
int ext_messages_prepare(ext_messages *messages, tdi_client *client,
                         PyObject *const hooks[EXT_HOOKS]);
int ext_messages_traverse(ext_messages *messages, visitproc visit, void *arg);
void ext_messages_clear(ext_messages *messages);

/* Push one message; its Future (new reference). With `quiet`, a status that is not OK gives NULL
 * and no exception. */
PyObject *ext_messages_push(const ext_state *state, ext_messages *messages, tdi_client *client,
                            PyObject *payload, const tdi_call_request *request, unsigned flags,
                            bool quiet);
/* The same, never quiet. */
PyObject *ext_messages_send(const ext_state *state, ext_messages *messages, tdi_client *client,
                            PyObject *payload, const tdi_call_request *request, unsigned flags);

/* Show the bridge what is held; comes before every look. */
void ext_messages_show(ext_messages *messages, tdi_client *client);
/* Hold what is called next until the look that is due in this turn of the loop; after HELD_MAX of
 * them, show instead. */
void ext_messages_hold(ext_messages *messages, tdi_client *client);
/* Take a completion if it is a message's: 1, else 0. Raises nothing. */
int ext_messages_take(const ext_state *state, ext_messages *messages,
                      const tdi_completion *completion);
/* End what was cancelled, and what is past its deadline by more than `grace_ns`, as the bridge is
 * silent. How many. */
size_t ext_messages_sweep(const ext_state *state, ext_messages *messages, tdi_client *client,
                          uint64_t grace_ns);
/* The session is over: answer everything with its fate (`known`), or with UNKNOWN. */
void ext_messages_end(const ext_state *state, ext_messages *messages, tdi_client *client,
                      bool known);

/* ---- shared by the files of messages ---- */

/* Settle a Future and count what becomes of it. Steals nothing. */
void ext_messages_put(const ext_state *state, ext_messages *messages, PyObject *future, bool failed,
                      PyObject *value);
/* Point *body at the payload's body. *kept (maybe NULL) must outlive the push. 0 or -1. */
int ext_body_of(ext_messages *messages, PyObject *payload, unsigned flags, td_view *body,
                PyObject **kept);
/* Give back a scratch buffer that has grown large. */
void ext_scratch_rest(ext_messages *messages);
/* The entry of a call that was just pushed. */
ext_entry *ext_entry_begin(ext_messages *messages, uint64_t call_id,
                           const tdi_call_request *request, unsigned flags);
/* Give a call up: ask it to stop, and count what still comes. */
void ext_entry_give_up(ext_messages *messages, tdi_client *client, ext_entry *entry);

/* ---- ext_answer.c ---- */

/* Take the exception that is set as an object (new reference). */
PyObject *ext_raised(void);
/* The exception for a status (new reference; never NULL short of a dead interpreter). */
PyObject *ext_error_of(ext_messages *messages, uint32_t action_id, td_status status, td_view body);
/* The answer's value, or (*failed) the exception in its place (new reference). */
PyObject *ext_answer_of(const ext_state *state, ext_messages *messages, const ext_entry *entry,
                        const tdi_completion *completion, bool *failed);

/* ---- ext_ask.c ---- */

/* Send one message and block, without the GIL, until its answer (new reference). */
PyObject *ext_messages_ask(const ext_state *state, ext_messages *messages, tdi_client *client,
                           PyObject *payload, const tdi_call_request *request, unsigned flags);

/* ---- ext_batch.c ---- */

/* Take a tuple of payloads in; pushed as room comes. Its Future (new reference). */
PyObject *ext_messages_send_many(const ext_state *state, ext_messages *messages, tdi_client *client,
                                 PyObject *payloads, const tdi_call_request *request,
                                 unsigned flags);
/* Push what waits in batches, and finish those that are whole. True if anything was pushed. */
bool ext_messages_refill(const ext_state *state, ext_messages *messages, tdi_client *client);
/* The far side had no room, so nothing ran: send it once more, with fewer in flight. False: no
 * memory for that. */
bool ext_batch_again(ext_batch *batch, Py_ssize_t index);
/* Put `value` (stolen) into its place. */
void ext_batch_put(ext_batch *batch, Py_ssize_t index, PyObject *value);
void ext_batch_free(ext_batch *batch);
/* Answer what was not sent yet with `status`. */
void ext_batch_end_unsent(ext_messages *messages, ext_batch *batch, td_status status);
/* Of a ready-made body that its reader refused: the exception that names what is wrong with it
 * (new reference), or NULL when nothing is. */
PyObject *ext_batch_blame(ext_messages *messages, const ext_batch *batch, Py_ssize_t index);
/* Give up the batches whose Futures were cancelled. */
void ext_batches_forget(ext_messages *messages, tdi_client *client);
/* Take whole batches off the list and settle their Futures. */
void ext_batches_finish(const ext_state *state, ext_messages *messages);

#endif /* TDI_EXT_MESSAGES_H */
