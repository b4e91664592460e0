/* message.h - read and write strict MessagePack, header only.
 *
 * Strict: shortest ints and lengths, float64 only, unique UTF-8 string keys, one NaN bit
 * pattern, timestamp the only extension type, depth <= 32, no trailing bytes.
 *
 * A td_reader is a cursor. It refuses every form that is not the shortest, and never reads past
 * its end whatever the bytes are; what needs memory of the whole body (unique keys, depth, UTF-8)
 * is td_strict_check()'s work, done once at the endpoint before an action sees a body.
 *
 * Threads: a reader or writer belongs to one thread.
 * Memory:  a reader borrows; a writer grows through its `grow` callback and keeps a sticky
 *          status, so callers check once, at the end. Only td_heap_writer allocates.
 * Errors:  readers return TD_CORRUPT on malformed input, TD_FAILED on another type than asked;
 *          out-parameters change, and the reader moves, only on TD_OK. Writers return their
 *          sticky status.
 */
#ifndef TANDEM_MESSAGE_H
#define TANDEM_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/status.h"

/* Open containers at most: [[1]] has depth 2, a plain 1 has depth 0. */
#define TD_DEPTH_MAX 32

/* ---- UTF-8 ---------------------------------------------------------------------------- */

/* Is this well-formed UTF-8 (no overlong form, no surrogate, nothing above U+10FFFF)? */
static inline bool td_utf8_valid(const uint8_t *data, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        /* Eight ASCII bytes at a time: nearly all keys and most text. */
        while (bytes - at >= 8) {
            uint64_t word;
            memcpy(&word, data + at, 8);
            if (word & 0x8080808080808080u)
                break;
            at += 8;
        }
        if (at == bytes)
            return true;
        const uint8_t lead = data[at];
        if (lead < 0x80) {
            at += 1;
            continue;
        }
        /* The second byte carries every special case (Unicode 15, table 3-7). */
        size_t more;
        uint8_t low = 0x80, high = 0xBF;
        if (lead >= 0xC2 && lead <= 0xDF) {
            more = 1;
        } else if (lead >= 0xE0 && lead <= 0xEF) {
            more = 2;
            if (lead == 0xE0)
                low = 0xA0;
            else if (lead == 0xED)
                high = 0x9F;
        } else if (lead >= 0xF0 && lead <= 0xF4) {
            more = 3;
            if (lead == 0xF0)
                low = 0x90;
            else if (lead == 0xF4)
                high = 0x8F;
        } else {
            return false;
        }
        if (bytes - at <= more)
            return false;
        if (data[at + 1] < low || data[at + 1] > high)
            return false;
        for (size_t i = 2; i <= more; i++)
            if ((data[at + i] & 0xC0) != 0x80)
                return false;
        at += more + 1;
    }
    return true;
}

/* ---- reading -------------------------------------------------------------------------- */

typedef enum td_type {
    TD_TYPE_NIL = 1,
    TD_TYPE_BOOL,
    TD_TYPE_UINT, /* an integer from 0 to 2^64 - 1 */
    TD_TYPE_INT,  /* an integer from -2^63 to -1 */
    TD_TYPE_FLOAT,
    TD_TYPE_STR,
    TD_TYPE_BIN,
    TD_TYPE_ARRAY,
    TD_TYPE_MAP,
    TD_TYPE_TIMESTAMP
} td_type;

/* What one step of a reader found. Only the members of its type are set. */
typedef struct td_item {
    td_type type;
    bool boolean;            /* BOOL */
    uint64_t unsigned_value; /* UINT */
    int64_t signed_value;    /* INT */
    double real;             /* FLOAT */
    const uint8_t *data;     /* STR, BIN: borrowed */
    size_t count;            /* STR, BIN: bytes. ARRAY: items. MAP: pairs */
    int64_t seconds;         /* TIMESTAMP: since 1970, UTC */
    uint32_t nanoseconds;    /* TIMESTAMP: 0 to 999,999,999 */
} td_item;

typedef struct td_reader {
    const uint8_t *at, *end;
} td_reader;

static inline td_reader td_reader_of(const uint8_t *data, size_t bytes)
{
    td_reader reader = {data, data + (data != NULL ? bytes : 0)};
    return reader;
}

static inline size_t td_reader_left(const td_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static inline uint64_t tdi_big_endian(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

/* The length or count in the `width` bytes after the head; corrupt when a shorter form, up to
 * `shorter_max`, could have said it. shorter_max = 0 with width 1 is bin8, which has no shorter. */
static inline bool tdi_length(td_reader *reader, unsigned width, uint64_t shorter_max, size_t *out)
{
    if (td_reader_left(reader) < width)
        return false;
    const uint64_t value = tdi_big_endian(reader->at, width);
    if (shorter_max != 0 && value <= shorter_max)
        return false;
    reader->at += width;
    *out = (size_t)value;
    return true;
}

static inline bool tdi_timestamp(td_reader *reader, uint8_t head, td_item *item)
{
    const unsigned prefix = head == 0xC7 ? 2 : 1; /* [length,] type */
    const unsigned width = head == 0xC7 ? 12 : head == 0xD7 ? 8 : 4;
    const uint8_t *at = reader->at;
    if (td_reader_left(reader) < prefix + width)
        return false;
    if ((head == 0xC7 && at[0] != 12) || at[prefix - 1] != 0xFF)
        return false;
    at += prefix;
    uint64_t nanoseconds = 0;
    int64_t seconds;
    if (width == 4) {
        seconds = (int64_t)tdi_big_endian(at, 4);
    } else if (width == 8) {
        const uint64_t both = tdi_big_endian(at, 8);
        nanoseconds = both >> 34;
        seconds = (int64_t)(both & 0x3FFFFFFFFu);
        if (nanoseconds == 0 && seconds <= 0xFFFFFFFF)
            return false; /* four bytes would have done */
    } else {
        nanoseconds = tdi_big_endian(at, 4);
        const uint64_t raw = tdi_big_endian(at + 4, 8);
        memcpy(&seconds, &raw, 8);
        if (raw <= 0x3FFFFFFFFu)
            return false; /* eight bytes would have done */
    }
    if (nanoseconds > 999999999u)
        return false;
    reader->at = at + width;
    item->type = TD_TYPE_TIMESTAMP;
    item->seconds = seconds;
    item->nanoseconds = (uint32_t)nanoseconds;
    return true;
}

/* Decode the head at `reader`; false for anything malformed. Moves the reader in any case. */
static inline bool tdi_read_item(td_reader *reader, td_item *item)
{
    if (reader->at == reader->end)
        return false;
    const uint8_t head = *reader->at++;
    if (head <= 0x7F) {
        item->type = TD_TYPE_UINT;
        item->unsigned_value = head;
        return true;
    }
    if (head >= 0xE0) {
        item->type = TD_TYPE_INT;
        item->signed_value = (int64_t)head - 256;
        return true;
    }
    bool good = true;
    if (head <= 0x8F) {
        item->type = TD_TYPE_MAP;
        item->count = head & 0x0F;
    } else if (head <= 0x9F) {
        item->type = TD_TYPE_ARRAY;
        item->count = head & 0x0F;
    } else if (head <= 0xBF) {
        item->type = TD_TYPE_STR;
        item->count = head & 0x1F;
    } else {
        switch (head) {
        case 0xC0:
            item->type = TD_TYPE_NIL;
            return true;
        case 0xC2:
        case 0xC3:
            item->type = TD_TYPE_BOOL;
            item->boolean = head == 0xC3;
            return true;
        case 0xC4:
            item->type = TD_TYPE_BIN;
            good = tdi_length(reader, 1, 0, &item->count);
            break;
        case 0xC5:
            item->type = TD_TYPE_BIN;
            good = tdi_length(reader, 2, 0xFF, &item->count);
            break;
        case 0xC6:
            item->type = TD_TYPE_BIN;
            good = tdi_length(reader, 4, 0xFFFF, &item->count);
            break;
        case 0xC7:
        case 0xD6:
        case 0xD7:
            return tdi_timestamp(reader, head, item);
        case 0xCB: {
            if (td_reader_left(reader) < 8)
                return false;
            const uint64_t bits = tdi_big_endian(reader->at, 8);
            if ((bits & 0x7FFFFFFFFFFFFFFFu) > 0x7FF0000000000000u && bits != 0x7FF8000000000000u)
                return false; /* a NaN, but not the one */
            reader->at += 8;
            item->type = TD_TYPE_FLOAT;
            memcpy(&item->real, &bits, 8);
            return true;
        }
        case 0xCC:
        case 0xCD:
        case 0xCE:
        case 0xCF: {
            static const uint64_t shorter_max[4] = {0x7F, 0xFF, 0xFFFF, 0xFFFFFFFF};
            const unsigned width = 1u << (head - 0xCC);
            if (td_reader_left(reader) < width)
                return false;
            item->type = TD_TYPE_UINT;
            item->unsigned_value = tdi_big_endian(reader->at, width);
            reader->at += width;
            return item->unsigned_value > shorter_max[head - 0xCC];
        }
        case 0xD0:
        case 0xD1:
        case 0xD2:
        case 0xD3: {
            static const int64_t shorter_min[4] = {-32, -128, -32768, -2147483648LL};
            const unsigned width = 1u << (head - 0xD0);
            if (td_reader_left(reader) < width)
                return false;
            uint64_t raw = tdi_big_endian(reader->at, width);
            if (width < 8 && raw >> (8 * width - 1))
                raw |= ~0ULL << (8 * width);
            item->type = TD_TYPE_INT;
            memcpy(&item->signed_value, &raw, 8);
            reader->at += width;
            return item->signed_value < shorter_min[head - 0xD0];
        }
        case 0xD9:
            item->type = TD_TYPE_STR;
            good = tdi_length(reader, 1, 0x1F, &item->count);
            break;
        case 0xDA:
            item->type = TD_TYPE_STR;
            good = tdi_length(reader, 2, 0xFF, &item->count);
            break;
        case 0xDB:
            item->type = TD_TYPE_STR;
            good = tdi_length(reader, 4, 0xFFFF, &item->count);
            break;
        case 0xDC:
            item->type = TD_TYPE_ARRAY;
            good = tdi_length(reader, 2, 0x0F, &item->count);
            break;
        case 0xDD:
            item->type = TD_TYPE_ARRAY;
            good = tdi_length(reader, 4, 0xFFFF, &item->count);
            break;
        case 0xDE:
            item->type = TD_TYPE_MAP;
            good = tdi_length(reader, 2, 0x0F, &item->count);
            break;
        case 0xDF:
            item->type = TD_TYPE_MAP;
            good = tdi_length(reader, 4, 0xFFFF, &item->count);
            break;
        default: /* C1, float32, other extensions */
            return false;
        }
    }
    /* Every item takes at least one byte, every pair two: a count beyond that cannot be kept, and
     * refusing it here means no caller ever loops or reserves for a number the bytes do not back.
     */
    const size_t left = td_reader_left(reader);
    if (!good || item->count > (item->type == TD_TYPE_MAP ? left / 2 : left))
        return false;
    if (item->type == TD_TYPE_STR || item->type == TD_TYPE_BIN) {
        item->data = reader->at;
        reader->at += item->count;
    }
    return true;
}

/* Read the next value, or of an array or map only its head; its items follow. */
static inline td_status td_read_item(td_reader *reader, td_item *item)
{
    td_reader ahead = *reader;
    td_item found;
    memset(&found, 0, sizeof found);
    if (!tdi_read_item(&ahead, &found))
        return TD_CORRUPT;
    *reader = ahead;
    *item = found;
    return TD_OK;
}

/* The type of the next value, without moving. */
static inline td_status td_peek_type(const td_reader *reader, td_type *type)
{
    td_reader ahead = *reader;
    td_item item;
    memset(&item, 0, sizeof item);
    if (!tdi_read_item(&ahead, &item))
        return TD_CORRUPT;
    *type = item.type;
    return TD_OK;
}

/* Read the next item if it has this type: TD_OK, TD_FAILED or TD_CORRUPT. */
static inline td_status tdi_read_typed(td_reader *reader, td_type type, td_item *item)
{
    td_reader ahead = *reader;
    memset(item, 0, sizeof *item);
    if (!tdi_read_item(&ahead, item))
        return TD_CORRUPT;
    if (item->type != type)
        return TD_FAILED;
    *reader = ahead;
    return TD_OK;
}

static inline td_status td_read_nil(td_reader *reader)
{
    td_item item;
    return tdi_read_typed(reader, TD_TYPE_NIL, &item);
}

static inline td_status td_read_bool(td_reader *reader, bool *value)
{
    td_item item;
    const td_status status = tdi_read_typed(reader, TD_TYPE_BOOL, &item);
    if (status == TD_OK)
        *value = item.boolean;
    return status;
}

/* TD_FAILED for a negative integer as well. */
static inline td_status td_read_uint(td_reader *reader, uint64_t *value)
{
    td_item item;
    const td_status status = tdi_read_typed(reader, TD_TYPE_UINT, &item);
    if (status == TD_OK)
        *value = item.unsigned_value;
    return status;
}

/* TD_FAILED for an integer above 2^63 - 1 as well. */
static inline td_status td_read_int(td_reader *reader, int64_t *value)
{
    td_reader ahead = *reader;
    td_item item;
    const td_status status = td_read_item(&ahead, &item);
    if (status != TD_OK)
        return status;
    if (item.type == TD_TYPE_INT)
        *value = item.signed_value;
    else if (item.type == TD_TYPE_UINT && item.unsigned_value <= INT64_MAX)
        *value = (int64_t)item.unsigned_value;
    else
        return TD_FAILED;
    *reader = ahead;
    return TD_OK;
}

/* TD_FAILED for an integer; see td_read_number. */
static inline td_status td_read_float(td_reader *reader, double *value)
{
    td_item item;
    const td_status status = tdi_read_typed(reader, TD_TYPE_FLOAT, &item);
    if (status == TD_OK)
        *value = item.real;
    return status;
}

/* A float or an integer, as a double; integers beyond 2^53 are rounded. */
static inline td_status td_read_number(td_reader *reader, double *value)
{
    td_reader ahead = *reader;
    td_item item;
    const td_status status = td_read_item(&ahead, &item);
    if (status != TD_OK)
        return status;
    if (item.type == TD_TYPE_FLOAT)
        *value = item.real;
    else if (item.type == TD_TYPE_UINT)
        *value = (double)item.unsigned_value;
    else if (item.type == TD_TYPE_INT)
        *value = (double)item.signed_value;
    else
        return TD_FAILED;
    *reader = ahead;
    return TD_OK;
}

/* `text` is borrowed and not terminated by a zero. */
static inline td_status td_read_str(td_reader *reader, const char **text, size_t *bytes)
{
    td_item item;
    const td_status status = tdi_read_typed(reader, TD_TYPE_STR, &item);
    if (status == TD_OK) {
        *text = (const char *)item.data;
        *bytes = item.count;
    }
    return status;
}

/* `data` is borrowed. */
static inline td_status td_read_bin(td_reader *reader, const uint8_t **data, size_t *bytes)
{
    td_item item;
    const td_status status = tdi_read_typed(reader, TD_TYPE_BIN, &item);
    if (status == TD_OK) {
        *data = item.data;
        *bytes = item.count;
    }
    return status;
}

/* The head of an array; `items` values follow. */
static inline td_status td_read_array(td_reader *reader, size_t *items)
{
    td_item item;
    const td_status status = tdi_read_typed(reader, TD_TYPE_ARRAY, &item);
    if (status == TD_OK)
        *items = item.count;
    return status;
}

/* The head of a map; `pairs` times a string key and a value follow. */
static inline td_status td_read_map(td_reader *reader, size_t *pairs)
{
    td_item item;
    const td_status status = tdi_read_typed(reader, TD_TYPE_MAP, &item);
    if (status == TD_OK)
        *pairs = item.count;
    return status;
}

/* Seconds since 1970 (UTC) and nanoseconds, 0 to 999,999,999. */
static inline td_status td_read_timestamp(td_reader *reader, int64_t *seconds,
                                          uint32_t *nanoseconds)
{
    td_item item;
    const td_status status = tdi_read_typed(reader, TD_TYPE_TIMESTAMP, &item);
    if (status == TD_OK) {
        *seconds = item.seconds;
        *nanoseconds = item.nanoseconds;
    }
    return status;
}

/* Step over one whole value. Linear in its bytes; no recursion. */
static inline td_status td_skip(td_reader *reader)
{
    td_reader ahead = *reader;
    /* Values still to pass. Each costs a byte, so the loop ends with the bytes; each head adds at
     * most the bytes left, so the sum stays far below 2^64. */
    uint64_t todo = 1;
    while (todo > 0) {
        td_item item;
        if (!tdi_read_item(&ahead, &item))
            return TD_CORRUPT;
        todo--;
        if (item.type == TD_TYPE_ARRAY)
            todo += item.count;
        else if (item.type == TD_TYPE_MAP)
            todo += 2 * (uint64_t)item.count;
    }
    *reader = ahead;
    return TD_OK;
}

/* One whole value as the bytes it is, ready for td_write_raw(); borrowed. */
static inline td_status td_read_raw(td_reader *reader, const uint8_t **data, size_t *bytes)
{
    const uint8_t *const start = reader->at;
    const td_status status = td_skip(reader);
    if (status == TD_OK) {
        *data = start;
        *bytes = (size_t)(reader->at - start);
    }
    return status;
}

/* Find a key of the map at `map`, which does not move; `value` then stands on the value.
 * TD_FAILED: not a map, or no such key. Linear in the bytes before the value. */
static inline td_status td_map_find_n(td_reader map, const char *key, size_t key_bytes,
                                      td_reader *value)
{
    size_t pairs;
    td_status status = td_read_map(&map, &pairs);
    if (status != TD_OK)
        return status;
    for (; pairs > 0; pairs--) {
        const char *text;
        size_t bytes;
        status = td_read_str(&map, &text, &bytes);
        if (status != TD_OK)
            return TD_CORRUPT; /* a key that is no string */
        if (bytes == key_bytes && memcmp(text, key, bytes) == 0) {
            *value = map;
            return TD_OK;
        }
        status = td_skip(&map);
        if (status != TD_OK)
            return status;
    }
    return TD_FAILED;
}

/* The same for a key that ends with a zero. */
static inline td_status td_map_find(td_reader map, const char *key, td_reader *value)
{
    return td_map_find_n(map, key, strlen(key), value);
}

/* ---- writing -------------------------------------------------------------------------- */

typedef struct td_writer td_writer;
struct td_writer {
    uint8_t *start, *at, *end;
    td_status status; /* TD_OK, or the first failure: TD_TOO_LARGE, TD_ERR_MEMORY */
    /* Make room for `need` more bytes at `at` (may move start), or set status. */
    td_status (*grow)(td_writer *, size_t need);
    void *owner;
};

static inline size_t td_writer_bytes(const td_writer *writer)
{
    return (size_t)(writer->at - writer->start);
}

/* Room for `need` bytes, or NULL with the sticky status set. */
static inline uint8_t *tdi_reserve(td_writer *writer, size_t need)
{
    if (writer->status != TD_OK)
        return NULL;
    if ((size_t)(writer->end - writer->at) < need) {
        const td_status status = writer->grow(writer, need);
        if (status != TD_OK) {
            writer->status = status;
            return NULL;
        }
    }
    return writer->at;
}

static inline void tdi_put_big_endian(uint8_t *at, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

/* A head byte and `width` bytes of number. */
static inline td_status tdi_write_head(td_writer *writer, uint8_t head, uint64_t value,
                                       unsigned width)
{
    uint8_t *at = tdi_reserve(writer, 1 + (size_t)width);
    if (at == NULL)
        return writer->status;
    at[0] = head;
    tdi_put_big_endian(at + 1, value, width);
    writer->at = at + 1 + width;
    return TD_OK;
}

/* Append bytes that are already strict MessagePack. */
static inline td_status td_write_raw(td_writer *writer, const void *data, size_t bytes)
{
    uint8_t *at = tdi_reserve(writer, bytes);
    if (at == NULL)
        return writer->status;
    if (bytes > 0)
        memcpy(at, data, bytes);
    writer->at = at + bytes;
    return TD_OK;
}

static inline td_status td_write_nil(td_writer *writer)
{
    return tdi_write_head(writer, 0xC0, 0, 0);
}

static inline td_status td_write_bool(td_writer *writer, bool value)
{
    return tdi_write_head(writer, value ? 0xC3 : 0xC2, 0, 0);
}

static inline td_status td_write_uint(td_writer *writer, uint64_t value)
{
    if (value <= 0x7F)
        return tdi_write_head(writer, (uint8_t)value, 0, 0);
    if (value <= 0xFF)
        return tdi_write_head(writer, 0xCC, value, 1);
    if (value <= 0xFFFF)
        return tdi_write_head(writer, 0xCD, value, 2);
    if (value <= 0xFFFFFFFF)
        return tdi_write_head(writer, 0xCE, value, 4);
    return tdi_write_head(writer, 0xCF, value, 8);
}

static inline td_status td_write_int(td_writer *writer, int64_t value)
{
    if (value >= 0)
        return td_write_uint(writer, (uint64_t)value);
    if (value >= -32)
        return tdi_write_head(writer, (uint8_t)value, 0, 0);
    if (value >= -128)
        return tdi_write_head(writer, 0xD0, (uint64_t)value, 1);
    if (value >= -32768)
        return tdi_write_head(writer, 0xD1, (uint64_t)value, 2);
    if (value >= -2147483648LL)
        return tdi_write_head(writer, 0xD2, (uint64_t)value, 4);
    return tdi_write_head(writer, 0xD3, (uint64_t)value, 8);
}

/* Every NaN becomes the one bit pattern; -0.0 stays. */
static inline td_status td_write_float(td_writer *writer, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, 8);
    if (value != value)
        bits = 0x7FF8000000000000u;
    return tdi_write_head(writer, 0xCB, bits, 8);
}

/* Sets TD_CORRUPT when `text` is not UTF-8, TD_TOO_LARGE from 4 GiB on. */
static inline td_status td_write_str(td_writer *writer, const char *text, size_t bytes)
{
    if (writer->status == TD_OK && bytes > UINT32_MAX)
        writer->status = TD_TOO_LARGE;
    else if (writer->status == TD_OK && !td_utf8_valid((const uint8_t *)text, bytes))
        writer->status = TD_CORRUPT;
    if (writer->status != TD_OK)
        return writer->status;
    if (bytes <= 0x1F)
        tdi_write_head(writer, (uint8_t)(0xA0 | bytes), 0, 0);
    else if (bytes <= 0xFF)
        tdi_write_head(writer, 0xD9, bytes, 1);
    else if (bytes <= 0xFFFF)
        tdi_write_head(writer, 0xDA, bytes, 2);
    else
        tdi_write_head(writer, 0xDB, bytes, 4);
    return td_write_raw(writer, text, bytes);
}

/* The same for text that ends with a zero: keys, mostly. */
static inline td_status td_write_text(td_writer *writer, const char *text)
{
    return td_write_str(writer, text, strlen(text));
}

/* Sets TD_TOO_LARGE from 4 GiB on. */
static inline td_status td_write_bin(td_writer *writer, const void *data, size_t bytes)
{
    if (writer->status == TD_OK && bytes > UINT32_MAX)
        writer->status = TD_TOO_LARGE;
    if (writer->status != TD_OK)
        return writer->status;
    if (bytes <= 0xFF)
        tdi_write_head(writer, 0xC4, bytes, 1);
    else if (bytes <= 0xFFFF)
        tdi_write_head(writer, 0xC5, bytes, 2);
    else
        tdi_write_head(writer, 0xC6, bytes, 4);
    return td_write_raw(writer, data, bytes);
}

/* The head of an array; write `items` values after it. */
static inline td_status td_write_array(td_writer *writer, size_t items)
{
    if (writer->status == TD_OK && items > UINT32_MAX)
        writer->status = TD_TOO_LARGE;
    if (items <= 0x0F)
        return tdi_write_head(writer, (uint8_t)(0x90 | items), 0, 0);
    if (items <= 0xFFFF)
        return tdi_write_head(writer, 0xDC, items, 2);
    return tdi_write_head(writer, 0xDD, items, 4);
}

/* The head of a map; write `pairs` times a string key (no two alike) and a value after it. */
static inline td_status td_write_map(td_writer *writer, size_t pairs)
{
    if (writer->status == TD_OK && pairs > UINT32_MAX)
        writer->status = TD_TOO_LARGE;
    if (pairs <= 0x0F)
        return tdi_write_head(writer, (uint8_t)(0x80 | pairs), 0, 0);
    if (pairs <= 0xFFFF)
        return tdi_write_head(writer, 0xDE, pairs, 2);
    return tdi_write_head(writer, 0xDF, pairs, 4);
}

/* Sets TD_ERR_ARGUMENT when nanoseconds is above 999,999,999. */
static inline td_status td_write_timestamp(td_writer *writer, int64_t seconds, uint32_t nanoseconds)
{
    if (writer->status == TD_OK && nanoseconds > 999999999u)
        writer->status = TD_ERR_ARGUMENT;
    if (writer->status != TD_OK)
        return writer->status;
    uint8_t bytes[15];
    size_t used;
    if (seconds >= 0 && seconds <= 0xFFFFFFFF && nanoseconds == 0) {
        bytes[0] = 0xD6;
        bytes[1] = 0xFF;
        tdi_put_big_endian(bytes + 2, (uint64_t)seconds, 4);
        used = 6;
    } else if (seconds >= 0 && seconds <= 0x3FFFFFFFF) {
        bytes[0] = 0xD7;
        bytes[1] = 0xFF;
        tdi_put_big_endian(bytes + 2, (uint64_t)nanoseconds << 34 | (uint64_t)seconds, 8);
        used = 10;
    } else {
        bytes[0] = 0xC7;
        bytes[1] = 12;
        bytes[2] = 0xFF;
        tdi_put_big_endian(bytes + 3, nanoseconds, 4);
        tdi_put_big_endian(bytes + 7, (uint64_t)seconds, 8);
        used = 15;
    }
    return td_write_raw(writer, bytes, used);
}

/* ---- storage for a writer ------------------------------------------------------------- */

static inline td_status tdi_fixed_grow(td_writer *writer, size_t need)
{
    (void)writer;
    (void)need;
    return TD_TOO_LARGE;
}

/* A writer over storage the caller owns; what does not fit is TD_TOO_LARGE. */
static inline void td_writer_fixed(td_writer *writer, void *storage, size_t bytes)
{
    writer->start = writer->at = (uint8_t *)storage;
    writer->end = writer->start + bytes;
    writer->status = TD_OK;
    writer->grow = tdi_fixed_grow;
    writer->owner = NULL;
}

/* A writer that grows on the heap up to a limit: for hosts and tests. Do not copy or move it. */
typedef struct td_heap_writer {
    td_writer writer;
    size_t bytes_max;
} td_heap_writer;

static inline td_status tdi_heap_grow(td_writer *writer, size_t need)
{
    td_heap_writer *const heap = (td_heap_writer *)writer->owner;
    const size_t used = td_writer_bytes(writer);
    if (need > heap->bytes_max - used)
        return TD_TOO_LARGE;
    /* Double, so that appending is linear; never past the limit. */
    const size_t now = (size_t)(writer->end - writer->start);
    size_t room = now > heap->bytes_max / 2 ? heap->bytes_max : 2 * now;
    if (room < used + need)
        room = used + need;
    if (room < 256 && heap->bytes_max >= 256)
        room = 256;
    uint8_t *const start = (uint8_t *)realloc(writer->start, room);
    if (start == NULL)
        return TD_ERR_MEMORY;
    writer->start = start;
    writer->at = start + used;
    writer->end = start + room;
    return TD_OK;
}

/* Ready to write at most `bytes_max` bytes; allocates at the first write. */
static inline void td_heap_writer_init(td_heap_writer *heap, size_t bytes_max)
{
    heap->writer.start = heap->writer.at = heap->writer.end = NULL;
    heap->writer.status = TD_OK;
    heap->writer.grow = tdi_heap_grow;
    heap->writer.owner = heap;
    heap->bytes_max = bytes_max;
}

/* Forget the content and the status, keep the memory. */
static inline void td_heap_writer_reset(td_heap_writer *heap)
{
    heap->writer.at = heap->writer.start;
    heap->writer.status = TD_OK;
}

/* Give the memory back; the writer may then only be initialised again. */
static inline void td_heap_writer_fini(td_heap_writer *heap)
{
    free(heap->writer.start);
    heap->writer.start = heap->writer.at = heap->writer.end = NULL;
}

#endif /* TANDEM_MESSAGE_H */
