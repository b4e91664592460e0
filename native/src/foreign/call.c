/* call.c - a bound function: prepare once, then convert, call, and write what came back. */
#include <ffi.h>
#include <stdlib.h>
#include <string.h>

#include "foreign/foreign.h"
#include "foreign/values.h"

_Static_assert(sizeof(size_t) == sizeof(uint64_t), "lengths are passed as u64");
_Static_assert(sizeof(int) == sizeof(int32_t), "err is an int");

enum { FFI_ARGUMENTS_MAX = 2 * TDI_ARGUMENTS_MAX }; /* a buffer is a pointer and a length */

struct tdi_foreign {
    tdi_signature signature;
    void (*function)(void);
    ffi_cif cif;
    ffi_type *types[FFI_ARGUMENTS_MAX];
    unsigned types_total;
};

/* libffi widens small integers to ffi_arg. */
typedef union returned {
    ffi_arg small;
    int64_t i64;
    uint64_t u64;
    float f32;
    double f64;
    const char *text;
} returned;

static ffi_type *ffi_type_of(tdi_type type)
{
    switch (type) {
    case TDI_VOID:
        return &ffi_type_void;
    case TDI_BOOL:
        return &ffi_type_uint8;
    case TDI_I32:
    case TDI_ERR:
        return &ffi_type_sint32;
    case TDI_I64:
        return &ffi_type_sint64;
    case TDI_U32:
        return &ffi_type_uint32;
    case TDI_U64:
        return &ffi_type_uint64;
    case TDI_F32:
        return &ffi_type_float;
    case TDI_F64:
        return &ffi_type_double;
    default:
        return &ffi_type_pointer;
    }
}

static bool has_length(tdi_type type)
{
    return type == TDI_BYTES || type == TDI_BUF;
}

td_status tdi_foreign_bind(const char *signature, void (*function)(void), tdi_foreign **out,
                           tdi_error *error)
{
    tdi_foreign *made = calloc(1, sizeof *made);
    if (made == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "no memory for a signature");
    const td_status status =
        tdi_signature_parse(signature, strlen(signature), &made->signature, error);
    if (status != TD_OK) {
        free(made);
        return status;
    }
    made->function = function;
    for (size_t i = 0; i < made->signature.arguments_total; i++) {
        const tdi_type type = made->signature.arguments[i].type;
        made->types[made->types_total++] = ffi_type_of(type);
        if (has_length(type))
            made->types[made->types_total++] = &ffi_type_uint64;
    }
    if (ffi_prep_cif(&made->cif, FFI_DEFAULT_ABI, made->types_total,
                     ffi_type_of(made->signature.returned), made->types) != FFI_OK) {
        free(made);
        return tdi_fail(error, TD_ERR_ARGUMENT, "libffi cannot call that here");
    }
    *out = made;
    return TD_OK;
}

void tdi_foreign_free(tdi_foreign *foreign)
{
    free(foreign);
}

/* ---- what came back ---- */

static td_status write_text(td_call *call, const char *text)
{
    td_writer *out = td_output(call);
    if (text == NULL)
        return td_write_nil(out);
    const size_t bytes = strnlen(text, TDI_OUT_BYTES_MAX + 1);
    if (bytes > TDI_OUT_BYTES_MAX)
        return tdi_call_fails(call, "TooLarge", "the returned text has more than %zu bytes",
                              TDI_OUT_BYTES_MAX);
    if (!td_utf8_valid((const uint8_t *)text, bytes))
        return td_fail(call, "UnicodeDecodeError", "the returned text is not UTF-8");
    return td_write_str(out, text, bytes);
}

static td_status write_returned(td_call *call, tdi_type type, const returned *value)
{
    td_writer *out = td_output(call);
    switch (type) {
    case TDI_VOID:
        return td_write_nil(out);
    case TDI_BOOL:
        return td_write_bool(out, (uint8_t)value->small != 0);
    case TDI_I32:
    case TDI_ERR:
        return td_write_int(out, (int32_t)value->small);
    case TDI_U32:
        return td_write_uint(out, (uint32_t)value->small);
    case TDI_I64:
        return td_write_int(out, value->i64);
    case TDI_U64:
        return td_write_uint(out, value->u64);
    case TDI_F32:
        return td_write_float(out, (double)value->f32);
    case TDI_F64:
        return td_write_float(out, value->f64);
    default:
        return write_text(call, value->text);
    }
}

static td_status write_number(td_writer *out, tdi_type type, const uint8_t *at)
{
    union {
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        uint8_t u8;
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
        float f32;
        double f64;
    } item;
    memcpy(&item, at, tdi_type_bytes(type));
    switch (type) {
    case TDI_I8:
        return td_write_int(out, item.i8);
    case TDI_I16:
        return td_write_int(out, item.i16);
    case TDI_I32:
        return td_write_int(out, item.i32);
    case TDI_I64:
        return td_write_int(out, item.i64);
    case TDI_U8:
        return td_write_uint(out, item.u8);
    case TDI_U16:
        return td_write_uint(out, item.u16);
    case TDI_U32:
        return td_write_uint(out, item.u32);
    case TDI_U64:
        return td_write_uint(out, item.u64);
    case TDI_F32:
        return td_write_float(out, (double)item.f32);
    default:
        return td_write_float(out, item.f64);
    }
}

/* As model/values.py writes it. */
static td_status write_buffer(td_writer *out, const tdi_argument *argument, const tdi_value *value,
                              td_view kind)
{
    td_write_map(out, 1);
    td_write_text(out, "$buffer");
    td_write_map(out, kind.data != NULL ? 4 : 3);
    td_write_text(out, "dtype");
    td_write_text(out, tdi_type_name(argument->item));
    td_write_text(out, "shape");
    td_write_array(out, 1);
    td_write_uint(out, value->count);
    td_write_text(out, "data");
    td_write_bin(out, value->slot.pointer, value->count * tdi_type_bytes(argument->item));
    if (kind.data != NULL) {
        td_write_text(out, "kind");
        td_write_str(out, (const char *)kind.data, kind.bytes);
    }
    return out->status;
}

static td_status write_out(td_writer *out, const tdi_argument *argument, const tdi_value *value,
                           const tdi_value *model)
{
    static const td_view array = {(const uint8_t *)"array", 5};
    const tdi_form form = model != NULL              ? model->form
                          : argument->item == TDI_U8 ? TDI_FORM_BYTES
                                                     : TDI_FORM_LIST;
    if (form == TDI_FORM_BYTES && argument->item == TDI_U8)
        return td_write_bin(out, value->slot.pointer, value->count);
    if (form != TDI_FORM_LIST)
        return write_buffer(out, argument, value, form == TDI_FORM_BUFFER ? model->kind : array);
    const size_t item_bytes = tdi_type_bytes(argument->item);
    const uint8_t *at = value->slot.pointer;
    td_write_array(out, value->count);
    for (size_t i = 0; out->status == TD_OK && i < value->count; i++)
        write_number(out, argument->item, at + i * item_bytes);
    return out->status;
}

static td_status write_all(const tdi_foreign *foreign, const tdi_values *values,
                           const returned *value)
{
    const tdi_signature *signature = &foreign->signature;
    td_call *call = values->call;
    if (signature->returned == TDI_ERR && (int32_t)value->small != 0)
        return tdi_call_fails(call, "ErrorCode", "it returned %d", (int)(int32_t)value->small);
    size_t outs = 0;
    const tdi_value *model = NULL;
    for (size_t i = 0; i < signature->arguments_total; i++) {
        outs += signature->arguments[i].type == TDI_OUT;
        if (model == NULL && signature->arguments[i].type == TDI_BUF)
            model = &values->all[i];
    }
    if (outs == 0)
        return write_returned(call, signature->returned, value);
    td_writer *out = td_output(call);
    td_write_map(out, outs + 1);
    for (size_t i = 0; i < signature->arguments_total; i++)
        if (signature->arguments[i].type == TDI_OUT) {
            td_write_text(out, signature->arguments[i].name);
            write_out(out, &signature->arguments[i], &values->all[i], model);
        }
    td_write_text(out, "return");
    return write_returned(call, signature->returned, value);
}

td_status tdi_foreign_call(const tdi_foreign *foreign, td_call *call)
{
    tdi_values values = {.call = call};
    td_status status = tdi_values_take(&values, &foreign->signature);
    if (status == TD_OK)
        status = tdi_values_make_room(&values, &foreign->signature);
    if (status == TD_OK) {
        void *addresses[FFI_ARGUMENTS_MAX];
        unsigned total = 0;
        for (size_t i = 0; i < foreign->signature.arguments_total; i++) {
            addresses[total++] = &values.all[i].slot;
            if (has_length(foreign->signature.arguments[i].type))
                addresses[total++] = &values.all[i].count;
        }
        returned value = {.u64 = 0};
        ffi_cif cif = foreign->cif; /* ffi_call takes it as if it could change */
        ffi_call(&cif, foreign->function, &value, addresses);
        status = write_all(foreign, &values, &value);
    }
    tdi_values_free(&values);
    return status;
}
