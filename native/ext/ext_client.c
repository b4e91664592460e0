/* ext_client.c - the type `Client`: client.h, seen from Python.
 *
 * Threads: client.h wants one thread at a time. The GIL gives that, except while wait() has let
 *          go of it, and while drain() makes objects (which can run the collector, and so any
 *          code): `entered` is set then, and any other use raises RuntimeError.
 * Memory:  the object owns its tdi_client from the constructor to close().
 */
#include "ext.h"

#include "base/clock.h"
#include "base/error.h"
#include "ext_messages.h"

/* One look settles messages and refills batches for at most this long; then the loop has its turn.
 */
#define LOOK_NS 1000000u
/* wait() comes back this often to let Python handle signals. */
#define WAIT_SLICE_NS 100000000u

typedef struct client_object {
    PyObject_HEAD tdi_client *client; /* NULL once closed */
    ext_fork_watch watch;
    bool entered;
    ext_messages messages;
} client_object;

static ext_state *state_of(client_object *self)
{
    /* The type cannot be subclassed, so the object's type is the one tied to the module. */
    return PyType_GetModuleState(Py_TYPE(self));
}

/* The client may be used now; else an exception and false. */
static bool usable(client_object *self)
{
    if (self->watch.forked) {
        ext_raise_forked(state_of(self));
        return false;
    }
    if (self->client == NULL) {
        ext_raise(state_of(self), TD_ERR_CLOSED, "the client has been closed");
        return false;
    }
    if (self->entered) {
        PyErr_SetString(PyExc_RuntimeError, "the client is in use: one thread at a time");
        return false;
    }
    return true;
}

static PyObject *raise_status(client_object *self, td_status status)
{
    return ext_raise(state_of(self), status, tdi_client_error(self->client));
}

static PyObject *client_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"socket_path", "name", "timeout_s", "spin_ns", "build_id", NULL};
    PyObject *path = NULL, *timeout = NULL, *spin = NULL;
    const char *name = NULL, *build_id = tdi_build_id();
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&s|OO$s:Client", names, PyUnicode_FSConverter,
                                     &path, &name, &timeout, &spin, &build_id))
        return NULL;

    uint64_t timeout_ns = 5000000000u, spin_ns = 2000;
    client_object *self = NULL;
    if ((timeout != NULL && ext_seconds(timeout, "timeout_s", false, &timeout_ns) < 0) ||
        (spin != NULL && ext_unsigned(spin, "spin_ns", 1000000000u, &spin_ns) < 0))
        goto done;

    self = (client_object *)type->tp_alloc(type, 0);
    if (self == NULL)
        goto done;
    const tdi_client_options options = {
        .socket_path = PyBytes_AS_STRING(path),
        .name = name,
        .build_id = build_id,
        .timeout_ns = timeout_ns,
        .spin_ns = (uint32_t)spin_ns,
    };
    tdi_client *client = NULL;
    td_status status;
    /* `name`, `path` and `build_id` are kept alive by our caller and by `path`. */
    Py_BEGIN_ALLOW_THREADS status = tdi_client_connect(&options, &client);
    Py_END_ALLOW_THREADS if (status != TD_OK)
    {
        ext_raise(PyType_GetModuleState(type), status, tdi_client_error(NULL));
        Py_CLEAR(self);
        goto done;
    }
    self->client = client;
    ext_fork_add(&self->watch, tdi_client_fd(client), tdi_client_socket_fd(client));
done:
    Py_DECREF(path);
    return (PyObject *)self;
}

/* Let go of the C client; in a forked child only of the pointer (see ext_fork.c). */
static void release(client_object *self)
{
    tdi_client *client = self->client;
    self->client = NULL;
    if (client == NULL || self->watch.forked)
        return;
    ext_fork_remove(&self->watch);
    tdi_client_close(client);
}

static void client_dealloc(client_object *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    release(self);
    ext_messages_clear(&self->messages);
    type->tp_free(self);
    Py_DECREF(type);
}

static int client_traverse(client_object *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return ext_messages_traverse(&self->messages, visit, arg);
}

static int client_clear(client_object *self)
{
    ext_messages_clear(&self->messages);
    return 0;
}

static PyObject *client_close(client_object *self, PyObject *unused)
{
    (void)unused;
    if (self->entered && !self->watch.forked) {
        PyErr_SetString(PyExc_RuntimeError, "the client is in use: one thread at a time");
        return NULL;
    }
    release(self);
    Py_RETURN_NONE;
}

/* The keywords of call(), in the order of `values` below. */
enum {
    ARG_ACTION,
    ARG_BODY,
    ARG_INPUTS,
    ARG_ATTEMPT,
    ARG_LANE,
    ARG_DEADLINE,
    ARG_REPLY,
    ARG_KEY,
    ARG_KIND,
    ARG_COUNT
};
static const char *const call_names[ARG_COUNT] = {
    "action_id",       "body", "inputs", "attempt", "lane", "deadline_ns", "reply_bytes_max",
    "idempotency_key", "kind",
};

/* Sort positional and keyword arguments of call() into `values` (borrowed). 0 or -1. */
static int sort_call_arguments(PyObject *const *args, Py_ssize_t positional, PyObject *keywords,
                               PyObject *values[ARG_COUNT])
{
    if (positional > 2) {
        PyErr_Format(PyExc_TypeError, "call() takes 2 positional arguments, got %zd", positional);
        return -1;
    }
    for (Py_ssize_t i = 0; i < positional; i++)
        values[i] = args[i];
    const Py_ssize_t keyword_count = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    for (Py_ssize_t k = 0; k < keyword_count; k++) {
        PyObject *keyword = PyTuple_GET_ITEM(keywords, k);
        int slot = 0;
        while (slot < ARG_COUNT && PyUnicode_CompareWithASCIIString(keyword, call_names[slot]) != 0)
            slot++;
        if (slot == ARG_COUNT) {
            PyErr_Format(PyExc_TypeError, "call() has no argument %R", keyword);
            return -1;
        }
        if (values[slot] != NULL) {
            PyErr_Format(PyExc_TypeError, "call(): %s given twice", call_names[slot]);
            return -1;
        }
        values[slot] = args[positional + k];
    }
    for (int slot = 0; slot <= ARG_BODY; slot++)
        if (values[slot] == NULL) {
            PyErr_Format(PyExc_TypeError, "call() misses its argument %s", call_names[slot]);
            return -1;
        }
    return 0;
}

static int optional_unsigned(PyObject *const values[ARG_COUNT], int slot, uint64_t max,
                             uint64_t otherwise, uint64_t *out)
{
    *out = otherwise;
    return values[slot] == NULL ? 0 : ext_unsigned(values[slot], call_names[slot], max, out);
}

static td_view view_of(const Py_buffer *buffer)
{
    return (td_view){.data = buffer->buf, .bytes = (size_t)buffer->len};
}

static PyObject *client_call(client_object *self, PyObject *const *args, Py_ssize_t positional,
                             PyObject *keywords)
{
    PyObject *values[ARG_COUNT] = {NULL};
    uint64_t action = 0, attempt, lane, deadline_ns, reply_bytes_max, kind;
    if (!usable(self) || sort_call_arguments(args, positional, keywords, values) < 0 ||
        ext_unsigned(values[ARG_ACTION], "action_id", UINT32_MAX, &action) < 0 ||
        optional_unsigned(values, ARG_ATTEMPT, UINT16_MAX, 1, &attempt) < 0 ||
        optional_unsigned(values, ARG_LANE, 3, 2, &lane) < 0 ||
        optional_unsigned(values, ARG_DEADLINE, UINT64_MAX, 0, &deadline_ns) < 0 ||
        optional_unsigned(values, ARG_REPLY, UINT32_MAX, 0, &reply_bytes_max) < 0 ||
        optional_unsigned(values, ARG_KIND, 5, 1, &kind) < 0)
        return NULL;
    if (kind != 1 && kind != 4 && kind != 5) {
        PyErr_SetString(PyExc_ValueError, "kind: expected 1 (call), 4 (load) or 5 (run)");
        return NULL;
    }

    PyObject *result = NULL;
    Py_buffer body = {0}, inputs = {0}, key = {0};
    if (ext_bytes(values[ARG_BODY], "body", false, &body) < 0 ||
        ext_bytes(values[ARG_INPUTS], "inputs", true, &inputs) < 0 ||
        ext_bytes(values[ARG_KEY], "idempotency_key", true, &key) < 0)
        goto done;
    if (key.len > 64) {
        PyErr_Format(PyExc_ValueError, "idempotency_key: %zd bytes, at most 64", key.len);
        goto done;
    }
    /* A buffer's own code may have run meanwhile, and may have closed us. */
    if (!usable(self))
        goto done;
    const tdi_call_request request = {
        .action_id = (uint32_t)action,
        .attempt = (uint16_t)attempt,
        .kind = (uint8_t)kind,
        .lane = (uint8_t)lane,
        .deadline_ns = deadline_ns,
        .reply_bytes_max = (uint32_t)reply_bytes_max,
        .body = view_of(&body),
        .inputs = view_of(&inputs),
        .idempotency_key = view_of(&key),
    };
    uint64_t call_id = 0;
    const td_status status = tdi_client_call(self->client, &request, &call_id);
    result = status == TD_OK ? PyLong_FromUnsignedLongLong(call_id) : raise_status(self, status);
done:
    PyBuffer_Release(&key);
    PyBuffer_Release(&inputs);
    PyBuffer_Release(&body);
    return result;
}

/* The client says TD_ERR_ARGUMENT without a sentence of its own. */
static PyObject *raise_unknown_call(uint64_t call_id)
{
    return PyErr_Format(PyExc_ValueError, "call_id=%llu: no such call is in flight",
                        (unsigned long long)call_id);
}

static PyObject *client_cancel(client_object *self, PyObject *argument)
{
    uint64_t call_id;
    if (!usable(self) || ext_unsigned(argument, "call_id", UINT64_MAX, &call_id) < 0)
        return NULL;
    const td_status status = tdi_client_cancel(self->client, call_id);
    if (status == TD_ERR_ARGUMENT)
        return raise_unknown_call(call_id);
    if (status != TD_OK)
        return raise_status(self, status);
    Py_RETURN_NONE;
}

static PyObject *client_progress(client_object *self, PyObject *argument)
{
    uint64_t call_id, done = 0, total = 0;
    if (!usable(self) || ext_unsigned(argument, "call_id", UINT64_MAX, &call_id) < 0)
        return NULL;
    const td_status status = tdi_client_progress(self->client, call_id, &done, &total);
    if (status == TD_ERR_ARGUMENT)
        return raise_unknown_call(call_id);
    if (status != TD_OK)
        return raise_status(self, status);
    return Py_BuildValue("(KK)", (unsigned long long)done, (unsigned long long)total);
}

static PyObject *client_fate(client_object *self, PyObject *argument)
{
    uint64_t call_id;
    if (!usable(self) || ext_unsigned(argument, "call_id", UINT64_MAX, &call_id) < 0)
        return NULL;
    const td_status status = tdi_client_fate(self->client, call_id);
    if (status == TD_ERR_ARGUMENT)
        return raise_unknown_call(call_id);
    if (status < 0)
        return raise_status(self, status);
    return PyLong_FromLong((long)status);
}

typedef struct drain_context {
    client_object *self;
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

static PyObject *take(client_object *self, PyObject *argument, drain_fn drain)
{
    uint64_t max;
    if (!usable(self) || ext_unsigned(argument, "max", SIZE_MAX, &max) < 0)
        return NULL;
    if (max == 0) {
        PyErr_SetString(PyExc_ValueError, "max=0: must be above 0");
        return NULL;
    }
    drain_context context = {.self = self, .state = state_of(self), .list = PyList_New(0)};
    if (context.list == NULL)
        return NULL;
    int more = 0;
    ext_messages_show(&self->messages, self->client);
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
        raise_status(self, status);
    else
        result = Py_BuildValue("(OO)", context.list, more ? Py_True : Py_False);
    Py_DECREF(context.list);
    return result;
}

static PyObject *client_drain(client_object *self, PyObject *argument)
{
    return take(self, argument, tdi_client_drain);
}

static PyObject *client_poll(client_object *self, PyObject *argument)
{
    return take(self, argument, tdi_client_poll);
}

/* ---- messages ---- */

static PyObject *client_prepare(client_object *self, PyObject *const *args, Py_ssize_t count)
{
    if (!usable(self))
        return NULL;
    if (count != 6) {
        PyErr_Format(PyExc_TypeError, "prepare() takes 6 arguments, got %zd", count);
        return NULL;
    }
    if (ext_messages_prepare(&self->messages, self->client, args) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* Read (action_id, payload, lane, timeout_s, flags) into a request. 0 or -1. */
static int read_message(client_object *self, const char *name, PyObject *const *args,
                        Py_ssize_t count, tdi_call_request *request, unsigned *flags)
{
    uint64_t action_id, lane, bits, timeout_ns;
    if (!usable(self))
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
                             PyObject *, const tdi_call_request *, unsigned);

static PyObject *send_with(client_object *self, const char *name, PyObject *const *args,
                           Py_ssize_t count, send_fn send)
{
    tdi_call_request request;
    unsigned flags;
    if (read_message(self, name, args, count, &request, &flags) < 0)
        return NULL;
    if (self->messages.loop == Py_None) {
        PyErr_SetString(PyExc_RuntimeError, "prepared without a loop: only ask() can be used");
        return NULL;
    }
    self->entered = true;
    PyObject *future = send(state_of(self), &self->messages, self->client, (PyObject *)self,
                            args[1], &request, flags);
    self->entered = false;
    return future;
}

static PyObject *client_send(client_object *self, PyObject *const *args, Py_ssize_t count)
{
    return send_with(self, "send", args, count, ext_messages_send);
}

static PyObject *client_send_many(client_object *self, PyObject *const *args, Py_ssize_t count)
{
    if (count == 5 && !PyTuple_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "payloads: a tuple expected");
        return NULL;
    }
    return send_with(self, "send_many", args, count, ext_messages_send_many);
}

static PyObject *client_ask(client_object *self, PyObject *const *args, Py_ssize_t count)
{
    tdi_call_request request;
    unsigned flags;
    if (read_message(self, "ask", args, count, &request, &flags) < 0)
        return NULL;
    self->entered = true;
    PyObject *value =
        ext_messages_ask(state_of(self), &self->messages, self->client, args[1], &request, flags);
    self->entered = false;
    return value;
}

static PyObject *client_forget(client_object *self, PyObject *future)
{
    /* A Future may outlive its session, or its process. */
    if (self->client == NULL || self->watch.forked)
        Py_RETURN_FALSE;
    if (!usable(self))
        return NULL;
    return PyBool_FromLong(ext_messages_forget(&self->messages, self->client, future));
}

static PyObject *client_sweep(client_object *self, PyObject *argument)
{
    uint64_t grace_ns;
    if (!usable(self) || ext_seconds(argument, "grace_s", true, &grace_ns) < 0)
        return NULL;
    self->entered = true;
    const size_t ended =
        ext_messages_sweep(state_of(self), &self->messages, self->client, grace_ns);
    self->entered = false;
    return PyLong_FromSize_t(ended);
}

static PyObject *client_end_messages(client_object *self, PyObject *known)
{
    if (!usable(self))
        return NULL;
    self->entered = true;
    ext_messages_end(state_of(self), &self->messages, self->client, known == Py_True);
    self->entered = false;
    Py_RETURN_NONE;
}

static PyObject *client_message_stats(client_object *self, PyObject *unused)
{
    (void)unused;
    const ext_messages *messages = &self->messages;
    return Py_BuildValue(
        "{sK sK sK sK sK sI}", "settled", (unsigned long long)messages->settled, "failed",
        (unsigned long long)messages->failed, "elapsed_ns",
        (unsigned long long)messages->elapsed_ns, "dropped", (unsigned long long)messages->dropped,
        "late", (unsigned long long)messages->late, "waiting", (unsigned int)messages->waiting);
}

static PyObject *get_settled(client_object *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(self->messages.settled);
}

static PyObject *get_waiting(client_object *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->messages.waiting > 0 || self->messages.batches != NULL);
}

static PyObject *client_wait(client_object *self, PyObject *argument)
{
    uint64_t timeout_ns;
    if (!usable(self) || ext_seconds(argument, "timeout_s", true, &timeout_ns) < 0)
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
        if (PyErr_CheckSignals() < 0 || !usable(self))
            return NULL;
    } while (status == TD_TIMED_OUT && tdi_now_ns() < end_ns);
    if (status == TD_TIMED_OUT)
        Py_RETURN_FALSE;
    if (status != TD_OK)
        return raise_status(self, status);
    Py_RETURN_TRUE;
}

static PyObject *client_actions(client_object *self, PyObject *unused)
{
    (void)unused;
    if (!usable(self))
        return NULL;
    const tdi_client_action *actions = NULL;
    const size_t count = tdi_client_actions(self->client, &actions);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t i = 0; list != NULL && i < count; i++) {
        const tdi_client_action *action = &actions[i];
        PyObject *item = Py_BuildValue(
            "(sssIiiOO)", action->agent, action->name, action->version, (unsigned int)action->id,
            (int)action->effects, (int)action->runs, action->deterministic ? Py_True : Py_False,
            action->in_programs ? Py_True : Py_False);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *client_stats(client_object *self, PyObject *unused)
{
    (void)unused;
    if (!usable(self))
        return NULL;
    tdi_client_stats stats = {0};
    tdi_client_stats_read(self->client, &stats);
    return Py_BuildValue(
        "{sK sK sK sK sK sK sK sI sI}", "calls", (unsigned long long)stats.calls, "completions",
        (unsigned long long)stats.completions, "bytes_out", (unsigned long long)stats.bytes_out,
        "bytes_in", (unsigned long long)stats.bytes_in, "doorbells_rung",
        (unsigned long long)stats.doorbells_rung, "doorbells_taken",
        (unsigned long long)stats.doorbells_taken, "rescues", (unsigned long long)stats.rescues,
        "in_flight", (unsigned int)stats.in_flight, "slots", (unsigned int)stats.slots);
}

static PyObject *get_fd(client_object *self, void *unused)
{
    (void)unused;
    return usable(self) ? PyLong_FromLong(tdi_client_fd(self->client)) : NULL;
}

static PyObject *get_socket_fd(client_object *self, void *unused)
{
    (void)unused;
    return usable(self) ? PyLong_FromLong(tdi_client_socket_fd(self->client)) : NULL;
}

static PyObject *get_actions_version(client_object *self, void *unused)
{
    (void)unused;
    return usable(self) ? PyLong_FromUnsignedLongLong(tdi_client_actions_version(self->client))
                        : NULL;
}

static PyObject *get_bridge_pid(client_object *self, void *unused)
{
    (void)unused;
    return usable(self) ? PyLong_FromUnsignedLongLong(tdi_client_bridge_pid(self->client)) : NULL;
}

static PyObject *get_closed(client_object *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->client == NULL || self->watch.forked);
}

/* A cast through void(*)(void) is the documented way to put these signatures into the table. */
static PyMethodDef client_methods[] = {
    {"call", (PyCFunction)(void (*)(void))client_call, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("Push one call; returns its id.")},
    {"cancel", (PyCFunction)client_cancel, METH_O, PyDoc_STR("Ask a call to stop.")},
    {"progress", (PyCFunction)client_progress, METH_O,
     PyDoc_STR("Read (done, total) of a call in flight.")},
    {"fate", (PyCFunction)client_fate, METH_O,
     PyDoc_STR("After the bridge's death: NOT_STARTED or UNKNOWN.")},
    {"drain", (PyCFunction)client_drain, METH_O,
     PyDoc_STR("Take at most `max` completions: (list, more).")},
    {"poll", (PyCFunction)client_poll, METH_O,
     PyDoc_STR("As drain, but without arming the doorbell: look again soon.")},
    {"wait", (PyCFunction)client_wait, METH_O,
     PyDoc_STR("Block until something can be drained; False when the time is over.")},
    {"actions", (PyCFunction)client_actions, METH_NOARGS,
     PyDoc_STR("List what the bridge offers.")},
    {"stats", (PyCFunction)client_stats, METH_NOARGS, PyDoc_STR("Read the session's counters.")},
    {"prepare", (PyCFunction)(void (*)(void))client_prepare, METH_FASTCALL,
     PyDoc_STR("Give the hooks that messages need; comes before the first.")},
    {"send", (PyCFunction)(void (*)(void))client_send, METH_FASTCALL,
     PyDoc_STR("Push one message; returns its Future.")},
    {"send_many", (PyCFunction)(void (*)(void))client_send_many, METH_FASTCALL,
     PyDoc_STR("Push many messages; returns one Future for their answers.")},
    {"ask", (PyCFunction)(void (*)(void))client_ask, METH_FASTCALL,
     PyDoc_STR("Send one message and block until its answer.")},
    {"forget", (PyCFunction)client_forget, METH_O,
     PyDoc_STR("The Future was cancelled: ask its call to stop.")},
    {"sweep", (PyCFunction)client_sweep, METH_O,
     PyDoc_STR("End messages whose deadline passed longer ago than the grace.")},
    {"end_messages", (PyCFunction)client_end_messages, METH_O,
     PyDoc_STR("The session is over: answer every message with its fate.")},
    {"message_stats", (PyCFunction)client_message_stats, METH_NOARGS,
     PyDoc_STR("Read the counters of messages; also after close().")},
    {"close", (PyCFunction)client_close, METH_NOARGS,
     PyDoc_STR("End the session; may be repeated.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef client_properties[] = {
    {"fd", (getter)get_fd, NULL, PyDoc_STR("The doorbell's descriptor."), NULL},
    {"socket_fd", (getter)get_socket_fd, NULL, PyDoc_STR("The socket; EOF is the bridge's death."),
     NULL},
    {"actions_version", (getter)get_actions_version, NULL,
     PyDoc_STR("Counts the events after which actions() differs."), NULL},
    {"bridge_pid", (getter)get_bridge_pid, NULL, PyDoc_STR("For display only."), NULL},
    {"closed", (getter)get_closed, NULL, PyDoc_STR("True after close() or in a forked child."),
     NULL},
    {"settled", (getter)get_settled, NULL, PyDoc_STR("Messages answered so far."), NULL},
    {"waiting", (getter)get_waiting, NULL, PyDoc_STR("Whether a message waits for its answer."),
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot client_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("One session with a bridge; see _ext.pyi.")},
    {Py_tp_new, client_new},
    {Py_tp_dealloc, client_dealloc},
    {Py_tp_traverse, client_traverse},
    {Py_tp_clear, client_clear},
    {Py_tp_methods, client_methods},
    {Py_tp_getset, client_properties},
    {0, NULL},
};

static PyType_Spec client_spec = {
    .name = "tandem_orchestrator._native._ext.Client",
    .basicsize = sizeof(client_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = client_slots,
};

PyTypeObject *ext_client_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &client_spec, NULL);
}
