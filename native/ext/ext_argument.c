/* ext_argument.c - read Python arguments with errors that name them. */
#include "ext.h"

#include <math.h>

int ext_unsigned(PyObject *value, const char *name, uint64_t max, uint64_t *out)
{
    if (!PyLong_Check(value) || PyBool_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: int expected, got %.80s", name, Py_TYPE(value)->tp_name);
        return -1;
    }
    const unsigned long long number = PyLong_AsUnsignedLongLong(value);
    const bool overflow = number == (unsigned long long)-1 && PyErr_Occurred() != NULL;
    if (overflow && !PyErr_ExceptionMatches(PyExc_OverflowError))
        return -1;
    if (overflow || number > max) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "%s=%R: must be in 0..%llu", name, value,
                     (unsigned long long)max);
        return -1;
    }
    *out = number;
    return 0;
}

int ext_seconds(PyObject *value, const char *name, bool zero_ok, uint64_t *out_ns)
{
    if (!(PyFloat_Check(value) || PyLong_Check(value)) || PyBool_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s: seconds expected, got %.80s", name,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    const double seconds = PyFloat_AsDouble(value);
    const bool overflow = seconds == -1.0 && PyErr_Occurred() != NULL;
    PyErr_Clear();
    /* 1e9 s is 31 years: far beyond use, and far from overflowing 64 bits of nanoseconds. */
    if (overflow || !(zero_ok ? seconds >= 0.0 : seconds > 0.0) || seconds > 1e9) {
        PyErr_Format(PyExc_ValueError, "%s=%R: must be %s and at most 1e9 seconds", name, value,
                     zero_ok ? "0 or more" : "above 0");
        return -1;
    }
    *out_ns = (uint64_t)ceil(seconds * 1e9);
    return 0;
}

int ext_bytes(PyObject *value, const char *name, bool none_ok, Py_buffer *view)
{
    memset(view, 0, sizeof *view);
    if (value == NULL || value == Py_None) {
        if (none_ok)
            return 0;
        PyErr_Format(PyExc_TypeError, "%s: bytes expected, got None", name);
        return -1;
    }
    if (!PyObject_CheckBuffer(value)) {
        PyErr_Format(PyExc_TypeError, "%s: bytes expected, got %.80s", name,
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    /* PyBUF_SIMPLE refuses what is not contiguous, with its own BufferError. */
    return PyObject_GetBuffer(value, view, PyBUF_SIMPLE);
}
