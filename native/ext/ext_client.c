/* ext_client.c - the type `Client`: its life, what it says of itself, and the table of its methods.
 */
#include "ext_client.h"

#include "base/error.h"

bool ext_client_usable(ext_client *self)
{
    if (self->watch.forked) {
        ext_raise_forked(ext_client_state(self));
        return false;
    }
    if (self->client == NULL) {
        ext_raise(ext_client_state(self), TD_ERR_CLOSED, "the client has been closed");
        return false;
    }
    if (self->entered) {
        PyErr_SetString(PyExc_RuntimeError, "the client is in use: one thread at a time");
        return false;
    }
    return true;
}

PyObject *ext_client_raise(ext_client *self, td_status status)
{
    return ext_raise(ext_client_state(self), status, tdi_client_error(self->client));
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
    ext_client *self = NULL;
    if ((timeout != NULL && ext_seconds(timeout, "timeout_s", false, &timeout_ns) < 0) ||
        (spin != NULL && ext_unsigned(spin, "spin_ns", 1000000000u, &spin_ns) < 0))
        goto done;

    self = (ext_client *)type->tp_alloc(type, 0);
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
    self->spin_ns = (uint32_t)spin_ns;
    ext_fork_add(&self->watch, tdi_client_fd(client), tdi_client_socket_fd(client));
done:
    Py_DECREF(path);
    return (PyObject *)self;
}

/* Let go of the C client; in a forked child only of the pointer (see ext_fork.c). */
static void release(ext_client *self)
{
    tdi_client *client = self->client;
    self->client = NULL;
    if (client == NULL || self->watch.forked)
        return;
    ext_fork_remove(&self->watch);
    tdi_client_close(client);
}

static void client_dealloc(ext_client *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    release(self);
    ext_messages_clear(&self->messages);
    type->tp_free(self);
    Py_DECREF(type);
}

static int client_traverse(ext_client *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return ext_messages_traverse(&self->messages, visit, arg);
}

static int client_clear(ext_client *self)
{
    ext_messages_clear(&self->messages);
    return 0;
}

static PyObject *client_close(ext_client *self, PyObject *unused)
{
    (void)unused;
    if (self->entered && !self->watch.forked) {
        PyErr_SetString(PyExc_RuntimeError, "the client is in use: one thread at a time");
        return NULL;
    }
    release(self);
    Py_RETURN_NONE;
}

static PyObject *client_actions(ext_client *self, PyObject *unused)
{
    (void)unused;
    if (!ext_client_usable(self))
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

static PyObject *client_stats(ext_client *self, PyObject *unused)
{
    (void)unused;
    if (!ext_client_usable(self))
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

static PyObject *get_fd(ext_client *self, void *unused)
{
    (void)unused;
    return ext_client_usable(self) ? PyLong_FromLong(tdi_client_fd(self->client)) : NULL;
}

static PyObject *get_socket_fd(ext_client *self, void *unused)
{
    (void)unused;
    return ext_client_usable(self) ? PyLong_FromLong(tdi_client_socket_fd(self->client)) : NULL;
}

static PyObject *get_statistics_fd(ext_client *self, void *unused)
{
    (void)unused;
    return ext_client_usable(self) ? PyLong_FromLong(tdi_client_statistics_fd(self->client)) : NULL;
}

static PyObject *get_actions_version(ext_client *self, void *unused)
{
    (void)unused;
    return ext_client_usable(self)
               ? PyLong_FromUnsignedLongLong(tdi_client_actions_version(self->client))
               : NULL;
}

static PyObject *get_bridge_pid(ext_client *self, void *unused)
{
    (void)unused;
    return ext_client_usable(self)
               ? PyLong_FromUnsignedLongLong(tdi_client_bridge_pid(self->client))
               : NULL;
}

static PyObject *get_notes(ext_client *self, void *unused)
{
    (void)unused;
    if (!ext_client_usable(self))
        return NULL;
    const char *notes = tdi_client_notes(self->client);
    return PyUnicode_DecodeUTF8(notes, (Py_ssize_t)strlen(notes), "replace");
}

static PyObject *get_spin_ns(ext_client *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(self->spin_ns);
}

static PyObject *get_closed(ext_client *self, void *unused)
{
    (void)unused;
    return PyBool_FromLong(self->client == NULL || self->watch.forked);
}

/* A cast through void(*)(void) is the documented way to put these signatures into the table. */
static PyMethodDef client_methods[] = {
    {"call", (PyCFunction)(void (*)(void))ext_client_call, METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("Push one call; returns its id.")},
    {"cancel", (PyCFunction)ext_client_cancel, METH_O, PyDoc_STR("Ask a call to stop.")},
    {"progress", (PyCFunction)ext_client_progress, METH_O,
     PyDoc_STR("Read (done, total) of a call in flight.")},
    {"fate", (PyCFunction)ext_client_fate, METH_O,
     PyDoc_STR("After the bridge's death: NOT_STARTED or UNKNOWN.")},
    {"drain", (PyCFunction)ext_client_drain, METH_O,
     PyDoc_STR("Take at most `max` completions: (list, more).")},
    {"poll", (PyCFunction)ext_client_poll, METH_O,
     PyDoc_STR("As drain, but without arming the doorbell: look again soon.")},
    {"wait", (PyCFunction)ext_client_wait, METH_O,
     PyDoc_STR("Block until something can be drained; False when the time is over.")},
    {"take_logs", (PyCFunction)ext_client_take_logs, METH_NOARGS,
     PyDoc_STR("Take the lines that agents logged for calls of this client.")},
    {"actions", (PyCFunction)client_actions, METH_NOARGS,
     PyDoc_STR("List what the bridge offers.")},
    {"stats", (PyCFunction)client_stats, METH_NOARGS, PyDoc_STR("Read the session's counters.")},
    {"prepare", (PyCFunction)(void (*)(void))ext_client_prepare, METH_FASTCALL,
     PyDoc_STR("Give the hooks that messages need; comes before the first.")},
    {"send", (PyCFunction)(void (*)(void))ext_client_send, METH_FASTCALL,
     PyDoc_STR("Push one message; returns its Future.")},
    {"send_many", (PyCFunction)(void (*)(void))ext_client_send_many, METH_FASTCALL,
     PyDoc_STR("Push many messages; returns one Future for their answers.")},
    {"ask", (PyCFunction)(void (*)(void))ext_client_ask, METH_FASTCALL,
     PyDoc_STR("Send one message and block until its answer.")},
    {"way", (PyCFunction)(void (*)(void))ext_client_way, METH_FASTCALL,
     PyDoc_STR("Make the short way to one action.")},
    {"sweep", (PyCFunction)ext_client_sweep, METH_O,
     PyDoc_STR("End messages whose deadline passed longer ago than the grace.")},
    {"end_messages", (PyCFunction)ext_client_end_messages, METH_O,
     PyDoc_STR("The session is over: answer every message with its fate.")},
    {"message_stats", (PyCFunction)ext_client_message_stats, METH_NOARGS,
     PyDoc_STR("Read the counters of messages; also after close().")},
    {"close", (PyCFunction)client_close, METH_NOARGS,
     PyDoc_STR("End the session; may be repeated.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef client_properties[] = {
    {"fd", (getter)get_fd, NULL, PyDoc_STR("The doorbell's descriptor."), NULL},
    {"socket_fd", (getter)get_socket_fd, NULL, PyDoc_STR("The socket; EOF is the bridge's death."),
     NULL},
    {"statistics_fd", (getter)get_statistics_fd, NULL,
     PyDoc_STR("The bridge's statistics page; not the caller's to close."), NULL},
    {"actions_version", (getter)get_actions_version, NULL,
     PyDoc_STR("Counts the events after which actions() differs."), NULL},
    {"bridge_pid", (getter)get_bridge_pid, NULL, PyDoc_STR("For display only."), NULL},
    {"notes", (getter)get_notes, NULL,
     PyDoc_STR("What the bridge was refused by the system, a line each."), NULL},
    {"spin_ns", (getter)get_spin_ns, NULL, PyDoc_STR("As it was given."), NULL},
    {"closed", (getter)get_closed, NULL, PyDoc_STR("True after close() or in a forked child."),
     NULL},
    {"settled", (getter)ext_client_settled, NULL, PyDoc_STR("Messages answered so far."), NULL},
    {"logs_waiting", (getter)ext_client_logs_waiting, NULL,
     PyDoc_STR("Whether take_logs() has something."), NULL},
    {"waiting", (getter)ext_client_waiting, NULL,
     PyDoc_STR("Whether a message waits for its answer."), NULL},
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
    .basicsize = sizeof(ext_client),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = client_slots,
};

PyTypeObject *ext_client_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &client_spec, NULL);
}
