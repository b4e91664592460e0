/* ext_same.c - one walk over two values; says what twins/canonical.py says. */
#include "ext_codec.h"

static int same(PyObject *a, PyObject *b, unsigned depth);

/* An exact str whose text lies beside it: what every decoder makes. */
static bool is_plain_str(PyObject *value)
{
    return PyUnicode_CheckExact(value) && PyUnicode_IS_COMPACT(value);
}

static bool same_str(PyObject *a, PyObject *b)
{
    /* Each str has the narrowest kind that holds it, so that other kinds are other texts. */
    const Py_ssize_t length = PyUnicode_GET_LENGTH(a);
    return length == PyUnicode_GET_LENGTH(b) && PyUnicode_KIND(a) == PyUnicode_KIND(b) &&
           memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)length * PyUnicode_KIND(a)) == 0;
}

static int same_int(PyObject *a, PyObject *b)
{
    int overflow_a = 0, overflow_b = 0;
    const long long x = PyLong_AsLongLongAndOverflow(a, &overflow_a);
    const long long y = PyLong_AsLongLongAndOverflow(b, &overflow_b);
    if (overflow_a == 0 || overflow_b == 0)
        return overflow_a == overflow_b && x == y;
    return PyObject_RichCompareBool(a, b, Py_EQ); /* two exact ints: no Python code */
}

static bool same_float(PyObject *a, PyObject *b)
{
    const double x = PyFloat_AS_DOUBLE(a), y = PyFloat_AS_DOUBLE(b);
    /* By bits, which tell 0.0 from -0.0; all NaN are one. */
    return memcmp(&x, &y, sizeof x) == 0 || (x != x && y != y);
}

static bool same_bytes(PyObject *a, PyObject *b)
{
    const Py_ssize_t length = PyBytes_GET_SIZE(a);
    return length == PyBytes_GET_SIZE(b) &&
           memcmp(PyBytes_AS_STRING(a), PyBytes_AS_STRING(b), (size_t)length) == 0;
}

static int same_list(PyObject *a, PyObject *b, unsigned depth)
{
    if (PyList_GET_SIZE(a) != PyList_GET_SIZE(b))
        return 0;
    int said = 1;
    /* Nothing below runs Python code, so neither list can change under us. */
    for (Py_ssize_t i = 0; said == 1 && i < PyList_GET_SIZE(a); i++)
        said = same(PyList_GET_ITEM(a, i), PyList_GET_ITEM(b, i), depth);
    return said;
}

/* Looking a key up runs no Python code only where all keys are exact str. */
static bool has_plain_keys(PyObject *dict)
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (PyDict_Next(dict, &at, &key, &value))
        if (!is_plain_str(key))
            return false;
    return true;
}

static int same_dict(PyObject *a, PyObject *b, unsigned depth)
{
    if (PyDict_GET_SIZE(a) != PyDict_GET_SIZE(b))
        return 0;
    PyObject *key, *value, *other_key, *other;
    Py_ssize_t at = 0, other_at = 0;
    bool in_step = true; /* twins mostly write their keys in the same order */
    int said = 1;
    while (said == 1 && PyDict_Next(a, &at, &key, &value)) {
        if (!is_plain_str(key))
            return -1;
        if (in_step) {
            if (!PyDict_Next(b, &other_at, &other_key, &other) || !is_plain_str(other_key))
                return -1;
            in_step = key == other_key || same_str(key, other_key);
            if (!in_step && !has_plain_keys(b))
                return -1;
        }
        if (!in_step) {
            other = PyDict_GetItemWithError(b, key);
            if (other == NULL)
                return PyErr_Occurred() != NULL ? -2 : 0;
        }
        said = same(value, other, depth);
    }
    return said;
}

static int same(PyObject *a, PyObject *b, unsigned depth)
{
    if (a == b)
        return 1;
    if (Py_TYPE(a) != Py_TYPE(b))
        return 0;
    if (PyUnicode_CheckExact(a))
        return is_plain_str(a) && is_plain_str(b) ? same_str(a, b) : -1;
    if (PyLong_CheckExact(a))
        return same_int(a, b);
    if (PyFloat_CheckExact(a))
        return same_float(a, b);
    if (PyDict_CheckExact(a))
        return depth < EXT_DEPTH_MAX ? same_dict(a, b, depth + 1) : -1;
    if (PyList_CheckExact(a))
        return depth < EXT_DEPTH_MAX ? same_list(a, b, depth + 1) : -1;
    if (PyBytes_CheckExact(a))
        return same_bytes(a, b);
    if (PyBool_Check(a))
        return 0; /* of two, and not this one */
    return -1;
}

PyObject *ext_same(PyObject *left, PyObject *right)
{
    const int said = same(left, right, 0);
    if (said == -2)
        return NULL;
    return Py_NewRef(said < 0 ? Py_None : said ? Py_True : Py_False);
}
