/* ext_client.h - the type `Client`, as the files that make up its methods share it.
 *
 * Threads: client.h wants one thread at a time. The GIL gives that, except while wait() has let
 *          go of it, and while drain() makes objects (which can run the collector, and so any
 *          code): `entered` is set then, and any other use raises RuntimeError.
 * Memory:  the object owns its tdi_client from the constructor to close().
 */
#ifndef TDI_EXT_CLIENT_H
#define TDI_EXT_CLIENT_H

#include "ext_messages.h"

typedef struct ext_client {
    PyObject_HEAD tdi_client *client; /* NULL once closed */
    ext_fork_watch watch;
    uint32_t spin_ns;
    bool entered;
    ext_messages messages;
} ext_client;

static inline ext_state *ext_client_state(ext_client *self)
{
    /* The type cannot be subclassed, so the object's type is the one tied to the module. */
    return PyType_GetModuleState(Py_TYPE(self));
}

/* The client may be used now; else an exception and false. */
bool ext_client_usable(ext_client *self);
/* Raise the exception of a status, with the client's own sentence. Returns NULL. */
PyObject *ext_client_raise(ext_client *self, td_status status);

/* Methods, by file; their contracts are those of _ext.pyi. */

/* ---- ext_call.c ---- */
PyObject *ext_client_call(ext_client *self, PyObject *const *args, Py_ssize_t positional,
                          PyObject *keywords);
PyObject *ext_client_cancel(ext_client *self, PyObject *call_id);
PyObject *ext_client_progress(ext_client *self, PyObject *call_id);
PyObject *ext_client_fate(ext_client *self, PyObject *call_id);

/* ---- ext_look.c ---- */
PyObject *ext_client_drain(ext_client *self, PyObject *max);
PyObject *ext_client_poll(ext_client *self, PyObject *max);
PyObject *ext_client_wait(ext_client *self, PyObject *timeout_s);

/* ---- ext_log.c ---- */
PyObject *ext_client_take_logs(ext_client *self, PyObject *unused);
PyObject *ext_client_logs_waiting(ext_client *self, void *unused);

/* ---- ext_send.c ---- */
PyObject *ext_client_prepare(ext_client *self, PyObject *const *args, Py_ssize_t count);
PyObject *ext_client_send(ext_client *self, PyObject *const *args, Py_ssize_t count);
PyObject *ext_client_send_many(ext_client *self, PyObject *const *args, Py_ssize_t count);
PyObject *ext_client_ask(ext_client *self, PyObject *const *args, Py_ssize_t count);
PyObject *ext_client_sweep(ext_client *self, PyObject *grace_s);
PyObject *ext_client_end_messages(ext_client *self, PyObject *known);
PyObject *ext_client_message_stats(ext_client *self, PyObject *unused);
PyObject *ext_client_settled(ext_client *self, void *unused);
PyObject *ext_client_waiting(ext_client *self, void *unused);

/* ---- ext_way.c ---- */
PyObject *ext_client_way(ext_client *self, PyObject *const *args, Py_ssize_t count);
/* Make the type `Way` (new reference), tied to `module`. */
PyTypeObject *ext_way_type(PyObject *module);

#endif /* TDI_EXT_CLIENT_H */
