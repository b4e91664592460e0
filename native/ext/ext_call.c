/* ext_call.c - the type `Client`: calls, whose completions are rows for Python. */
#include "ext_client.h"

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
    ARG_HOLD,
    ARG_CPUS,
    ARG_COUNT
};
static const char *const call_names[ARG_COUNT] = {
    "action_id",       "body", "inputs", "attempt", "lane", "deadline_ns", "reply_bytes_max",
    "idempotency_key", "kind", "hold",   "cpus",
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

PyObject *ext_client_call(ext_client *self, PyObject *const *args, Py_ssize_t positional,
                          PyObject *keywords)
{
    PyObject *values[ARG_COUNT] = {NULL};
    uint64_t action = 0, attempt, lane, deadline_ns, reply_bytes_max, kind, hold;
    if (!ext_client_usable(self) || sort_call_arguments(args, positional, keywords, values) < 0 ||
        ext_unsigned(values[ARG_ACTION], "action_id", UINT32_MAX, &action) < 0 ||
        optional_unsigned(values, ARG_ATTEMPT, UINT16_MAX, 1, &attempt) < 0 ||
        optional_unsigned(values, ARG_LANE, 3, 2, &lane) < 0 ||
        optional_unsigned(values, ARG_DEADLINE, UINT64_MAX, 0, &deadline_ns) < 0 ||
        optional_unsigned(values, ARG_REPLY, UINT32_MAX, 0, &reply_bytes_max) < 0 ||
        optional_unsigned(values, ARG_KIND, 5, 1, &kind) < 0 ||
        optional_unsigned(values, ARG_HOLD, 1, 0, &hold) < 0)
        return NULL;
    if (kind != 1 && kind != 4 && kind != 5) {
        PyErr_SetString(PyExc_ValueError, "kind: expected 1 (call), 4 (load) or 5 (run)");
        return NULL;
    }

    PyObject *result = NULL;
    Py_buffer body = {0}, inputs = {0}, key = {0}, cpus = {0};
    if (ext_bytes(values[ARG_BODY], "body", false, &body) < 0 ||
        ext_bytes(values[ARG_INPUTS], "inputs", true, &inputs) < 0 ||
        ext_bytes(values[ARG_KEY], "idempotency_key", true, &key) < 0 ||
        ext_bytes(values[ARG_CPUS], "cpus", true, &cpus) < 0)
        goto done;
    if (cpus.len > 128 || cpus.len % 8 != 0) {
        PyErr_Format(PyExc_ValueError, "cpus: %zd bytes, expected up to 128 by eights", cpus.len);
        goto done;
    }
    if (key.len > 64) {
        PyErr_Format(PyExc_ValueError, "idempotency_key: %zd bytes, at most 64", key.len);
        goto done;
    }
    /* A buffer's own code may have run meanwhile, and may have closed us. */
    if (!ext_client_usable(self))
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
        .cpus = view_of(&cpus),
    };
    uint64_t call_id = 0;
    if (hold > 0)
        ext_messages_hold(&self->messages, self->client);
    const td_status status = tdi_client_call(self->client, &request, &call_id);
    result =
        status == TD_OK ? PyLong_FromUnsignedLongLong(call_id) : ext_client_raise(self, status);
done:
    PyBuffer_Release(&cpus);
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

PyObject *ext_client_cancel(ext_client *self, PyObject *argument)
{
    uint64_t call_id;
    if (!ext_client_usable(self) || ext_unsigned(argument, "call_id", UINT64_MAX, &call_id) < 0)
        return NULL;
    const td_status status = tdi_client_cancel(self->client, call_id);
    if (status == TD_ERR_ARGUMENT)
        return raise_unknown_call(call_id);
    if (status != TD_OK)
        return ext_client_raise(self, status);
    Py_RETURN_NONE;
}

PyObject *ext_client_progress(ext_client *self, PyObject *argument)
{
    uint64_t call_id, done = 0, total = 0;
    if (!ext_client_usable(self) || ext_unsigned(argument, "call_id", UINT64_MAX, &call_id) < 0)
        return NULL;
    const td_status status = tdi_client_progress(self->client, call_id, &done, &total);
    if (status == TD_ERR_ARGUMENT)
        return raise_unknown_call(call_id);
    if (status != TD_OK)
        return ext_client_raise(self, status);
    return Py_BuildValue("(KK)", (unsigned long long)done, (unsigned long long)total);
}

PyObject *ext_client_fate(ext_client *self, PyObject *argument)
{
    uint64_t call_id;
    if (!ext_client_usable(self) || ext_unsigned(argument, "call_id", UINT64_MAX, &call_id) < 0)
        return NULL;
    const td_status status = tdi_client_fate(self->client, call_id);
    if (status == TD_ERR_ARGUMENT)
        return raise_unknown_call(call_id);
    if (status < 0)
        return ext_client_raise(self, status);
    return PyLong_FromLong((long)status);
}
