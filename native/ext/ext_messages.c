/* ext_messages.c - messages: out in C, answered in C; see ext_messages.h. */
#include "ext_messages.h"

#include "base/clock.h"
#include "strict/strict.h"

#define WINDOW        1024u      /* messages of one batch in flight */
#define HELD_MAX      32         /* single messages that wait for the look that shows them */
#define SHOW_EVERY    64         /* of a batch: so that the bridge begins while we encode */
#define SCRATCH_KEPT  (1u << 20) /* bytes; a larger buffer is given back after its message */
#define WAIT_SLICE_NS 100000000u /* ask() looks for signals this often */
#define ASK_GRACE_NS  50000000u  /* beyond its deadline, for the bridge's own TIMED_OUT */

/* ---- settling ---- */

/* Put a value, or an exception, into a Future; what it refuses is dropped and counted: its loop
 * is closed, or somebody else has settled it. Steals nothing. */
static void put_into(const ext_state *state, ext_messages *messages, PyObject *future,
                     PyObject *name, PyObject *value)
{
    PyObject *done = PyObject_CallMethodOneArg(future, name, value);
    if (done != NULL) {
        Py_DECREF(done);
        return;
    }
    messages->dropped++;
    if (PyErr_ExceptionMatches(PyExc_RuntimeError) || PyErr_ExceptionMatches(state->invalid_state))
        PyErr_Clear();
    else
        PyErr_WriteUnraisable(future);
}

/* Take the exception that is set as an object (new reference). */
static PyObject *raised(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* The exception for a status (new reference; never NULL short of a dead interpreter). */
static PyObject *error_of(ext_messages *messages, uint32_t action_id, td_status status,
                          td_view body)
{
    PyObject *made = PyObject_CallFunction(
        messages->make_error, "Iiy#", (unsigned int)action_id, (int)status,
        body.bytes == 0 ? "" : (const char *)body.data, (Py_ssize_t)body.bytes);
    return made != NULL ? made : raised();
}

/* The answer's value, or (*failed) the exception in its place (new reference). */
static PyObject *answer_of(const ext_state *state, ext_messages *messages, const ext_entry *entry,
                           const tdi_completion *completion, bool *failed)
{
    *failed = completion->status != TD_OK;
    if (*failed)
        return error_of(messages, entry->action_id, completion->status, completion->body);
    PyObject *value;
    if (entry->flags & EXT_RAW) {
        value = PyBytes_FromStringAndSize((const char *)completion->body.data,
                                          (Py_ssize_t)completion->body.bytes);
    } else {
        ext_decoder decoder = {.keys = state->keys, .timestamp = messages->timestamp};
        value = ext_decode(&decoder, completion->body.data, completion->body.bytes);
        if (value != NULL && decoder.marked)
            Py_SETREF(value, PyObject_CallOneArg(messages->revive, value));
    }
    if (value != NULL)
        return value;
    *failed = true;
    return raised();
}

/* Put `value` (stolen) into its place. */
static void batch_put(ext_batch *batch, Py_ssize_t index, PyObject *value)
{
    PyList_SET_ITEM(batch->results, index, value);
    batch->done++;
}

/* Forget an entry; the caller has taken what it pointed to. */
static void entry_end(ext_messages *messages, ext_entry *entry, ext_entry_state state)
{
    if (entry->state == EXT_WAITING)
        messages->waiting--;
    entry->state = (uint8_t)state;
    entry->batch = NULL;
    Py_CLEAR(entry->future);
}

/* Settle an entry with `value` (stolen). */
static void settle(const ext_state *state, ext_messages *messages, ext_entry *entry,
                   PyObject *value, bool failed, ext_entry_state after)
{
    ext_batch *batch = entry->batch;
    PyObject *future = Py_XNewRef(entry->future);
    const Py_ssize_t index = entry->index;
    entry_end(messages, entry, after);
    if (batch != NULL) {
        batch_put(batch, index, value);
        return;
    }
    put_into(state, messages, future, failed ? state->set_exception : state->set_result, value);
    Py_DECREF(value);
    Py_DECREF(future);
}

static void batch_free(ext_batch *batch)
{
    if (batch->results != NULL && !PyObject_GC_IsTracked(batch->results))
        PyObject_GC_Track(batch->results); /* places that are still NULL are fine for a list */
    Py_XDECREF(batch->payloads);
    Py_XDECREF(batch->results);
    Py_XDECREF(batch->future);
    PyMem_Free(batch);
}

/* Take whole batches off the list and settle their Futures. */
static void finish_batches(const ext_state *state, ext_messages *messages)
{
    ext_batch **link = &messages->batches;
    while (*link != NULL) {
        ext_batch *batch = *link;
        if (batch->done < batch->total) {
            link = &batch->next;
            continue;
        }
        *link = batch->next;
        PyObject_GC_Track(batch->results);
        put_into(state, messages, batch->future, state->set_result, batch->results);
        batch_free(batch);
        link = &messages->batches; /* the Future's loop ran Python code */
    }
}

int ext_messages_take(const ext_state *state, ext_messages *messages,
                      const tdi_completion *completion)
{
    const uint32_t slot = (uint32_t)completion->call_id;
    if (messages->table == NULL || slot >= messages->slots)
        return 0;
    ext_entry *entry = &messages->table[slot];
    if (entry->state == EXT_NOT_OURS || entry->call_id != completion->call_id)
        return 0;
    messages->settled++;
    messages->failed += completion->status != TD_OK;
    messages->elapsed_ns += completion->elapsed_ns;
    if (entry->state == EXT_GIVEN_UP) {
        messages->late++;
        entry->state = EXT_NOT_OURS;
        return 1;
    }
    bool failed;
    PyObject *value = answer_of(state, messages, entry, completion, &failed);
    settle(state, messages, entry, value, failed, EXT_NOT_OURS);
    return 1;
}

/* ---- sending ---- */

/* Point request->body at the payload's body. *kept (maybe NULL) must outlive the push. 0 or -1. */
static int body_of(ext_messages *messages, PyObject *payload, unsigned flags, td_view *body,
                   PyObject **kept)
{
    *kept = NULL;
    int done = 0;
    if (flags & EXT_ENCODED) {
        if (PyBytes_CheckExact(payload)) {
            *body = (td_view){(const uint8_t *)PyBytes_AS_STRING(payload),
                              (size_t)PyBytes_GET_SIZE(payload)};
            if (td_strict_check(body->data, body->bytes) == TD_OK)
                return 0;
        }
    } else {
        messages->scratch.bytes = 0;
        done = ext_encode(payload, &messages->scratch);
    }
    if (done < 0)
        return -1;
    if (done == 0) {
        /* model.values knows more kinds than we do, and how to name what is wrong. */
        *kept = PyObject_CallFunctionObjArgs(messages->make_body, payload,
                                             flags & EXT_ENCODED ? Py_True : Py_False, NULL);
        if (*kept == NULL)
            return -1;
        if (!PyBytes_CheckExact(*kept)) {
            Py_CLEAR(*kept);
            PyErr_SetString(PyExc_TypeError, "make_body: bytes expected");
            return -1;
        }
        *body =
            (td_view){(const uint8_t *)PyBytes_AS_STRING(*kept), (size_t)PyBytes_GET_SIZE(*kept)};
        return 0;
    }
    *body = (td_view){messages->scratch.data, messages->scratch.bytes};
    return 0;
}

static void scratch_rest(ext_messages *messages)
{
    if (messages->scratch.room > SCRATCH_KEPT)
        ext_buffer_free(&messages->scratch);
}

static PyObject *make_future(const ext_state *state, ext_messages *messages, PyObject *owner)
{
    PyObject *const args[] = {messages->loop};
    PyObject *future = PyObject_Vectorcall(messages->future_type, args, 0, state->loop_names);
    if (future != NULL && PyObject_SetAttr(future, state->stop, owner) < 0)
        Py_CLEAR(future);
    return future;
}

void ext_messages_show(ext_messages *messages, tdi_client *client)
{
    if (messages->held > 0)
        tdi_client_show(client);
    messages->held = 0;
}

static ext_entry *entry_begin(ext_messages *messages, uint64_t call_id,
                              const tdi_call_request *request, unsigned flags)
{
    const uint32_t slot = (uint32_t)call_id; /* below the client's slots, which are ours */
    ext_entry *entry = &messages->table[slot];
    *entry = (ext_entry){
        .call_id = call_id,
        .deadline_ns = request->deadline_ns,
        .action_id = request->action_id,
        .flags = (uint8_t)flags,
        .state = EXT_WAITING,
    };
    messages->waiting++;
    if (slot >= messages->high)
        messages->high = slot + 1;
    return entry;
}

PyObject *ext_messages_send(const ext_state *state, ext_messages *messages, tdi_client *client,
                            PyObject *owner, PyObject *payload, const tdi_call_request *request,
                            unsigned flags)
{
    tdi_call_request call = *request;
    PyObject *kept = NULL;
    if (body_of(messages, payload, flags, &call.body, &kept) < 0)
        return NULL;
    PyObject *future = make_future(state, messages, owner);
    uint64_t call_id = 0;
    if (future != NULL) {
        /* The first is shown at once. While others are under way a look is due in this turn of the
         * loop, and until then the rest is held: one doorbell for many, where the bridge would
         * otherwise fall asleep and be rung awake between any two. */
        if (messages->waiting > 0 && messages->held < HELD_MAX) {
            tdi_client_hold(client);
            messages->held++;
        } else {
            ext_messages_show(messages, client);
        }
        const td_status status = tdi_client_call(client, &call, &call_id);
        if (status == TD_OK) {
            entry_begin(messages, call_id, &call, flags)->future = Py_NewRef(future);
        } else {
            ext_raise(state, status, tdi_client_error(client));
            Py_CLEAR(future);
        }
    }
    Py_XDECREF(kept);
    scratch_rest(messages);
    return future;
}

/* Send the next payload of a batch: 1 sent or answered in place, 0 no room now. */
static int batch_step(ext_messages *messages, tdi_client *client, ext_batch *batch)
{
    tdi_call_request call = {.action_id = batch->action_id,
                             .attempt = 1,
                             .lane = batch->lane,
                             .deadline_ns = batch->deadline_ns};
    PyObject *kept = NULL;
    const Py_ssize_t index = batch->sent;
    if (body_of(messages, PyTuple_GET_ITEM(batch->payloads, index), batch->flags, &call.body,
                &kept) < 0) {
        batch->sent++;
        batch_put(batch, index, raised());
        return 1;
    }
    uint64_t call_id = 0;
    const td_status status = tdi_client_call(client, &call, &call_id);
    Py_XDECREF(kept);
    if (status == TD_OK) {
        ext_entry *entry = entry_begin(messages, call_id, &call, batch->flags);
        entry->batch = batch;
        entry->index = index;
        batch->sent++;
        return 1;
    }
    if (status != TD_TOO_LARGE)
        return 0; /* busy: later; over: the end of the session answers it */
    batch->sent++;
    batch_put(batch, index, error_of(messages, batch->action_id, status, (td_view){NULL, 0}));
    return 1;
}

bool ext_messages_refill(const ext_state *state, ext_messages *messages, tdi_client *client)
{
    bool any = false;
    for (ext_batch *batch = messages->batches; batch != NULL; batch = batch->next) {
        unsigned since_shown = 0;
        tdi_client_hold(client);
        while (batch->sent < batch->total && batch->sent - batch->done < (Py_ssize_t)WINDOW &&
               batch_step(messages, client, batch)) {
            any = true;
            if (++since_shown % SHOW_EVERY == 0) {
                tdi_client_show(client);
                tdi_client_hold(client);
            }
        }
        tdi_client_show(client);
    }
    finish_batches(state, messages);
    scratch_rest(messages);
    return any;
}

PyObject *ext_messages_send_many(const ext_state *state, ext_messages *messages, tdi_client *client,
                                 PyObject *owner, PyObject *payloads,
                                 const tdi_call_request *request, unsigned flags)
{
    ext_batch *batch = PyMem_Calloc(1, sizeof *batch);
    if (batch == NULL)
        return PyErr_NoMemory();
    batch->payloads = Py_NewRef(payloads);
    batch->total = PyTuple_GET_SIZE(payloads);
    batch->results = PyList_New(batch->total);
    batch->future = make_future(state, messages, owner);
    batch->action_id = request->action_id;
    batch->lane = request->lane;
    batch->flags = (uint8_t)flags;
    batch->deadline_ns = request->deadline_ns;
    if (batch->results == NULL || batch->future == NULL) {
        batch_free(batch);
        return NULL;
    }
    PyObject_GC_UnTrack(batch->results);
    PyObject *future = Py_NewRef(batch->future);
    ext_batch **last = &messages->batches; /* first come, first served */
    while (*last != NULL)
        last = &(*last)->next;
    *last = batch;
    ext_messages_refill(state, messages, client);
    return future;
}

typedef struct ask_context {
    const ext_state *state;
    ext_messages *messages;
    const ext_entry *entry;
    PyObject *value; /* the answer, or an exception, once it is there */
    bool failed;
} ask_context;

static void take_asked(void *context, const tdi_completion *completion)
{
    ask_context *ask = context;
    if (ask->value != NULL || completion->call_id != ask->entry->call_id)
        return; /* an earlier one that was given up */
    ask->messages->settled++;
    ask->messages->failed += completion->status != TD_OK;
    ask->messages->elapsed_ns += completion->elapsed_ns;
    ask->value = answer_of(ask->state, ask->messages, ask->entry, completion, &ask->failed);
}

/* Raise an exception object (stolen). */
static void raise_object(PyObject *exception)
{
    PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
    Py_DECREF(exception);
}

PyObject *ext_messages_ask(const ext_state *state, ext_messages *messages, tdi_client *client,
                           PyObject *payload, const tdi_call_request *request, unsigned flags)
{
    tdi_call_request call = *request;
    PyObject *kept = NULL;
    if (body_of(messages, payload, flags, &call.body, &kept) < 0)
        return NULL;
    ext_entry entry = {.action_id = call.action_id, .flags = (uint8_t)flags};
    td_status status = tdi_client_call(client, &call, &entry.call_id);
    Py_XDECREF(kept);
    scratch_rest(messages);
    if (status != TD_OK)
        return ext_raise(state, status, tdi_client_error(client));
    ask_context ask = {.state = state, .messages = messages, .entry = &entry};
    const uint64_t end_ns = call.deadline_ns == 0 || call.deadline_ns > UINT64_MAX - ASK_GRACE_NS
                                ? UINT64_MAX
                                : call.deadline_ns + ASK_GRACE_NS;
    while (ask.value == NULL) {
        const uint64_t now_ns = tdi_now_ns();
        const uint64_t left_ns = now_ns < end_ns ? end_ns - now_ns : 0;
        const uint64_t slice_ns = left_ns < WAIT_SLICE_NS ? left_ns : WAIT_SLICE_NS;
        Py_BEGIN_ALLOW_THREADS status = tdi_client_wait(client, slice_ns);
        Py_END_ALLOW_THREADS int more = 0;
        if (status == TD_OK)
            status = tdi_client_poll(client, 64, take_asked, &ask, &more);
        if (ask.value != NULL)
            break;
        if (status == TD_TIMED_OUT && left_ns == 0)
            ask.value = error_of(messages, entry.action_id, TD_TIMED_OUT, (td_view){NULL, 0});
        else if (status != TD_OK && status != TD_TIMED_OUT)
            ask.value = error_of(messages, entry.action_id,
                                 status == TD_ERR_CLOSED ? tdi_client_fate(client, entry.call_id)
                                                         : TD_UNKNOWN,
                                 (td_view){NULL, 0});
        else if (PyErr_CheckSignals() < 0) {
            tdi_client_cancel(client, entry.call_id);
            return NULL;
        }
        ask.failed = true;
    }
    if (!ask.failed)
        return ask.value;
    raise_object(ask.value);
    return NULL;
}

/* ---- ends ---- */

bool ext_messages_forget(ext_messages *messages, tdi_client *client, PyObject *future)
{
    ext_batch **link = &messages->batches;
    while (*link != NULL && (*link)->future != future)
        link = &(*link)->next;
    ext_batch *batch = *link;
    bool found = batch != NULL;
    for (uint32_t slot = 0; slot < messages->high; slot++) {
        ext_entry *entry = &messages->table[slot];
        if (entry->state != EXT_WAITING ||
            (batch != NULL ? entry->batch != batch : entry->future != future))
            continue;
        found = true;
        if (client != NULL)
            tdi_client_cancel(client, entry->call_id);
        entry_end(messages, entry, EXT_GIVEN_UP);
        if (batch == NULL)
            break;
    }
    if (batch != NULL) {
        *link = batch->next;
        batch_free(batch);
    }
    return found;
}

/* Answer what of a batch was not sent yet with `status`. */
static void end_unsent(ext_messages *messages, ext_batch *batch, td_status status)
{
    while (batch->sent < batch->total) {
        const Py_ssize_t index = batch->sent++;
        batch_put(batch, index, error_of(messages, batch->action_id, status, (td_view){NULL, 0}));
    }
}

size_t ext_messages_sweep(const ext_state *state, ext_messages *messages, tdi_client *client,
                          uint64_t grace_ns)
{
    const uint64_t now_ns = tdi_now_ns();
    size_t ended = 0;
    for (uint32_t slot = 0; slot < messages->high; slot++) {
        ext_entry *entry = &messages->table[slot];
        if (entry->state != EXT_WAITING || entry->deadline_ns == 0 || now_ns < entry->deadline_ns ||
            now_ns - entry->deadline_ns < grace_ns)
            continue;
        tdi_client_cancel(client, entry->call_id);
        PyObject *error = error_of(messages, entry->action_id, TD_TIMED_OUT, (td_view){NULL, 0});
        settle(state, messages, entry, error, true, EXT_GIVEN_UP);
        ended++;
    }
    for (ext_batch *batch = messages->batches; batch != NULL; batch = batch->next)
        if (batch->deadline_ns != 0 && now_ns >= batch->deadline_ns)
            end_unsent(messages, batch, TD_TIMED_OUT);
    finish_batches(state, messages);
    return ended;
}

void ext_messages_end(const ext_state *state, ext_messages *messages, tdi_client *client,
                      bool known)
{
    for (uint32_t slot = 0; slot < messages->high; slot++) {
        ext_entry *entry = &messages->table[slot];
        if (entry->state == EXT_NOT_OURS)
            continue;
        if (entry->state == EXT_GIVEN_UP) {
            entry->state = EXT_NOT_OURS;
            continue;
        }
        const td_status status = known ? tdi_client_fate(client, entry->call_id) : TD_UNKNOWN;
        PyObject *error = error_of(messages, entry->action_id, status < 0 ? TD_UNKNOWN : status,
                                   (td_view){NULL, 0});
        settle(state, messages, entry, error, true, EXT_NOT_OURS);
    }
    for (ext_batch *batch = messages->batches; batch != NULL; batch = batch->next)
        end_unsent(messages, batch, TD_NOT_STARTED);
    finish_batches(state, messages);
}

/* ---- life ---- */

int ext_messages_prepare(ext_messages *messages, tdi_client *client, PyObject *const hooks[6])
{
    PyObject **places[] = {&messages->loop,      &messages->future_type, &messages->make_error,
                           &messages->make_body, &messages->revive,      &messages->timestamp};
    if (messages->table == NULL) {
        tdi_client_stats stats;
        tdi_client_stats_read(client, &stats);
        messages->table = PyMem_Calloc(stats.slots, sizeof *messages->table);
        if (messages->table == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        messages->slots = stats.slots;
    }
    for (size_t i = 0; i < 6; i++)
        Py_XSETREF(*places[i], Py_NewRef(hooks[i]));
    return 0;
}

int ext_messages_traverse(ext_messages *messages, visitproc visit, void *arg)
{
    for (uint32_t slot = 0; slot < messages->high; slot++)
        Py_VISIT(messages->table[slot].future);
    for (ext_batch *batch = messages->batches; batch != NULL; batch = batch->next) {
        Py_VISIT(batch->future);
        Py_VISIT(batch->payloads);
        /* The list is hidden from the collector: visit what it holds in its stead. */
        for (Py_ssize_t i = 0; i < batch->total; i++)
            Py_VISIT(PyList_GET_ITEM(batch->results, i));
    }
    Py_VISIT(messages->loop);
    Py_VISIT(messages->future_type);
    Py_VISIT(messages->make_error);
    Py_VISIT(messages->make_body);
    Py_VISIT(messages->revive);
    Py_VISIT(messages->timestamp);
    return 0;
}

void ext_messages_clear(ext_messages *messages)
{
    const uint32_t high = messages->high;
    messages->high = 0;
    for (uint32_t slot = 0; slot < high; slot++)
        entry_end(messages, &messages->table[slot], EXT_NOT_OURS);
    while (messages->batches != NULL) {
        ext_batch *batch = messages->batches;
        messages->batches = batch->next;
        batch_free(batch);
    }
    Py_CLEAR(messages->loop);
    Py_CLEAR(messages->future_type);
    Py_CLEAR(messages->make_error);
    Py_CLEAR(messages->make_body);
    Py_CLEAR(messages->revive);
    Py_CLEAR(messages->timestamp);
    PyMem_Free(messages->table);
    messages->table = NULL;
    messages->slots = 0;
    ext_buffer_free(&messages->scratch);
}
