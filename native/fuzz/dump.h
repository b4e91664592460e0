/* dump.h - values and frames as one line of text, the same that tests/parity makes in Python.
 *
 * nil true false, u<decimal> for an int from 0, i<decimal> for one below, f<16 hex digits of the
 * bits>, s"text" and b"bytes" with everything but plain ASCII as \xNN, t<seconds>.<nanoseconds>,
 * [ ... ] and { key value ... }, separated by single spaces.
 *
 * Threads: any.  Memory: none.  Errors: the caller dumps only what has been checked.
 */
#ifndef TDI_DUMP_H
#define TDI_DUMP_H

#include <inttypes.h>
#include <stdio.h>

#include "tandem/message.h"

static inline void dump_quoted(FILE *out, const uint8_t *data, size_t bytes)
{
    fputc('"', out);
    for (size_t i = 0; i < bytes; i++) {
        if (data[i] >= 0x20 && data[i] < 0x7F && data[i] != '"' && data[i] != '\\')
            fputc(data[i], out);
        else
            fprintf(out, "\\x%02x", data[i]);
    }
    fputc('"', out);
}

/* One strict value; at most TD_DEPTH_MAX deep. */
static inline void dump_value(FILE *out, td_reader *reader)
{
    td_item item;
    if (td_read_item(reader, &item) != TD_OK) {
        fputs("CORRUPT", out);
        return;
    }
    uint64_t bits;
    switch (item.type) {
    case TD_TYPE_NIL:
        fputs("nil", out);
        break;
    case TD_TYPE_BOOL:
        fputs(item.boolean ? "true" : "false", out);
        break;
    case TD_TYPE_UINT:
        fprintf(out, "u%" PRIu64, item.unsigned_value);
        break;
    case TD_TYPE_INT:
        fprintf(out, "i%" PRId64, item.signed_value);
        break;
    case TD_TYPE_FLOAT:
        memcpy(&bits, &item.real, 8);
        fprintf(out, "f%016" PRIx64, bits);
        break;
    case TD_TYPE_STR:
        fputc('s', out);
        dump_quoted(out, item.data, item.count);
        break;
    case TD_TYPE_BIN:
        fputc('b', out);
        dump_quoted(out, item.data, item.count);
        break;
    case TD_TYPE_TIMESTAMP:
        fprintf(out, "t%" PRId64 ".%09" PRIu32, item.seconds, item.nanoseconds);
        break;
    case TD_TYPE_ARRAY:
        fputc('[', out);
        for (size_t i = 0; i < item.count; i++) {
            fputc(' ', out);
            dump_value(out, reader);
        }
        fputs(" ]", out);
        break;
    case TD_TYPE_MAP:
        fputc('{', out);
        for (size_t i = 0; i < 2 * item.count; i++) {
            fputc(' ', out);
            dump_value(out, reader);
        }
        fputs(" }", out);
        break;
    }
}

/* Write every item again through the writer: what must give the same bytes. */
static inline void rewrite_value(td_reader *reader, td_writer *writer)
{
    td_item item;
    if (td_read_item(reader, &item) != TD_OK) {
        writer->status = TD_CORRUPT;
        return;
    }
    size_t inside = 0;
    switch (item.type) {
    case TD_TYPE_NIL:
        td_write_nil(writer);
        break;
    case TD_TYPE_BOOL:
        td_write_bool(writer, item.boolean);
        break;
    case TD_TYPE_UINT:
        td_write_uint(writer, item.unsigned_value);
        break;
    case TD_TYPE_INT:
        td_write_int(writer, item.signed_value);
        break;
    case TD_TYPE_FLOAT:
        td_write_float(writer, item.real);
        break;
    case TD_TYPE_STR:
        td_write_str(writer, (const char *)item.data, item.count);
        break;
    case TD_TYPE_BIN:
        td_write_bin(writer, item.data, item.count);
        break;
    case TD_TYPE_TIMESTAMP:
        td_write_timestamp(writer, item.seconds, item.nanoseconds);
        break;
    case TD_TYPE_ARRAY:
        td_write_array(writer, item.count);
        inside = item.count;
        break;
    case TD_TYPE_MAP:
        td_write_map(writer, item.count);
        inside = 2 * item.count;
        break;
    }
    for (size_t i = 0; i < inside && writer->status == TD_OK; i++)
        rewrite_value(reader, writer);
}

#endif /* TDI_DUMP_H */
