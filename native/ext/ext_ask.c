/* ext_ask.c - one message, and a wait without the GIL until its answer. */
#include "base/clock.h"
#include "ext_messages.h"

#define WAIT_SLICE_NS 100000000u /* signals are looked at this often */
#define ASK_GRACE_NS  50000000u  /* beyond its deadline, for the bridge's own TIMED_OUT */

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
    ask->value = ext_answer_of(ask->state, ask->messages, ask->entry, completion, &ask->failed);
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
    if (ext_body_of(messages, payload, flags, &call.body, &kept) < 0)
        return NULL;
    ext_entry entry = {.action_id = call.action_id, .flags = (uint8_t)flags};
    td_status status = tdi_client_call(client, &call, &entry.call_id);
    Py_XDECREF(kept);
    ext_scratch_rest(messages);
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
            ask.value = ext_error_of(messages, entry.action_id, TD_TIMED_OUT, (td_view){NULL, 0});
        else if (status != TD_OK && status != TD_TIMED_OUT)
            ask.value = ext_error_of(
                messages, entry.action_id,
                status == TD_ERR_CLOSED ? tdi_client_fate(client, entry.call_id) : TD_UNKNOWN,
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
