/* ext_codec.h - Python values to strict MessagePack and back, without a step in Python.
 *
 * Threads: with the GIL. Encoding runs no Python code; decoding makes objects, so the collector,
 *          and with it any code, may run inside.
 * Memory:  a buffer belongs to its caller, who frees it with ext_buffer_free.
 */
#ifndef TDI_EXT_CODEC_H
#define TDI_EXT_CODEC_H

#include "ext.h"

#define EXT_DEPTH_MAX 32 /* open containers, as in the strict check */

typedef struct ext_buffer {
    uint8_t *data;
    size_t bytes, room;
} ext_buffer;

void ext_buffer_free(ext_buffer *buffer);

/* Append the strict form of a plain value: None, bool, int in [-2**63, 2**64), float, str, bytes,
 * list, or dict with str keys, none of them a subclass, at most EXT_DEPTH_MAX deep.
 * 1: done. 0: not plain, nothing raised; model.values and the reference codec know what to say.
 * -1: MemoryError. Unless 1, what was appended is undefined. */
int ext_encode(PyObject *value, ext_buffer *out);

/* Keys that were seen lately, as ready str objects: answers repeat them. */
#define EXT_KEYS 256u
struct ext_keys {
    PyObject *entries[EXT_KEYS];
};
typedef struct ext_keys ext_keys;

/* What a decoder needs of its module. */
typedef struct ext_decoder {
    ext_keys *keys;
    PyObject *timestamp; /* called with (seconds, nanoseconds); borrowed */
    bool marked;         /* set when some map has a key that starts with "$" */
} ext_decoder;

/* Make the value of bytes that td_strict_check has accepted (new reference). Never reads past
 * `bytes`; for bytes that are not strict NULL with ValueError, or some value. */
PyObject *ext_decode(ext_decoder *decoder, const uint8_t *data, size_t bytes);

/* Say whether two values have the same canonical bytes, in one walk that makes nothing: Py_True or
 * Py_False; Py_None where it met what is not plain, or too deep (new reference). NULL only with an
 * error of the interpreter's own. Runs no Python code. */
PyObject *ext_same(PyObject *left, PyObject *right);

#endif /* TDI_EXT_CODEC_H */
