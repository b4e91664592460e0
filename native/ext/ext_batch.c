/* ext_batch.c - batches: many payloads, pushed as room comes, and one Future for all. */
#include "base/clock.h"
#include "ext_messages.h"

#define WINDOW     1024u    /* messages of one batch in flight */
#define WINDOW_MIN 16       /* however often the far side refuses */
#define SHOW_EVERY 256      /* so that the bridge begins early, and not in our cache lines */
#define GROW_EVERY 64       /* answers after which a window that has shrunk takes one more */
#define REST_NS    1000000u /* after a refusal with nothing else of ours in flight */

void ext_batch_put(ext_batch *batch, Py_ssize_t index, PyObject *value)
{
    PyList_SET_ITEM(batch->results, index, value);
    if (++batch->done % GROW_EVERY == 0 && batch->window < (Py_ssize_t)WINDOW)
        batch->window++;
}

void ext_batch_free(ext_batch *batch)
{
    if (batch->results != NULL && !PyObject_GC_IsTracked(batch->results))
        PyObject_GC_Track(batch->results); /* places that are still NULL are fine for a list */
    Py_XDECREF(batch->payloads);
    Py_XDECREF(batch->results);
    Py_XDECREF(batch->future);
    PyMem_Free(batch->again);
    PyMem_Free(batch);
}

static Py_ssize_t in_flight(const ext_batch *batch)
{
    return batch->sent - batch->again_total - batch->done;
}

bool ext_batch_again(ext_batch *batch, Py_ssize_t index)
{
    if (batch->again_total == batch->again_room) {
        const Py_ssize_t room = batch->again_room + (Py_ssize_t)WINDOW;
        Py_ssize_t *again = PyMem_Realloc(batch->again, (size_t)room * sizeof *again);
        if (again == NULL)
            return false;
        batch->again = again;
        batch->again_room = room;
    }
    batch->again[batch->again_total++] = index;
    batch->refused++;
    return true;
}

void ext_batches_finish(const ext_state *state, ext_messages *messages)
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
        ext_messages_put(state, messages, batch->future, false, batch->results);
        ext_batch_free(batch);
        link = &messages->batches; /* the Future's loop ran Python code */
    }
}

/* Learn from what was refused since the last refill. False: it is time to rest. */
static bool adapt(ext_batch *batch)
{
    if (batch->rest_until_ns != 0 && tdi_now_ns() < batch->rest_until_ns)
        return false;
    batch->rest_until_ns = 0;
    const bool any_done = batch->done > batch->done_before;
    batch->done_before = batch->done;
    if (batch->refused == 0)
        return true;
    batch->window -= batch->refused;
    if (batch->window < WINDOW_MIN)
        batch->window = WINDOW_MIN;
    batch->refused = 0;
    if (any_done || in_flight(batch) > 0)
        return true;
    batch->rest_until_ns = tdi_now_ns() + REST_NS;
    return false;
}

/* What was next is sent, or has its answer. */
static void took(ext_batch *batch, bool again)
{
    if (again)
        batch->again_total--;
    else
        batch->sent++;
}

/* Send the next payload of a batch: 1 sent or answered in place, 0 no room now. */
static int batch_step(ext_messages *messages, tdi_client *client, ext_batch *batch)
{
    tdi_call_request call = {.action_id = batch->action_id,
                             .attempt = 1,
                             .lane = batch->lane,
                             .deadline_ns = batch->deadline_ns};
    PyObject *kept = NULL;
    const bool again = batch->again_total > 0;
    const Py_ssize_t index = again ? batch->again[batch->again_total - 1] : batch->sent;
    PyObject *payload = PyTuple_GET_ITEM(batch->payloads, index);
    if (batch->flags & EXT_ENCODED && PyBytes_CheckExact(payload)) {
        /* Whoever reads it checks it, and refuses this one alone: see ext_batch_blame. */
        call.body = (td_view){(const uint8_t *)PyBytes_AS_STRING(payload),
                              (size_t)PyBytes_GET_SIZE(payload)};
    } else if (ext_body_of(messages, payload, batch->flags, &call.body, &kept) < 0) {
        took(batch, again);
        ext_batch_put(batch, index, ext_raised());
        return 1;
    }
    uint64_t call_id = 0;
    const td_status status = tdi_client_call(client, &call, &call_id);
    Py_XDECREF(kept);
    if (status == TD_OK) {
        ext_entry *entry = ext_entry_begin(messages, call_id, &call, batch->flags);
        entry->batch = batch;
        entry->index = index;
        took(batch, again);
        return 1;
    }
    if (status != TD_TOO_LARGE)
        return 0; /* busy: later; over: the end of the session answers it */
    took(batch, again);
    ext_batch_put(batch, index,
                  ext_error_of(messages, batch->action_id, status, (td_view){NULL, 0}));
    return 1;
}

bool ext_messages_refill(const ext_state *state, ext_messages *messages, tdi_client *client)
{
    bool any = false;
    for (ext_batch *batch = messages->batches; batch != NULL; batch = batch->next) {
        unsigned since_shown = 0;
        if (!adapt(batch))
            continue;
        tdi_client_hold(client);
        while ((batch->sent < batch->total || batch->again_total > 0) &&
               in_flight(batch) < batch->window && batch_step(messages, client, batch)) {
            any = true;
            if (++since_shown % SHOW_EVERY == 0) {
                tdi_client_show(client);
                tdi_client_hold(client);
            }
        }
        tdi_client_show(client);
    }
    ext_batches_finish(state, messages);
    ext_scratch_rest(messages);
    return any;
}

PyObject *ext_messages_send_many(const ext_state *state, ext_messages *messages, tdi_client *client,
                                 PyObject *payloads, const tdi_call_request *request,
                                 unsigned flags)
{
    ext_batch *batch = PyMem_Calloc(1, sizeof *batch);
    if (batch == NULL)
        return PyErr_NoMemory();
    batch->payloads = Py_NewRef(payloads);
    batch->total = PyTuple_GET_SIZE(payloads);
    batch->window = (Py_ssize_t)WINDOW;
    batch->results = PyList_New(batch->total);
    batch->future = ext_future_make(&messages->futures);
    batch->action_id = request->action_id;
    batch->lane = request->lane;
    batch->flags = (uint8_t)flags;
    batch->deadline_ns = request->deadline_ns;
    if (batch->results == NULL || batch->future == NULL) {
        ext_batch_free(batch);
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

void ext_batch_end_unsent(ext_messages *messages, ext_batch *batch, td_status status)
{
    while (batch->sent < batch->total || batch->again_total > 0) {
        const bool again = batch->again_total > 0;
        const Py_ssize_t index = again ? batch->again[batch->again_total - 1] : batch->sent;
        took(batch, again);
        ext_batch_put(batch, index,
                      ext_error_of(messages, batch->action_id, status, (td_view){NULL, 0}));
    }
}

PyObject *ext_batch_blame(ext_messages *messages, const ext_batch *batch, Py_ssize_t index)
{
    PyObject *body = PyObject_CallFunctionObjArgs(
        messages->make_body, PyTuple_GET_ITEM(batch->payloads, index), Py_True, NULL);
    Py_XDECREF(body);
    return body == NULL ? ext_raised() : NULL;
}

void ext_batches_forget(ext_messages *messages, tdi_client *client)
{
    ext_batch **link = &messages->batches;
    while (*link != NULL) {
        ext_batch *batch = *link;
        if (!ext_future_done(&messages->futures, batch->future)) {
            link = &batch->next;
            continue;
        }
        for (uint32_t slot = 0; slot < messages->high; slot++)
            if (messages->table[slot].state == EXT_WAITING && messages->table[slot].batch == batch)
                ext_entry_give_up(messages, client, &messages->table[slot]);
        *link = batch->next;
        ext_batch_free(batch);
    }
}
