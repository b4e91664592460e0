/* ext.h - shared by the files of the Python extension `_ext`, the only place with Python.h.
 *
 * The extension checks arguments, converts, maps each td_status to its exception, and no more.
 *
 * Threads: everything here runs with the GIL held unless a comment says otherwise.
 * Memory:  objects follow CPython's reference rules; "new reference" is said where it is one.
 * Errors:  NULL or -1 with a Python exception set.
 */
#ifndef TDI_EXT_H
#define TDI_EXT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "tandem/status.h"

/* What one copy of the module owns; there are no Python objects in globals. */
typedef struct ext_state {
    PyObject *error; /* NativeError, the base of the rest */
    PyObject *busy, *too_large, *closed, *forked, *refused, *timed_out, *corrupt;
    PyTypeObject *client_type, *way_type;
    struct ext_keys *keys;   /* of decoded maps; see ext_codec.h */
    PyObject *invalid_state; /* asyncio.InvalidStateError */
} ext_state;

/* ---- ext_error.c ---- */

/* Make the exception classes and put them into `module`. 0 or -1. */
int ext_errors_init(PyObject *module, ext_state *state);
/* Raise the exception of `status` with `text` (may be NULL or empty) and return NULL. */
PyObject *ext_raise(const ext_state *state, td_status status, const char *text);
/* Raise Forked: the client belongs to the parent process. Returns NULL. */
PyObject *ext_raise_forked(const ext_state *state);

/* ---- ext_argument.c ---- */

/* Read an int in [0, max] from `value`, named `name` in errors. 0 or -1. */
int ext_unsigned(PyObject *value, const char *name, uint64_t max, uint64_t *out);
/* Read seconds in (0, 1e9] (or [0, 1e9] with `zero_ok`) as nanoseconds. 0 or -1. */
int ext_seconds(PyObject *value, const char *name, bool zero_ok, uint64_t *out_ns);
/* Borrow the bytes of a contiguous buffer; None gives an empty view where `none_ok`.
 * On 0 the caller must PyBuffer_Release(view) (harmless on an empty one). */
int ext_bytes(PyObject *value, const char *name, bool none_ok, Py_buffer *view);

/* ---- ext_client.c ---- */

/* Make the type `Client` (new reference), tied to `module`. */
PyTypeObject *ext_client_type(PyObject *module);

/* ---- ext_fork.c ---- */

/* One open client, known to the hooks around fork(). */
typedef struct ext_fork_watch {
    struct ext_fork_watch *next, *previous;
    int fds[2];  /* closed in a forked child, so that it keeps no session alive */
    bool forked; /* true in a child that inherited the client */
} ext_fork_watch;

/* Install the hooks once for the process. 0 or -1 with an exception. */
int ext_fork_init(void);
void ext_fork_add(ext_fork_watch *watch, int fd, int socket_fd);
void ext_fork_remove(ext_fork_watch *watch);

#endif /* TDI_EXT_H */
