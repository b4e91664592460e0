/* ext_messages.c - messages: out in C, answered in C; see ext_messages.h. */
#include "ext_messages.h"

#include "base/clock.h"
#include "strict/strict.h"

#define HELD_MAX     32         /* single messages that wait for the look that shows them */
#define SCRATCH_KEPT (1u << 20) /* bytes; a larger buffer is given back after its message */

/* ---- settling ---- */

void ext_messages_put(const ext_state *state, ext_messages *messages, PyObject *future, bool failed,
                      PyObject *value)
{
    const ext_put put = ext_future_put(state, &messages->futures, future, failed, value);
    messages->dropped += put == EXT_PUT_DROPPED;
    messages->late += put == EXT_PUT_CANCELLED;
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
        ext_batch_put(batch, index, value);
        return;
    }
    ext_messages_put(state, messages, future, failed, value);
    Py_DECREF(value);
    Py_DECREF(future);
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
    if (completion->status == TD_BUSY && entry->batch != NULL &&
        ext_batch_again(entry->batch, entry->index)) {
        entry_end(messages, entry, EXT_NOT_OURS);
        return 1;
    }
    messages->settled++;
    messages->failed += completion->status != TD_OK;
    messages->elapsed_ns += completion->elapsed_ns;
    if (entry->state == EXT_GIVEN_UP) {
        messages->late++;
        entry->state = EXT_NOT_OURS;
        return 1;
    }
    bool failed = true;
    PyObject *value = NULL;
    if (completion->status == TD_CORRUPT && entry->batch != NULL && entry->flags & EXT_ENCODED)
        value = ext_batch_blame(messages, entry->batch, entry->index);
    if (value == NULL)
        value = ext_answer_of(state, messages, entry, completion, &failed);
    settle(state, messages, entry, value, failed, EXT_NOT_OURS);
    return 1;
}

/* ---- sending ---- */

int ext_body_of(ext_messages *messages, PyObject *payload, unsigned flags, td_view *body,
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

void ext_scratch_rest(ext_messages *messages)
{
    if (messages->scratch.room > SCRATCH_KEPT)
        ext_buffer_free(&messages->scratch);
}

void ext_messages_show(ext_messages *messages, tdi_client *client)
{
    if (messages->held > 0)
        tdi_client_show(client);
    messages->held = 0;
}

void ext_messages_hold(ext_messages *messages, tdi_client *client)
{
    if (messages->held < HELD_MAX) {
        tdi_client_hold(client);
        messages->held++;
    } else {
        ext_messages_show(messages, client);
    }
}

ext_entry *ext_entry_begin(ext_messages *messages, uint64_t call_id,
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

PyObject *ext_messages_push(const ext_state *state, ext_messages *messages, tdi_client *client,
                            PyObject *payload, const tdi_call_request *request, unsigned flags,
                            bool quiet)
{
    tdi_call_request call = *request;
    PyObject *kept = NULL;
    if (ext_body_of(messages, payload, flags, &call.body, &kept) < 0)
        return NULL;
    PyObject *future = ext_future_make(&messages->futures);
    uint64_t call_id = 0;
    if (future != NULL) {
        /* The first is shown at once. While others are under way a look is due in this turn of the
         * loop, and until then the rest is held: one doorbell for many, where the bridge would
         * otherwise fall asleep and be rung awake between any two. */
        if (messages->waiting > 0)
            ext_messages_hold(messages, client);
        else
            ext_messages_show(messages, client);
        const td_status status = tdi_client_call(client, &call, &call_id);
        if (status == TD_OK) {
            ext_entry_begin(messages, call_id, &call, flags)->future = Py_NewRef(future);
        } else {
            Py_CLEAR(future);
            if (!quiet)
                ext_raise(state, status, tdi_client_error(client));
        }
    }
    Py_XDECREF(kept);
    ext_scratch_rest(messages);
    return future;
}

PyObject *ext_messages_send(const ext_state *state, ext_messages *messages, tdi_client *client,
                            PyObject *payload, const tdi_call_request *request, unsigned flags)
{
    return ext_messages_push(state, messages, client, payload, request, flags, false);
}

/* ---- ends ---- */

void ext_entry_give_up(ext_messages *messages, tdi_client *client, ext_entry *entry)
{
    tdi_client_cancel(client, entry->call_id);
    entry_end(messages, entry, EXT_GIVEN_UP);
}

size_t ext_messages_sweep(const ext_state *state, ext_messages *messages, tdi_client *client,
                          uint64_t grace_ns)
{
    const uint64_t now_ns = tdi_now_ns();
    size_t ended = 0;
    for (uint32_t slot = 0; slot < messages->high; slot++) {
        ext_entry *entry = &messages->table[slot];
        if (entry->state != EXT_WAITING)
            continue;
        if (entry->future != NULL && ext_future_done(&messages->futures, entry->future)) {
            ext_entry_give_up(messages, client, entry);
            ended++;
            continue;
        }
        if (entry->deadline_ns == 0 || now_ns < entry->deadline_ns ||
            now_ns - entry->deadline_ns < grace_ns)
            continue;
        tdi_client_cancel(client, entry->call_id);
        PyObject *error =
            ext_error_of(messages, entry->action_id, TD_TIMED_OUT, (td_view){NULL, 0});
        settle(state, messages, entry, error, true, EXT_GIVEN_UP);
        ended++;
    }
    ext_batches_forget(messages, client);
    for (ext_batch *batch = messages->batches; batch != NULL; batch = batch->next)
        if (batch->deadline_ns != 0 && now_ns >= batch->deadline_ns)
            ext_batch_end_unsent(messages, batch, TD_TIMED_OUT);
    ext_batches_finish(state, messages);
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
        PyObject *error = ext_error_of(messages, entry->action_id, status < 0 ? TD_UNKNOWN : status,
                                       (td_view){NULL, 0});
        settle(state, messages, entry, error, true, EXT_NOT_OURS);
    }
    for (ext_batch *batch = messages->batches; batch != NULL; batch = batch->next)
        ext_batch_end_unsent(messages, batch, TD_NOT_STARTED);
    ext_batches_finish(state, messages);
}

/* ---- life ---- */

int ext_messages_prepare(ext_messages *messages, tdi_client *client,
                         PyObject *const hooks[EXT_HOOKS])
{
    PyObject **places[] = {&messages->make_error, &messages->make_body, &messages->revive,
                           &messages->timestamp, &messages->wake};
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
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        Py_XSETREF(*places[i], Py_NewRef(hooks[i + 2]));
    return ext_futures_prepare(&messages->futures, hooks[0], hooks[1]);
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
    Py_VISIT(messages->make_error);
    Py_VISIT(messages->make_body);
    Py_VISIT(messages->revive);
    Py_VISIT(messages->timestamp);
    Py_VISIT(messages->wake);
    return ext_futures_traverse(&messages->futures, visit, arg);
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
        ext_batch_free(batch);
    }
    ext_futures_clear(&messages->futures);
    Py_CLEAR(messages->wake);
    Py_CLEAR(messages->make_error);
    Py_CLEAR(messages->make_body);
    Py_CLEAR(messages->revive);
    Py_CLEAR(messages->timestamp);
    PyMem_Free(messages->table);
    messages->table = NULL;
    messages->slots = 0;
    ext_buffer_free(&messages->scratch);
}
