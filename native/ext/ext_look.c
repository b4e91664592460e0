/* ext_look.c - the type `Client`: looks for completions, and the wait for them. */
#include "base/clock.h"
#include "ext_client.h"

/* One look settles messages and refills batches for at most this long; then the loop has its turn.
 */
#define LOOK_NS 1000000u
/* wait() comes back this often to let Python handle signals. */
#define WAIT_SLICE_NS 100000000u

typedef struct drain_context {
    ext_client *self;
    const ext_state *state;
    PyObject *list;
    bool failed; /* an exception is set; later completions cannot be kept */
} drain_context;

static void keep_completion(void *context, const tdi_completion *completion)
{
    drain_context *drain = context;
    /* A message's answer is always settled, also when a row has failed. */
    if (ext_messages_take(drain->state, &drain->self->messages, completion) || drain->failed)
        return;
    PyObject *item = Py_BuildValue(
        "(KiKKy#)", (unsigned long long)completion->call_id, (int)completion->status,
        (unsigned long long)completion->started_ns, (unsigned long long)completion->elapsed_ns,
        completion->body.bytes == 0 ? "" : (const char *)completion->body.data,
        (Py_ssize_t)completion->body.bytes);
    drain->failed = item == NULL || PyList_Append(drain->list, item) < 0;
    Py_XDECREF(item);
}

typedef td_status (*drain_fn)(tdi_client *, size_t, tdi_completion_fn, void *, int *);

static PyObject *take(ext_client *self, PyObject *argument, drain_fn drain)
{
    uint64_t max;
    if (!ext_client_usable(self) || ext_unsigned(argument, "max", SIZE_MAX, &max) < 0)
        return NULL;
    if (max == 0) {
        PyErr_SetString(PyExc_ValueError, "max=0: must be above 0");
        return NULL;
    }
    drain_context context = {.self = self, .state = ext_client_state(self), .list = PyList_New(0)};
    if (context.list == NULL)
        return NULL;
    int more = 0;
    ext_messages_show(&self->messages, self->client);
    self->messages.look_due = false;
    self->entered = true;
    td_status status = drain(self->client, (size_t)max, keep_completion, &context, &more);
    if (self->messages.batches != NULL) {
        /* A batch stays in C while its answers keep coming. */
        const uint64_t end_ns = tdi_now_ns() + LOOK_NS;
        while (status == TD_OK &&
               (ext_messages_refill(context.state, &self->messages, self->client) || more) &&
               self->messages.batches != NULL && !context.failed && tdi_now_ns() < end_ns)
            status = drain(self->client, (size_t)max, keep_completion, &context, &more);
    }
    self->entered = false;
    PyObject *result = NULL;
    if (context.failed)
        ; /* MemoryError is set already */
    else if (status != TD_OK)
        ext_client_raise(self, status);
    else
        result = Py_BuildValue("(OO)", context.list, more ? Py_True : Py_False);
    Py_DECREF(context.list);
    return result;
}

PyObject *ext_client_drain(ext_client *self, PyObject *argument)
{
    return take(self, argument, tdi_client_drain);
}

PyObject *ext_client_poll(ext_client *self, PyObject *argument)
{
    return take(self, argument, tdi_client_poll);
}

PyObject *ext_client_wait(ext_client *self, PyObject *argument)
{
    uint64_t timeout_ns;
    if (!ext_client_usable(self) || ext_seconds(argument, "timeout_s", true, &timeout_ns) < 0)
        return NULL;
    const uint64_t end_ns = tdi_now_ns() + timeout_ns;
    td_status status;
    do {
        const uint64_t now_ns = tdi_now_ns();
        const uint64_t left_ns = now_ns < end_ns ? end_ns - now_ns : 0;
        const uint64_t slice_ns = left_ns < WAIT_SLICE_NS ? left_ns : WAIT_SLICE_NS;
        self->entered = true;
        Py_BEGIN_ALLOW_THREADS status = tdi_client_wait(self->client, slice_ns);
        Py_END_ALLOW_THREADS self->entered = false;
        if (PyErr_CheckSignals() < 0 || !ext_client_usable(self))
            return NULL;
    } while (status == TD_TIMED_OUT && tdi_now_ns() < end_ns);
    if (status == TD_TIMED_OUT)
        Py_RETURN_FALSE;
    if (status != TD_OK)
        return ext_client_raise(self, status);
    Py_RETURN_TRUE;
}
