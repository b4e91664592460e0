/* ext_module.c - the module `_ext`: multi-phase, its state per module, no sub-interpreters. */
#include "ext.h"

#include "base/crc32c.h"
#include "base/error.h"
#include "ext_client.h"
#include "ext_codec.h"
#include "strict/strict.h"

static PyObject *module_strict_check(PyObject *module, PyObject *argument)
{
    Py_buffer body;
    if (ext_bytes(argument, "body", false, &body) < 0)
        return NULL;
    /* The GIL is kept: a check runs at memory speed, and letting go costs more than most bodies. */
    const td_status status = td_strict_check(body.buf, (size_t)body.len);
    PyBuffer_Release(&body);
    if (status != TD_OK)
        return ext_raise(PyModule_GetState(module), status, "the body is not strict MessagePack");
    Py_RETURN_NONE;
}

static PyObject *module_crc32c(PyObject *module, PyObject *argument)
{
    (void)module;
    Py_buffer body;
    if (ext_bytes(argument, "body", false, &body) < 0)
        return NULL;
    const uint32_t crc = tdi_crc32c(0, body.buf, (size_t)body.len);
    PyBuffer_Release(&body);
    return PyLong_FromUnsignedLong(crc);
}

static PyObject *module_encode(PyObject *module, PyObject *value)
{
    (void)module;
    ext_buffer buffer = {0};
    const int done = ext_encode(value, &buffer);
    PyObject *body = NULL;
    if (done == 1)
        body = PyBytes_FromStringAndSize((const char *)buffer.data, (Py_ssize_t)buffer.bytes);
    else if (done == 0)
        body = Py_NewRef(Py_None);
    ext_buffer_free(&buffer);
    return body;
}

static PyObject *module_decode(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    const ext_state *state = PyModule_GetState(module);
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "decode() takes 2 arguments, got %zd", count);
        return NULL;
    }
    Py_buffer body;
    if (ext_bytes(args[0], "body", false, &body) < 0)
        return NULL;
    PyObject *value = NULL;
    if (td_strict_check(body.buf, (size_t)body.len) != TD_OK) {
        ext_raise(state, TD_CORRUPT, "the body is not strict MessagePack");
    } else {
        ext_decoder decoder = {.keys = state->keys, .timestamp = args[1]};
        value = ext_decode(&decoder, body.buf, (size_t)body.len);
    }
    PyBuffer_Release(&body);
    return value;
}

static PyObject *module_same(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "same() takes 2 arguments, got %zd", count);
        return NULL;
    }
    return ext_same(args[0], args[1]);
}

/* What messages need. 0 or -1. */
static int messages_init(ext_state *state)
{
    state->keys = PyMem_Calloc(1, sizeof *state->keys);
    if (state->keys == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    PyObject *asyncio = PyImport_ImportModule("asyncio.exceptions");
    if (asyncio == NULL)
        return -1;
    state->invalid_state = PyObject_GetAttrString(asyncio, "InvalidStateError");
    Py_DECREF(asyncio);
    return state->invalid_state != NULL ? 0 : -1;
}

static int module_exec(PyObject *module)
{
    ext_state *state = PyModule_GetState(module);
    if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
        PyErr_SetString(PyExc_ImportError, "_ext: not in a sub-interpreter: sessions, like fork(), "
                                           "belong to the process");
        return -1;
    }
    if (ext_fork_init() < 0 || ext_errors_init(module, state) < 0 || messages_init(state) < 0)
        return -1;
    state->client_type = ext_client_type(module);
    state->way_type = ext_way_type(module);
    if (state->client_type == NULL || PyModule_AddType(module, state->client_type) < 0 ||
        state->way_type == NULL || PyModule_AddType(module, state->way_type) < 0)
        return -1;
    static const struct {
        const char *name;
        int value;
    } statuses[] = {
        {"OK", TD_OK},
        {"FAILED", TD_FAILED},
        {"TIMED_OUT", TD_TIMED_OUT},
        {"CANCELLED", TD_CANCELLED},
        {"UNKNOWN", TD_UNKNOWN},
        {"NOT_STARTED", TD_NOT_STARTED},
        {"NO_AGENT", TD_NO_AGENT},
        {"BUSY", TD_BUSY},
        {"TOO_LARGE", TD_TOO_LARGE},
        {"CORRUPT", TD_CORRUPT},
    };
    for (size_t i = 0; i < sizeof statuses / sizeof statuses[0]; i++)
        if (PyModule_AddIntConstant(module, statuses[i].name, statuses[i].value) < 0)
            return -1;
    return PyModule_AddStringConstant(module, "BUILD_ID", tdi_build_id());
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    ext_state *state = PyModule_GetState(module);
    Py_VISIT(state->error);
    Py_VISIT(state->busy);
    Py_VISIT(state->too_large);
    Py_VISIT(state->closed);
    Py_VISIT(state->forked);
    Py_VISIT(state->refused);
    Py_VISIT(state->timed_out);
    Py_VISIT(state->corrupt);
    Py_VISIT(state->client_type);
    Py_VISIT(state->way_type);
    Py_VISIT(state->invalid_state);
    return 0;
}

static int module_clear(PyObject *module)
{
    ext_state *state = PyModule_GetState(module);
    Py_CLEAR(state->error);
    Py_CLEAR(state->busy);
    Py_CLEAR(state->too_large);
    Py_CLEAR(state->closed);
    Py_CLEAR(state->forked);
    Py_CLEAR(state->refused);
    Py_CLEAR(state->timed_out);
    Py_CLEAR(state->corrupt);
    Py_CLEAR(state->client_type);
    Py_CLEAR(state->way_type);
    Py_CLEAR(state->invalid_state);
    for (size_t i = 0; state->keys != NULL && i < EXT_KEYS; i++)
        Py_CLEAR(state->keys->entries[i]);
    return 0;
}

static void module_free(void *module)
{
    module_clear(module);
    ext_state *state = PyModule_GetState(module);
    PyMem_Free(state->keys);
    state->keys = NULL;
}

static PyMethodDef module_methods[] = {
    {"strict_check", module_strict_check, METH_O,
     PyDoc_STR("Raise Corrupt unless the bytes are one strict MessagePack value.")},
    {"encode", module_encode, METH_O,
     PyDoc_STR("Write a plain value as strict MessagePack; None if it is not plain.")},
    {"decode", (PyCFunction)(void (*)(void))module_decode, METH_FASTCALL,
     PyDoc_STR("Check and read a strict body: decode(body, timestamp).")},
    {"same", (PyCFunction)(void (*)(void))module_same, METH_FASTCALL,
     PyDoc_STR("Say whether two values are alike to the byte: same(left, right); None: unsure.")},
    {"crc32c", module_crc32c, METH_O, PyDoc_STR("CRC32C (Castagnoli) of the bytes.")},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#ifdef Py_MOD_GIL_USED
    {Py_mod_gil, Py_MOD_GIL_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_ext",
    .m_doc = PyDoc_STR("The C layer's thin client; _ext.pyi is its manual."),
    .m_size = sizeof(ext_state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__ext(void)
{
    return PyModuleDef_Init(&module_definition);
}
