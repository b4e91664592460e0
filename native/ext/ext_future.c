/* ext_future.c - loop Futures, made and settled in C; see ext_future.h. */
#include "ext_future.h"

/* asyncio keeps the running loop under this key of the thread's dict, in an object that it makes
 * anew whenever a loop starts or stops. The same object therefore means the same loop. Asking
 * asyncio itself costs a system call (getpid). Where the key is unknown, asyncio is asked. */
#define RUNNING_KEY "__asyncio_running_event_loop__"

int ext_futures_prepare(ext_futures *futures, PyObject *loop, PyObject *type)
{
    Py_XSETREF(futures->loop, Py_NewRef(loop));
    Py_CLEAR(futures->running);
    if (loop == Py_None)
        return 0;
    if (!PyType_Check(type)) {
        PyErr_SetString(PyExc_TypeError, "future_type: a type expected");
        return -1;
    }
    Py_XSETREF(futures->type, (PyTypeObject *)Py_NewRef(type));
    Py_XSETREF(futures->key, PyUnicode_InternFromString(RUNNING_KEY));
    Py_XSETREF(futures->arguments, PyTuple_New(0));
    Py_XSETREF(futures->keywords, Py_BuildValue("{sO}", "loop", loop));
    Py_XSETREF(futures->set_result, PyObject_GetAttrString(type, "set_result"));
    Py_XSETREF(futures->set_exception, PyObject_GetAttrString(type, "set_exception"));
    Py_XSETREF(futures->done, PyObject_GetAttrString(type, "done"));
    Py_XSETREF(futures->cancelled, PyObject_GetAttrString(type, "cancelled"));
    PyObject *events = PyImport_ImportModule("asyncio.events");
    if (events != NULL)
        Py_XSETREF(futures->get_loop, PyObject_GetAttrString(events, "_get_running_loop"));
    Py_XDECREF(events);
    return PyErr_Occurred() ? -1 : 0;
}

int ext_futures_traverse(ext_futures *futures, visitproc visit, void *arg)
{
    Py_VISIT(futures->loop);
    Py_VISIT(futures->type);
    Py_VISIT(futures->keywords);
    Py_VISIT(futures->set_result);
    Py_VISIT(futures->set_exception);
    Py_VISIT(futures->done);
    Py_VISIT(futures->cancelled);
    Py_VISIT(futures->running);
    Py_VISIT(futures->get_loop);
    return 0;
}

void ext_futures_clear(ext_futures *futures)
{
    Py_CLEAR(futures->loop);
    Py_CLEAR(futures->type);
    Py_CLEAR(futures->arguments);
    Py_CLEAR(futures->keywords);
    Py_CLEAR(futures->set_result);
    Py_CLEAR(futures->set_exception);
    Py_CLEAR(futures->done);
    Py_CLEAR(futures->cancelled);
    Py_CLEAR(futures->key);
    Py_CLEAR(futures->running);
    Py_CLEAR(futures->get_loop);
}

PyObject *ext_future_make(ext_futures *futures)
{
    /* What calling the type does, without a new tuple and a new dict each time. */
    PyTypeObject *type = futures->type;
    PyObject *future = type->tp_new(type, futures->arguments, NULL);
    if (future != NULL && type->tp_init(future, futures->arguments, futures->keywords) < 0)
        Py_CLEAR(future);
    return future;
}

/* Ask one of the methods that answer yes or no. */
static bool says(PyObject *method, PyObject *future)
{
    PyObject *answer = PyObject_CallOneArg(method, future);
    const bool yes = answer == Py_True;
    if (answer == NULL)
        PyErr_WriteUnraisable(future);
    Py_XDECREF(answer);
    return yes;
}

bool ext_future_done(ext_futures *futures, PyObject *future)
{
    return says(futures->done, future);
}

ext_put ext_future_put(const ext_state *state, ext_futures *futures, PyObject *future, bool failed,
                       PyObject *value)
{
    PyObject *const args[] = {future, value};
    PyObject *done =
        PyObject_Vectorcall(failed ? futures->set_exception : futures->set_result, args, 2, NULL);
    if (done != NULL) {
        Py_DECREF(done);
        return EXT_PUT_DONE;
    }
    if (PyErr_ExceptionMatches(PyExc_RuntimeError) || PyErr_ExceptionMatches(state->invalid_state))
        PyErr_Clear();
    else
        PyErr_WriteUnraisable(future);
    return says(futures->cancelled, future) ? EXT_PUT_CANCELLED : EXT_PUT_DROPPED;
}

bool ext_futures_loop_runs(ext_futures *futures)
{
    PyObject *here = PyThreadState_GetDict(); /* borrowed; NULL with nothing raised */
    PyObject *running = here == NULL ? NULL : PyDict_GetItemWithError(here, futures->key);
    if (running != NULL && running == futures->running)
        return true;
    PyObject *loop = PyObject_CallNoArgs(futures->get_loop);
    const bool same = loop != NULL && loop == futures->loop;
    if (loop == NULL)
        PyErr_Clear();
    Py_XDECREF(loop);
    if (same && running != NULL)
        Py_XSETREF(futures->running, Py_NewRef(running));
    return same;
}
