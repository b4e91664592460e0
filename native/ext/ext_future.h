/* ext_future.h - loop Futures, made and settled in C, and whether their loop runs here.
 *
 * They are exactly `asyncio.Future`: a Task awaits those by its fast way, which costs less than
 * half of what a subclass costs. The price is that nobody tells us of a cancel: the sweep looks.
 *
 * Threads: with the GIL.
 * Memory:  holds its loop until ext_futures_clear.
 */
#ifndef TDI_EXT_FUTURE_H
#define TDI_EXT_FUTURE_H

#include "ext.h"

typedef struct ext_futures {
    PyObject *loop;      /* NULL or None: there is none, so there are no Futures */
    PyTypeObject *type;  /* asyncio.Future */
    PyObject *arguments; /* (), {"loop": loop} */
    PyObject *keywords;
    PyObject *set_result, *set_exception, *done, *cancelled; /* unbound methods of `type` */
    PyObject *key;                                           /* RUNNING_KEY */
    PyObject *running;  /* what asyncio keeps for this thread while `loop` runs; see below */
    PyObject *get_loop; /* asyncio._get_running_loop */
} ext_futures;

/* 0 or -1. May be repeated. */
int ext_futures_prepare(ext_futures *futures, PyObject *loop, PyObject *type);
int ext_futures_traverse(ext_futures *futures, visitproc visit, void *arg);
void ext_futures_clear(ext_futures *futures);

/* A new Future of the loop (new reference). */
PyObject *ext_future_make(ext_futures *futures);

typedef enum ext_put {
    EXT_PUT_DONE,
    EXT_PUT_CANCELLED, /* its caller does not want it any more */
    EXT_PUT_DROPPED,   /* its loop is closed, or somebody else has settled it */
} ext_put;
/* Settle a Future with a value or an exception; steals nothing, raises nothing. */
ext_put ext_future_put(const ext_state *state, ext_futures *futures, PyObject *future, bool failed,
                       PyObject *value);
/* Whether it is settled or cancelled already. */
bool ext_future_done(ext_futures *futures, PyObject *future);

/* Whether the loop is the one that runs in this thread. */
bool ext_futures_loop_runs(ext_futures *futures);

#endif /* TDI_EXT_FUTURE_H */
