/* ext_answer.c - a completion as what its caller gets: a value, or an exception. */
#include "ext_messages.h"

PyObject *ext_raised(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

PyObject *ext_error_of(ext_messages *messages, uint32_t action_id, td_status status, td_view body)
{
    PyObject *made = PyObject_CallFunction(
        messages->make_error, "Iiy#", (unsigned int)action_id, (int)status,
        body.bytes == 0 ? "" : (const char *)body.data, (Py_ssize_t)body.bytes);
    return made != NULL ? made : ext_raised();
}

PyObject *ext_answer_of(const ext_state *state, ext_messages *messages, const ext_entry *entry,
                        const tdi_completion *completion, bool *failed)
{
    *failed = completion->status != TD_OK;
    if (*failed)
        return ext_error_of(messages, entry->action_id, completion->status, completion->body);
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
    return ext_raised();
}
