/* ext_error.c - each td_status has one exception, decided here and nowhere else. */
#include "ext.h"

#include <errno.h>

static const char *status_sentence(td_status status)
{
    switch (status) {
    case TD_OK:
        return "no error";
    case TD_FAILED:
        return "the action failed";
    case TD_TIMED_OUT:
        return "the deadline passed";
    case TD_CANCELLED:
        return "the call was cancelled";
    case TD_UNKNOWN:
        return "it may have run: the process that took it died";
    case TD_NOT_STARTED:
        return "it never ran";
    case TD_NO_AGENT:
        return "no such agent or action";
    case TD_BUSY:
        return "no slot, credit or quota is left";
    case TD_TOO_LARGE:
        return "a body is over its limit";
    case TD_CORRUPT:
        return "bytes that break the rules of the wire";
    case TD_ERR_AGAIN:
        return "nothing there now";
    case TD_ERR_FULL:
        return "the ring has no room now";
    case TD_ERR_CLOSED:
        return "the session is gone";
    case TD_ERR_SYSTEM:
        return "a system call failed";
    case TD_ERR_MEMORY:
        return "out of memory";
    case TD_ERR_REFUSED:
        return "the bridge refused the session";
    case TD_ERR_ARGUMENT:
        return "an argument the client does not know";
    }
    return "an unknown status";
}

static PyObject *exception_of(const ext_state *state, td_status status)
{
    switch (status) {
    case TD_BUSY:
    case TD_ERR_AGAIN:
    case TD_ERR_FULL:
        return state->busy;
    case TD_TOO_LARGE:
        return state->too_large;
    case TD_CORRUPT:
        return state->corrupt;
    case TD_TIMED_OUT:
        return state->timed_out;
    case TD_ERR_CLOSED:
        return state->closed;
    case TD_ERR_REFUSED:
        return state->refused;
    case TD_ERR_ARGUMENT:
        return PyExc_ValueError;
    case TD_ERR_MEMORY:
        return PyExc_MemoryError;
    default:
        return state->error;
    }
}

static PyObject *raise_with_status(PyObject *exception, td_status status, const char *text)
{
    /* "replace": the text may name a path that is not UTF-8. */
    PyObject *message = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace");
    if (message == NULL)
        return NULL;
    PyObject *instance = PyObject_CallOneArg(exception, message);
    Py_DECREF(message);
    if (instance == NULL)
        return NULL;
    PyObject *number = PyLong_FromLong((long)status);
    if (number != NULL && PyObject_SetAttrString(instance, "status", number) == 0)
        PyErr_SetObject((PyObject *)Py_TYPE(instance), instance);
    Py_XDECREF(number);
    Py_DECREF(instance);
    return NULL;
}

PyObject *ext_raise(const ext_state *state, td_status status, const char *text)
{
    if (text == NULL || text[0] == '\0')
        text = status_sentence(status);
    return raise_with_status(exception_of(state, status), status, text);
}

PyObject *ext_raise_forked(const ext_state *state)
{
    return raise_with_status(state->forked, TD_ERR_CLOSED,
                             "the client belongs to the parent process; connect anew in the child");
}

/* Make `tandem_orchestrator._native._ext.NAME` and add it to the module. */
static PyObject *add_exception(PyObject *module, const char *name, const char *doc, PyObject *base)
{
    char full[96];
    PyOS_snprintf(full, sizeof full, "tandem_orchestrator._native._ext.%s", name);
    PyObject *made = PyErr_NewExceptionWithDoc(full, doc, base, NULL);
    if (made != NULL && PyModule_AddObjectRef(module, name, made) < 0)
        Py_CLEAR(made);
    return made;
}

int ext_errors_init(PyObject *module, ext_state *state)
{
    state->error = add_exception(module, "NativeError",
                                 "The C layer refused; `status` is the td_status.", NULL);
    if (state->error == NULL)
        return -1;
    const struct {
        PyObject **slot;
        const char *name, *doc;
        PyObject **base;
    } classes[] = {
        {&state->busy, "Busy", "No slot, credit or ring room now; nothing was sent.",
         &state->error},
        {&state->too_large, "TooLarge", "A body is over its limit; nothing was sent.",
         &state->error},
        {&state->closed, "Closed", "The session is over.", &state->error},
        {&state->forked, "Forked", "The client belongs to the parent process.", &state->closed},
        {&state->refused, "Refused", "The bridge refused the handshake and said why.",
         &state->error},
        {&state->timed_out, "TimedOut", "The time limit passed.", &state->error},
        {&state->corrupt, "Corrupt", "Bytes that break the rules of the wire.", &state->error},
    };
    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        *classes[i].slot = add_exception(module, classes[i].name, classes[i].doc, *classes[i].base);
        if (*classes[i].slot == NULL)
            return -1;
    }
    return 0;
}
