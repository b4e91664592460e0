/* ext_way.c - the type `Way`: one action of one client, called as `way(payload, timeout_s)`.
 *
 * The usual message needs nothing that is not here: one call from Python encodes, makes the
 * Future, pushes, and asks for a look. Whatever is unusual (another loop, a closed or forked
 * client, an impossible timeout, no room) gives None, and the long way says what is wrong.
 */
#include <math.h>
#include <stddef.h>

#include "base/clock.h"
#include "ext_client.h"

#include <structmember.h>

#define TIMEOUT_S_MAX 1e9

typedef struct way {
    PyObject_HEAD vectorcallfunc call;
    ext_client *client;
    uint32_t action_id;
    uint8_t lane;
} way;

/* The deadline for a timeout in seconds (0: none); false for what the long way refuses. */
static bool deadline_of(PyObject *timeout_s, uint64_t *deadline_ns)
{
    *deadline_ns = 0;
    if (timeout_s == Py_None)
        return true;
    if (!PyFloat_CheckExact(timeout_s))
        return false;
    const double seconds = PyFloat_AS_DOUBLE(timeout_s);
    if (!(seconds > 0.0 && seconds <= TIMEOUT_S_MAX))
        return false;
    *deadline_ns = tdi_now_ns() + (uint64_t)ceil(seconds * 1e9);
    return true;
}

static PyObject *way_call(PyObject *callable, PyObject *const *args, size_t nargsf,
                          PyObject *keywords)
{
    way *self = (way *)callable;
    ext_client *client = self->client;
    ext_messages *messages = &client->messages;
    if (PyVectorcall_NARGS(nargsf) != 2 || keywords != NULL) {
        PyErr_SetString(PyExc_TypeError, "a way takes (payload, timeout_s)");
        return NULL;
    }
    tdi_call_request request = {.action_id = self->action_id, .attempt = 1, .lane = self->lane};
    if (client->client == NULL || client->watch.forked || client->entered ||
        messages->futures.type == NULL || !deadline_of(args[1], &request.deadline_ns) ||
        !ext_futures_loop_runs(&messages->futures))
        Py_RETURN_NONE;
    client->entered = true;
    PyObject *future = ext_messages_push(ext_client_state(client), messages, client->client,
                                         args[0], &request, 0, true);
    client->entered = false;
    if (future == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    if (!messages->look_due) {
        messages->look_due = true;
        PyObject *done = PyObject_CallNoArgs(messages->wake);
        if (done == NULL)
            Py_CLEAR(future);
        Py_XDECREF(done);
    }
    return future;
}

PyObject *ext_client_way(ext_client *self, PyObject *const *args, Py_ssize_t count)
{
    uint64_t action_id, lane;
    if (!ext_client_usable(self))
        return NULL;
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "way() takes 2 arguments, got %zd", count);
        return NULL;
    }
    if (self->messages.table == NULL || self->messages.futures.type == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "prepare() with a loop comes first");
        return NULL;
    }
    if (ext_unsigned(args[0], "action_id", UINT32_MAX, &action_id) < 0 ||
        ext_unsigned(args[1], "lane", 3, &lane) < 0)
        return NULL;
    PyTypeObject *type = ext_client_state(self)->way_type;
    way *made = (way *)type->tp_alloc(type, 0);
    if (made == NULL)
        return NULL;
    made->call = way_call;
    made->client = (ext_client *)Py_NewRef(self);
    made->action_id = (uint32_t)action_id;
    made->lane = (uint8_t)lane;
    return (PyObject *)made;
}

static int way_traverse(way *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->client);
    return 0;
}

/* No tp_clear: a way is in a cycle only through its client, which has one. */
static void way_dealloc(way *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->client);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMemberDef way_members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(way, call), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyType_Slot way_slots[] = {
    {Py_tp_doc, (void *)PyDoc_STR("The short way to one action; see _ext.pyi.")},
    {Py_tp_dealloc, way_dealloc},
    {Py_tp_traverse, way_traverse},
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_members, way_members},
    {0, NULL},
};

static PyType_Spec way_spec = {
    .name = "tandem_orchestrator._native._ext.Way",
    .basicsize = sizeof(way),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
             Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = way_slots,
};

PyTypeObject *ext_way_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &way_spec, NULL);
}
