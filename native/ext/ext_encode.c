/* ext_encode.c - plain values as strict MessagePack; the same bytes as layers/native/codec.py. */
#include "ext_codec.h"

static int grow(ext_buffer *out, size_t more)
{
    size_t room = out->room < 256 ? 256 : out->room;
    while (room - out->bytes < more) {
        if (room > SIZE_MAX / 4) {
            PyErr_NoMemory();
            return -1;
        }
        room *= 2;
    }
    uint8_t *data = PyMem_Realloc(out->data, room);
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    out->data = data;
    out->room = room;
    return 0;
}

void ext_buffer_free(ext_buffer *buffer)
{
    PyMem_Free(buffer->data);
    *buffer = (ext_buffer){0};
}

/* Room for `more` bytes; NULL with MemoryError. */
static inline uint8_t *reserve(ext_buffer *out, size_t more)
{
    if (out->room - out->bytes < more && grow(out, more) < 0)
        return NULL;
    return out->data + out->bytes;
}

static inline void put_big(uint8_t *to, uint64_t value, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        to[i] = (uint8_t)(value >> (8 * (width - 1 - i)));
}

/* A head and `width` bytes of big-endian number after it. */
static inline int put_head(ext_buffer *out, uint8_t head, uint64_t value, unsigned width)
{
    uint8_t *to = reserve(out, 1 + (size_t)width);
    if (to == NULL)
        return -1;
    to[0] = head;
    put_big(to + 1, value, width);
    out->bytes += 1 + (size_t)width;
    return 1;
}

static int put_unsigned(ext_buffer *out, uint64_t value)
{
    if (value <= 0x7F)
        return put_head(out, (uint8_t)value, 0, 0);
    if (value <= 0xFF)
        return put_head(out, 0xCC, value, 1);
    if (value <= 0xFFFF)
        return put_head(out, 0xCD, value, 2);
    if (value <= 0xFFFFFFFF)
        return put_head(out, 0xCE, value, 4);
    return put_head(out, 0xCF, value, 8);
}

static int put_negative(ext_buffer *out, int64_t value)
{
    if (value >= -32)
        return put_head(out, (uint8_t)value, 0, 0);
    if (value >= INT8_MIN)
        return put_head(out, 0xD0, (uint64_t)value & 0xFF, 1);
    if (value >= INT16_MIN)
        return put_head(out, 0xD1, (uint64_t)value & 0xFFFF, 2);
    if (value >= INT32_MIN)
        return put_head(out, 0xD2, (uint64_t)value & 0xFFFFFFFF, 4);
    return put_head(out, 0xD3, (uint64_t)value, 8);
}

static int put_int(ext_buffer *out, PyObject *value)
{
    int overflow = 0;
    const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow == 0)
        return number >= 0 ? put_unsigned(out, (uint64_t)number) : put_negative(out, number);
    if (overflow < 0)
        return 0;
    const unsigned long long large = PyLong_AsUnsignedLongLong(value);
    if (large == (unsigned long long)-1 && PyErr_Occurred() != NULL) {
        PyErr_Clear(); /* OverflowError: not in the range of values */
        return 0;
    }
    return put_unsigned(out, large);
}

static int put_float(ext_buffer *out, double number)
{
    uint64_t bits = UINT64_C(0x7FF8000000000000); /* the one NaN */
    if (number == number)
        memcpy(&bits, &number, sizeof bits);
    return put_head(out, 0xCB, bits, 8);
}

/* The head of a str (fix 0xA0, long 0xD9..) or, with fix 0, of bytes (long 0xC4..), then the data.
 */
static inline int put_data(ext_buffer *out, const void *data, size_t bytes, uint8_t fix,
                           uint8_t first)
{
    uint8_t *to = reserve(out, bytes + 5);
    if (to == NULL)
        return -1;
    size_t head;
    if (fix != 0 && bytes <= 31) {
        to[0] = (uint8_t)(fix | bytes);
        head = 1;
    } else if (bytes <= 0xFF) {
        to[0] = first;
        to[1] = (uint8_t)bytes;
        head = 2;
    } else if (bytes <= 0xFFFF) {
        to[0] = (uint8_t)(first + 1);
        put_big(to + 1, bytes, 2);
        head = 3;
    } else if (bytes <= UINT32_MAX) {
        to[0] = (uint8_t)(first + 2);
        put_big(to + 1, bytes, 4);
        head = 5;
    } else {
        return 0;
    }
    memcpy(to + head, data, bytes);
    out->bytes += head + bytes;
    return 1;
}

static inline int put_str(ext_buffer *out, PyObject *value)
{
    if (PyUnicode_IS_COMPACT_ASCII(value))
        return put_data(out, PyUnicode_DATA(value), (size_t)PyUnicode_GET_LENGTH(value), 0xA0,
                        0xD9);
    Py_ssize_t bytes = 0;
    const char *data = PyUnicode_AsUTF8AndSize(value, &bytes);
    if (data == NULL) {
        if (PyErr_ExceptionMatches(PyExc_MemoryError))
            return -1;
        PyErr_Clear(); /* a lone surrogate */
        return 0;
    }
    return put_data(out, data, (size_t)bytes, 0xA0, 0xD9);
}

/* The head of a list (fix 0x90, 0xDC..) or map (fix 0x80, 0xDE..). */
static int put_count(ext_buffer *out, size_t count, uint8_t fix, uint8_t first)
{
    if (count <= 15)
        return put_head(out, (uint8_t)(fix | count), 0, 0);
    if (count <= 0xFFFF)
        return put_head(out, first, count, 2);
    return count <= UINT32_MAX ? put_head(out, (uint8_t)(first + 1), count, 4) : 0;
}

static int put(ext_buffer *out, PyObject *value, unsigned depth);

static int put_list(ext_buffer *out, PyObject *list, unsigned depth)
{
    int done = put_count(out, (size_t)PyList_GET_SIZE(list), 0x90, 0xDC);
    /* Nothing below runs Python code, so the list cannot change under us. */
    for (Py_ssize_t i = 0; done == 1 && i < PyList_GET_SIZE(list); i++)
        done = put(out, PyList_GET_ITEM(list, i), depth);
    return done;
}

static int put_dict(ext_buffer *out, PyObject *dict, unsigned depth)
{
    int done = put_count(out, (size_t)PyDict_GET_SIZE(dict), 0x80, 0xDE);
    PyObject *key, *value;
    Py_ssize_t at = 0;
    while (done == 1 && PyDict_Next(dict, &at, &key, &value)) {
        if (!PyUnicode_CheckExact(key))
            return 0;
        done = put_str(out, key);
        if (done == 1)
            done = put(out, value, depth);
    }
    return done;
}

static int put(ext_buffer *out, PyObject *value, unsigned depth)
{
    if (PyUnicode_CheckExact(value))
        return put_str(out, value);
    if (PyLong_CheckExact(value))
        return put_int(out, value);
    if (PyFloat_CheckExact(value))
        return put_float(out, PyFloat_AS_DOUBLE(value));
    if (value == Py_None)
        return put_head(out, 0xC0, 0, 0);
    if (PyBool_Check(value))
        return put_head(out, value == Py_True ? 0xC3 : 0xC2, 0, 0);
    if (PyDict_CheckExact(value))
        return depth < EXT_DEPTH_MAX ? put_dict(out, value, depth + 1) : 0;
    if (PyList_CheckExact(value))
        return depth < EXT_DEPTH_MAX ? put_list(out, value, depth + 1) : 0;
    if (PyBytes_CheckExact(value))
        return put_data(out, PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value), 0, 0xC4);
    return 0;
}

int ext_encode(PyObject *value, ext_buffer *out)
{
    return put(out, value, 0);
}
