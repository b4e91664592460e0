/* ext_send.c - the type `Client`: its methods for messages. */
#include "base/clock.h"
#include "ext_client.h"

PyObject *ext_client_prepare(ext_client *self, PyObject *const *args, Py_ssize_t count)
{
    if (!ext_client_usable(self))
        return NULL;
    if (count != EXT_HOOKS) {
        PyErr_Format(PyExc_TypeError, "prepare() takes %d arguments, got %zd", EXT_HOOKS, count);
        return NULL;
    }
    if (ext_messages_prepare(&self->messages, self->client, args) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Read (action_id, payload, lane, timeout_s, flags) into a request. 0 or -1. */
static int read_message(ext_client *self, const char *name, PyObject *const *args, Py_ssize_t count,
                        tdi_call_request *request, unsigned *flags)
{
    uint64_t action_id, lane, bits, timeout_ns;
    if (!ext_client_usable(self))
        return -1;
    if (count != 5) {
        PyErr_Format(PyExc_TypeError, "%s() takes 5 arguments, got %zd", name, count);
        return -1;
    }
    if (self->messages.table == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "prepare() comes first");
        return -1;
    }
    if (ext_unsigned(args[0], "action_id", UINT32_MAX, &action_id) < 0 ||
        ext_unsigned(args[2], "lane", 3, &lane) < 0 ||
        ext_unsigned(args[4], "flags", EXT_ENCODED | EXT_RAW, &bits) < 0)
        return -1;
    *request =
        (tdi_call_request){.action_id = (uint32_t)action_id, .attempt = 1, .lane = (uint8_t)lane};
    if (args[3] != Py_None) {
        if (ext_seconds(args[3], "timeout", false, &timeout_ns) < 0)
            return -1;
        request->deadline_ns = tdi_now_ns() + timeout_ns;
    }
    *flags = (unsigned)bits;
    return 0;
}

typedef PyObject *(*send_fn)(const ext_state *, ext_messages *, tdi_client *, PyObject *,
                             const tdi_call_request *, unsigned);

static PyObject *send_with(ext_client *self, const char *name, PyObject *const *args,
                           Py_ssize_t count, send_fn send)
{
    tdi_call_request request;
    unsigned flags;
    if (read_message(self, name, args, count, &request, &flags) < 0)
        return NULL;
    if (self->messages.futures.loop == Py_None) {
        PyErr_SetString(PyExc_RuntimeError, "prepared without a loop: only ask() can be used");
        return NULL;
    }
    self->entered = true;
    PyObject *future =
        send(ext_client_state(self), &self->messages, self->client, args[1], &request, flags);
    self->entered = false;
    return future;
}

PyObject *ext_client_send(ext_client *self, PyObject *const *args, Py_ssize_t count)
{
    return send_with(self, "send", args, count, ext_messages_send);
}

PyObject *ext_client_send_many(ext_client *self, PyObject *const *args, Py_ssize_t count)
{
    if (count == 5 && !PyTuple_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "payloads: a tuple expected");
        return NULL;
    }
    return send_with(self, "send_many", args, count, ext_messages_send_many);
}

PyObject *ext_client_ask(ext_client *self, PyObject *const *args, Py_ssize_t count)
{
    tdi_call_request request;
    unsigned flags;
    if (read_message(self, "ask", args, count, &request, &flags) < 0)
        return NULL;
    self->entered = true;
    PyObject *value = ext_messages_ask(ext_client_state(self), &self->messages, self->client,
                                       args[1], &request, flags);
    self->entered = false;
    return value;
}

PyObject *ext_client_sweep(ext_client *self, PyObject *argument)
{
    uint64_t grace_ns;
    if (!ext_client_usable(self) || ext_seconds(argument, "grace_s", true, &grace_ns) < 0)
        return NULL;
    self->entered = true;
    const size_t ended =
        ext_messages_sweep(ext_client_state(self), &self->messages, self->client, grace_ns);
    self->entered = false;
    return PyLong_FromSize_t(ended);
}

PyObject *ext_client_end_messages(ext_client *self, PyObject *known)
{
    if (!ext_client_usable(self))
        return NULL;
    self->entered = true;
    ext_messages_end(ext_client_state(self), &self->messages, self->client, known == Py_True);
    self->entered = false;
    Py_RETURN_NONE;
}

PyObject *ext_client_message_stats(ext_client *self, PyObject *unused)
{
    (void)unused;
    const ext_messages *messages = &self->messages;
    return Py_BuildValue(
        "{sK sK sK sK sK sI}", "settled", (unsigned long long)messages->settled, "failed",
        (unsigned long long)messages->failed, "elapsed_ns",
        (unsigned long long)messages->elapsed_ns, "dropped", (unsigned long long)messages->dropped,
        "late", (unsigned long long)messages->late, "waiting", (unsigned int)messages->waiting);
}

PyObject *ext_client_settled(ext_client *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(self->messages.settled);
}

PyObject *ext_client_waiting(ext_client *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->messages.waiting > 0 || self->messages.batches != NULL);
}
