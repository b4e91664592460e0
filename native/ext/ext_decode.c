/* ext_decode.c - strict MessagePack as Python values.
 *
 * The bytes have passed td_strict_check, in the drain that hands them over: shortest forms, unique
 * keys and depth are not looked at again. Lengths still are, since reading past a body must be
 * impossible even if that promise were broken.
 *
 * One pass that also checks would save little: the check is a fifth of the time, and it must stand
 * by itself in the bridge anyway. msgspec on a bytes object costs that object and a call more.
 */
#include "ext_codec.h"

typedef struct cursor {
    const uint8_t *at, *end;
} cursor;

static PyObject *malformed(void)
{
    PyErr_SetString(PyExc_ValueError, "the body is not strict MessagePack");
    return NULL;
}

static inline bool left(const cursor *from, uint64_t bytes)
{
    return (uint64_t)(from->end - from->at) >= bytes;
}

/* The caller has made sure that `width` bytes are left. */
static inline uint64_t take_big(cursor *from, unsigned width)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < width; i++)
        value = value << 8 | *from->at++;
    return value;
}

static inline bool is_ascii(const uint8_t *data, size_t bytes)
{
    const uint64_t high = UINT64_C(0x8080808080808080);
    for (; bytes >= 8; data += 8, bytes -= 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        if (word & high)
            return false;
    }
    uint8_t any = 0;
    for (; bytes > 0; bytes--)
        any |= *data++;
    return any < 0x80;
}

static PyObject *make_str(const uint8_t *data, size_t bytes)
{
    if (bytes > 1 && is_ascii(data, bytes)) {
        PyObject *made = PyUnicode_New((Py_ssize_t)bytes, 0x7F);
        if (made != NULL)
            memcpy(PyUnicode_1BYTE_DATA(made), data, bytes);
        return made;
    }
    return PyUnicode_DecodeUTF8((const char *)data, (Py_ssize_t)bytes, "strict");
}

static PyObject *make_key(ext_decoder *decoder, const uint8_t *data, size_t bytes)
{
    if (bytes > 0 && data[0] == '$')
        decoder->marked = true;
    if (bytes < 2 || bytes > 32)
        return make_str(data, bytes);
    /* FNV-1a: short, and good enough for a table whose misses only cost time. */
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ data[i]) * 16777619u;
    PyObject **entry = &decoder->keys->entries[(hash ^ hash >> 16) % EXT_KEYS];
    PyObject *known = *entry;
    if (known != NULL && (size_t)PyUnicode_GET_LENGTH(known) == bytes &&
        memcmp(PyUnicode_1BYTE_DATA(known), data, bytes) == 0)
        return Py_NewRef(known);
    PyObject *made = make_str(data, bytes);
    if (made != NULL && PyUnicode_IS_COMPACT_ASCII(made)) {
        *entry = Py_NewRef(made);
        Py_XDECREF(known);
    }
    return made;
}

static PyObject *take(ext_decoder *decoder, cursor *from, unsigned depth);

static PyObject *take_list(ext_decoder *decoder, cursor *from, uint64_t count, unsigned depth)
{
    if (!left(from, count) || depth >= EXT_DEPTH_MAX)
        return malformed();
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (uint64_t i = 0; list != NULL && i < count; i++) {
        PyObject *item = take(decoder, from, depth + 1);
        if (item == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

static PyObject *take_key(ext_decoder *decoder, cursor *from)
{
    if (!left(from, 1))
        return malformed();
    const uint8_t head = *from->at++;
    uint64_t bytes;
    if (head >= 0xA0 && head <= 0xBF) {
        bytes = head & 0x1Fu;
    } else if (head >= 0xD9 && head <= 0xDB) {
        const unsigned width = 1u << (head - 0xD9);
        if (!left(from, width))
            return malformed();
        bytes = take_big(from, width);
    } else {
        return malformed();
    }
    if (!left(from, bytes))
        return malformed();
    const uint8_t *data = from->at;
    from->at += bytes;
    return make_key(decoder, data, (size_t)bytes);
}

static PyObject *take_dict(ext_decoder *decoder, cursor *from, uint64_t count, unsigned depth)
{
    if (!left(from, 2 * count) || depth >= EXT_DEPTH_MAX)
        return malformed();
    PyObject *dict = PyDict_New();
    for (uint64_t i = 0; dict != NULL && i < count; i++) {
        PyObject *key = take_key(decoder, from);
        PyObject *value = key != NULL ? take(decoder, from, depth + 1) : NULL;
        if (value == NULL || PyDict_SetItem(dict, key, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *take_timestamp(ext_decoder *decoder, cursor *from, unsigned width)
{
    if (width == 12 && (!left(from, 1) || *from->at++ != 12))
        return malformed();
    if (!left(from, 1 + (uint64_t)width) || *from->at++ != 0xFF)
        return malformed();
    long long seconds;
    unsigned long nanoseconds = 0;
    if (width == 4) {
        seconds = (long long)take_big(from, 4);
    } else if (width == 8) {
        const uint64_t both = take_big(from, 8);
        seconds = (long long)(both & ((UINT64_C(1) << 34) - 1));
        nanoseconds = (unsigned long)(both >> 34);
    } else {
        nanoseconds = (unsigned long)take_big(from, 4);
        seconds = (long long)take_big(from, 8);
    }
    return PyObject_CallFunction(decoder->timestamp, "Lk", seconds, nanoseconds);
}

static PyObject *take_sized(ext_decoder *decoder, cursor *from, uint8_t head, unsigned depth)
{
    /* bin 8/16/32, str 8/16/32, array 16/32, map 16/32: the width of the length. */
    const unsigned width = head >= 0xDC   ? 2u << (head & 1u)
                           : head >= 0xD9 ? 1u << (head - 0xD9)
                                          : 1u << (head - 0xC4);
    if (!left(from, width))
        return malformed();
    const uint64_t count = take_big(from, width);
    if (head >= 0xDE)
        return take_dict(decoder, from, count, depth);
    if (head >= 0xDC)
        return take_list(decoder, from, count, depth);
    if (!left(from, count))
        return malformed();
    const uint8_t *data = from->at;
    from->at += count;
    return head >= 0xD9 ? make_str(data, (size_t)count)
                        : PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)count);
}

static PyObject *take_number(cursor *from, uint8_t head)
{
    const unsigned width = head == 0xCB ? 8 : 1u << (head & 3u);
    if (!left(from, width))
        return malformed();
    const uint64_t value = take_big(from, width);
    if (head == 0xCB) {
        double number;
        memcpy(&number, &value, sizeof number);
        return PyFloat_FromDouble(number);
    }
    if (head <= 0xCF)
        return PyLong_FromUnsignedLongLong(value);
    switch (width) {
    case 1:
        return PyLong_FromLong((int8_t)value);
    case 2:
        return PyLong_FromLong((int16_t)value);
    case 4:
        return PyLong_FromLong((int32_t)value);
    default:
        return PyLong_FromLongLong((int64_t)value);
    }
}

static PyObject *take(ext_decoder *decoder, cursor *from, unsigned depth)
{
    if (!left(from, 1))
        return malformed();
    const uint8_t head = *from->at++;
    if (head <= 0x7F || head >= 0xE0)
        return PyLong_FromLong((int8_t)head);
    if (head <= 0x8F)
        return take_dict(decoder, from, head & 0x0Fu, depth);
    if (head <= 0x9F)
        return take_list(decoder, from, head & 0x0Fu, depth);
    if (head <= 0xBF) {
        const size_t bytes = head & 0x1Fu;
        if (!left(from, bytes))
            return malformed();
        const uint8_t *data = from->at;
        from->at += bytes;
        return make_str(data, bytes);
    }
    switch (head) {
    case 0xC0:
        Py_RETURN_NONE;
    case 0xC2:
        Py_RETURN_FALSE;
    case 0xC3:
        Py_RETURN_TRUE;
    case 0xC7:
        return take_timestamp(decoder, from, 12);
    case 0xD6:
        return take_timestamp(decoder, from, 4);
    case 0xD7:
        return take_timestamp(decoder, from, 8);
    case 0xCB:
    case 0xCC:
    case 0xCD:
    case 0xCE:
    case 0xCF:
    case 0xD0:
    case 0xD1:
    case 0xD2:
    case 0xD3:
        return take_number(from, head);
    case 0xC4:
    case 0xC5:
    case 0xC6:
    case 0xD9:
    case 0xDA:
    case 0xDB:
    case 0xDC:
    case 0xDD:
    case 0xDE:
    case 0xDF:
        return take_sized(decoder, from, head, depth);
    default:
        return malformed();
    }
}

PyObject *ext_decode(ext_decoder *decoder, const uint8_t *data, size_t bytes)
{
    cursor from = {.at = data, .end = data + bytes};
    PyObject *value = take(decoder, &from, 0);
    if (value != NULL && from.at != from.end) {
        Py_DECREF(value);
        return malformed();
    }
    return value;
}
