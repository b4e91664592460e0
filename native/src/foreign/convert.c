/* convert.c - from a payload's map to the arguments of a C function. */
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "foreign/foreign.h"
#include "foreign/values.h"

#define F32_OVERFLOWS 0x1.ffffffp+127 /* from here on rounding to f32 gives infinity */

td_status tdi_call_fails(td_call *call, const char *type, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return td_fail(call, type, text);
}

void *tdi_values_keep(tdi_values *values, size_t bytes, const char *name, td_status *status)
{
    if (bytes > TDI_FOREIGN_BYTES_MAX - values->owned_bytes) {
        *status = tdi_call_fails(values->call, "TooLarge",
                                 "argument '%s': more than %zu bytes for all arguments", name,
                                 TDI_FOREIGN_BYTES_MAX);
        return NULL;
    }
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL) {
        *status = tdi_call_fails(values->call, "MemoryError",
                                 "argument '%s': no memory for %zu "
                                 "bytes",
                                 name, bytes);
        return NULL;
    }
    values->owned[values->owned_total++] = memory; /* one for each argument at most */
    values->owned_bytes += bytes;
    return memory;
}

void tdi_values_free(tdi_values *values)
{
    for (size_t i = 0; i < values->owned_total; i++)
        free(values->owned[i]);
    values->owned_total = 0;
}

static const char *kind_of(const td_item *item)
{
    static const char *const names[] = {
        [TD_TYPE_NIL] = "None",    [TD_TYPE_BOOL] = "bool",
        [TD_TYPE_UINT] = "int",    [TD_TYPE_INT] = "int",
        [TD_TYPE_FLOAT] = "float", [TD_TYPE_STR] = "str",
        [TD_TYPE_BIN] = "bytes",   [TD_TYPE_ARRAY] = "list",
        [TD_TYPE_MAP] = "dict",    [TD_TYPE_TIMESTAMP] = "timestamp"};
    return names[item->type];
}

/* ---- numbers ---- */

typedef enum fit { FITS, OTHER_TYPE, OUT_OF_RANGE } fit;

static fit put_integer(const td_item *item, int64_t least, uint64_t most, size_t bytes, void *to)
{
    if (item->type != TD_TYPE_INT && item->type != TD_TYPE_UINT)
        return OTHER_TYPE;
    const bool negative = item->type == TD_TYPE_INT;
    if (negative ? item->signed_value < least : item->unsigned_value > most)
        return OUT_OF_RANGE;
    /* Little-endian: the low bytes of either are the number. */
    memcpy(to, negative ? (const void *)&item->signed_value : (const void *)&item->unsigned_value,
           bytes);
    return FITS;
}

static fit put_real(const td_item *item, tdi_type type, void *to)
{
    double real;
    if (item->type == TD_TYPE_FLOAT)
        real = item->real;
    else if (item->type == TD_TYPE_UINT)
        real = (double)item->unsigned_value;
    else if (item->type == TD_TYPE_INT)
        real = (double)item->signed_value;
    else
        return OTHER_TYPE;
    if (type == TDI_F64) {
        memcpy(to, &real, sizeof real);
        return FITS;
    }
    if (isfinite(real) && fabs(real) >= F32_OVERFLOWS)
        return OUT_OF_RANGE;
    const float rounded = (float)real;
    memcpy(to, &rounded, sizeof rounded);
    return FITS;
}

static fit put_number(const td_item *item, tdi_type type, void *to)
{
    switch (type) {
    case TDI_I8:
        return put_integer(item, INT8_MIN, INT8_MAX, 1, to);
    case TDI_I16:
        return put_integer(item, INT16_MIN, INT16_MAX, 2, to);
    case TDI_I32:
        return put_integer(item, INT32_MIN, INT32_MAX, 4, to);
    case TDI_I64:
        return put_integer(item, INT64_MIN, INT64_MAX, 8, to);
    case TDI_U8:
        return put_integer(item, 0, UINT8_MAX, 1, to);
    case TDI_U16:
        return put_integer(item, 0, UINT16_MAX, 2, to);
    case TDI_U32:
        return put_integer(item, 0, UINT32_MAX, 4, to);
    case TDI_U64:
        return put_integer(item, 0, UINT64_MAX, 8, to);
    default:
        return put_real(item, type, to);
    }
}

static td_status misfit(td_call *call, const char *name, int64_t index, const td_item *item,
                        tdi_type type, fit went)
{
    char where[TDI_ARGUMENT_NAME_MAX + 32];
    snprintf(where, sizeof where, index < 0 ? "'%s'" : "'%s'[%lld]", name, (long long)index);
    if (went == OTHER_TYPE)
        return tdi_call_fails(call, "TypeError", "argument %s: %s, expected %s", where,
                              kind_of(item), tdi_type_name(type));
    char number[32];
    if (item->type == TD_TYPE_INT)
        snprintf(number, sizeof number, "%lld", (long long)item->signed_value);
    else if (item->type == TD_TYPE_UINT)
        snprintf(number, sizeof number, "%llu", (unsigned long long)item->unsigned_value);
    else
        snprintf(number, sizeof number, "%.17g", item->real);
    return tdi_call_fails(call, "OverflowError", "argument %s: %s is out of range for %s", where,
                          number, tdi_type_name(type));
}

/* ---- text and buffers ---- */

static td_status take_text(tdi_values *values, const tdi_argument *argument, const td_item *item,
                           tdi_value *value)
{
    if (memchr(item->data, '\0', item->count) != NULL)
        return tdi_call_fails(values->call, "ValueError", "argument '%s': embedded null character",
                              argument->name);
    td_status status = TD_OK;
    char *text = tdi_values_keep(values, item->count + 1, argument->name, &status);
    if (text == NULL)
        return status;
    memcpy(text, item->data, item->count);
    text[item->count] = '\0';
    value->slot.pointer = text;
    value->count = item->count;
    return TD_OK;
}

/* Bytes that are items of the right type: where they lie if that is aligned, else a copy. */
static td_status take_memory(tdi_values *values, const tdi_argument *argument, td_view data,
                             size_t item_bytes, tdi_value *value)
{
    value->count = data.bytes / item_bytes;
    if ((uintptr_t)data.data % item_bytes == 0) {
        value->slot.pointer = (void *)(uintptr_t)data.data; /* the function takes const T * */
        return TD_OK;
    }
    td_status status = TD_OK;
    void *copy = tdi_values_keep(values, data.bytes, argument->name, &status);
    if (copy == NULL)
        return status;
    memcpy(copy, data.data, data.bytes);
    value->slot.pointer = copy;
    return TD_OK;
}

static td_status take_list(tdi_values *values, const tdi_argument *argument, size_t items,
                           td_reader *reader, tdi_value *value)
{
    const size_t item_bytes = tdi_type_bytes(argument->item);
    td_status status = TD_OK;
    /* An item costs a byte of the payload at least, so this cannot overflow. */
    uint8_t *memory = tdi_values_keep(values, items * item_bytes, argument->name, &status);
    if (memory == NULL)
        return status;
    for (size_t i = 0; i < items; i++) {
        td_item item;
        if (td_read_item(reader, &item) != TD_OK)
            return TD_CORRUPT;
        const fit went = put_number(&item, argument->item, memory + i * item_bytes);
        if (went != FITS)
            return misfit(values->call, argument->name, (int64_t)i, &item, argument->item, went);
    }
    value->slot.pointer = memory;
    value->count = items;
    value->form = TDI_FORM_LIST;
    return TD_OK;
}

static td_status bad_buffer(td_call *call, const char *name, const char *what)
{
    return tdi_call_fails(call, "ValueError", "argument '%s': $buffer: %s", name, what);
}

/* {"dtype", "shape", "data", "kind"?}; `map` stands on it. */
static td_status take_buffer(tdi_values *values, const tdi_argument *argument, td_reader map,
                             tdi_type type, tdi_value *value)
{
    td_call *call = values->call;
    td_reader at;
    const char *dtype;
    size_t dtype_bytes, dimensions;
    if (td_map_find(map, "dtype", &at) != TD_OK || td_read_str(&at, &dtype, &dtype_bytes) != TD_OK)
        return bad_buffer(call, argument->name, "expected dtype, shape and data");
    const char *wanted = tdi_type_name(type);
    if (dtype_bytes != strlen(wanted) || memcmp(dtype, wanted, dtype_bytes) != 0)
        return tdi_call_fails(call, "TypeError", "argument '%s': a buffer of %.*s, expected %s",
                              argument->name, (int)(dtype_bytes < 16 ? dtype_bytes : 16), dtype,
                              wanted);
    td_view data;
    if (td_map_find(map, "data", &at) != TD_OK ||
        td_read_bin(&at, &data.data, &data.bytes) != TD_OK ||
        td_map_find(map, "shape", &at) != TD_OK || td_read_array(&at, &dimensions) != TD_OK)
        return bad_buffer(call, argument->name, "expected dtype, shape and data");
    uint64_t items = 1;
    for (size_t i = 0; i < dimensions; i++) {
        uint64_t length;
        if (td_read_uint(&at, &length) != TD_OK || __builtin_mul_overflow(items, length, &items))
            return bad_buffer(call, argument->name, "its shape makes no sense");
    }
    const size_t item_bytes = tdi_type_bytes(type);
    if (data.bytes % item_bytes != 0 || items != data.bytes / item_bytes)
        return bad_buffer(call, argument->name, "its data has not the length of its shape");
    value->form = TDI_FORM_BUFFER;
    value->kind = (td_view){NULL, 0};
    const char *kind;
    size_t kind_bytes;
    if (td_map_find(map, "kind", &at) == TD_OK && td_read_str(&at, &kind, &kind_bytes) == TD_OK)
        value->kind = (td_view){(const uint8_t *)kind, kind_bytes};
    return take_memory(values, argument, data, item_bytes, value);
}

/* The item is a map of the one key $buffer: `inside` then stands on what it names. */
static bool is_buffer(const td_item *item, td_reader reader, td_reader *inside)
{
    const char *key;
    size_t bytes;
    if (item->type != TD_TYPE_MAP || item->count != 1 ||
        td_read_str(&reader, &key, &bytes) != TD_OK || bytes != 7 || memcmp(key, "$buffer", 7) != 0)
        return false;
    *inside = reader;
    return true;
}

/* `after` stands behind the item's head. */
static td_status take_array(tdi_values *values, const tdi_argument *argument, const td_item *item,
                            td_reader after, tdi_value *value)
{
    const tdi_type type = argument->type == TDI_BYTES ? TDI_U8 : argument->item;
    td_reader inside;
    if (item->type == TD_TYPE_BIN && type == TDI_U8) {
        value->form = TDI_FORM_BYTES;
        return take_memory(values, argument, (td_view){item->data, item->count}, 1, value);
    }
    if (is_buffer(item, after, &inside))
        return take_buffer(values, argument, inside, type, value);
    if (item->type == TD_TYPE_ARRAY && argument->type == TDI_BUF)
        return take_list(values, argument, item->count, &after, value);
    if (argument->type == TDI_BYTES)
        return tdi_call_fails(values->call, "TypeError", "argument '%s': %s, expected bytes",
                              argument->name, kind_of(item));
    return tdi_call_fails(values->call, "TypeError",
                          "argument '%s': %s, expected a buffer or list of %s", argument->name,
                          kind_of(item), tdi_type_name(type));
}

/* ---- the whole payload ---- */

static td_status take_one(tdi_values *values, const tdi_argument *argument, td_reader reader,
                          tdi_value *value)
{
    td_item item;
    if (td_read_item(&reader, &item) != TD_OK)
        return TD_CORRUPT;
    fit went = FITS;
    switch (argument->type) {
    case TDI_BOOL:
        went = item.type == TD_TYPE_BOOL ? FITS : OTHER_TYPE;
        value->slot.flag = went == FITS && item.boolean;
        break;
    case TDI_STR:
        if (item.type == TD_TYPE_STR)
            return take_text(values, argument, &item, value);
        went = OTHER_TYPE;
        break;
    case TDI_BYTES:
    case TDI_BUF:
        return take_array(values, argument, &item, reader, value);
    default:
        went = put_number(&item, argument->type, &value->slot);
    }
    if (went != FITS)
        return misfit(values->call, argument->name, -1, &item, argument->type, went);
    return TD_OK;
}

static size_t index_of(const tdi_signature *signature, const char *name, size_t bytes)
{
    size_t i = 0;
    while (i < signature->arguments_total &&
           (signature->arguments[i].type == TDI_OUT ||
            strlen(signature->arguments[i].name) != bytes ||
            memcmp(signature->arguments[i].name, name, bytes) != 0))
        i++;
    return i;
}

static td_status take_pairs(tdi_values *values, const tdi_signature *signature, td_reader reader,
                            size_t pairs)
{
    for (; pairs > 0; pairs--) {
        const char *name;
        size_t bytes;
        if (td_read_str(&reader, &name, &bytes) != TD_OK)
            return TD_CORRUPT;
        const size_t i = index_of(signature, name, bytes);
        if (i == signature->arguments_total)
            return tdi_call_fails(values->call, "TypeError", "unexpected argument '%.*s'",
                                  (int)(bytes < 64 ? bytes : 64), name);
        const td_status status =
            take_one(values, &signature->arguments[i], reader, &values->all[i]);
        if (status != TD_OK)
            return status;
        values->all[i].given = true;
        if (td_skip(&reader) != TD_OK)
            return TD_CORRUPT;
    }
    return TD_OK;
}

td_status tdi_values_take(tdi_values *values, const tdi_signature *signature)
{
    const td_view payload = td_payload(values->call);
    td_reader reader = td_reader_of(payload.data, payload.bytes);
    td_item head;
    if (td_read_item(&reader, &head) != TD_OK)
        return TD_CORRUPT;
    if (head.type != TD_TYPE_MAP && head.type != TD_TYPE_NIL)
        return tdi_call_fails(values->call, "TypeError",
                              "the payload is %s, expected a dict of arguments by name",
                              kind_of(&head));
    const td_status status =
        take_pairs(values, signature, reader, head.type == TD_TYPE_MAP ? head.count : 0);
    for (size_t i = 0; status == TD_OK && i < signature->arguments_total; i++)
        if (signature->arguments[i].type != TDI_OUT && !values->all[i].given)
            return tdi_call_fails(values->call, "TypeError", "missing argument '%s' (%s)",
                                  signature->arguments[i].name,
                                  tdi_type_name(signature->arguments[i].type));
    return status;
}
