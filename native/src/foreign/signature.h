/* signature.h - read how a plain C function is called: `f64(f64 w, buf<f64> x, out buf<f64>[n] y)`.
 *
 *     signature = ret "(" [ argument { "," argument } ] ")"
 *     ret       = void | bool | i32 | i64 | u32 | u64 | f32 | f64 | str | err
 *     argument  = ( bool | i32 | i64 | u32 | u64 | f32 | f64 | str ) name
 *               | bytes name                     (const uint8_t *, size_t)
 *               | buf<T> name                    (const T *, size_t items)
 *               | out buf<T>[ size ] name        (T *)
 *     T         = i8 | i16 | i32 | i64 | u8 | u16 | u32 | u64 | f32 | f64
 *     size      = integers, names of integer arguments, len(name of a str, bytes or buf argument),
 *                 + - * / and parentheses
 *
 * layers/libraries/signature.py reads the same; protocol/golden/signatures.tsv judges both.
 *
 * Threads: pure functions.
 * Memory:  everything lies in the structure, which the caller owns.
 * Errors:  TD_ERR_ARGUMENT with `offset: what was expected`; *out is undefined then.
 */
#ifndef TDI_SIGNATURE_H
#define TDI_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
    TDI_SIGNATURE_BYTES_MAX = 1024,
    TDI_ARGUMENTS_MAX = 16,
    TDI_ARGUMENT_NAME_MAX = 64,
    TDI_SIZE_PARTS_MAX = 32, /* numbers, names and operators of one size */
    TDI_SIZE_DEPTH_MAX = 8,  /* parentheses within parentheses */
};

typedef enum tdi_type {
    TDI_VOID,
    TDI_BOOL,
    TDI_I8,
    TDI_I16,
    TDI_I32,
    TDI_I64,
    TDI_U8,
    TDI_U16,
    TDI_U32,
    TDI_U64,
    TDI_F32,
    TDI_F64,
    TDI_STR,
    TDI_ERR,
    TDI_BYTES,
    TDI_BUF,
    TDI_OUT, /* a buffer that the function fills */
} tdi_type;

/* Sizes are kept in postfix order: a stack of at most TDI_SIZE_PARTS_MAX numbers evaluates them. */
typedef struct tdi_size_part {
    enum { TDI_SIZE_NUMBER, TDI_SIZE_VALUE, TDI_SIZE_LENGTH, TDI_SIZE_OPERATOR } kind;
    int64_t number;  /* NUMBER: from 0 */
    size_t argument; /* VALUE, LENGTH: its index */
    char operator;   /* OPERATOR: + - * / */
} tdi_size_part;

typedef struct tdi_size {
    size_t parts_total;
    tdi_size_part parts[TDI_SIZE_PARTS_MAX];
} tdi_size;

typedef struct tdi_argument {
    tdi_type type;
    tdi_type item; /* BUF, OUT: of one item */
    char name[TDI_ARGUMENT_NAME_MAX + 1];
    tdi_size size; /* OUT: in items */
} tdi_argument;

typedef struct tdi_signature {
    tdi_type returned;
    size_t arguments_total;
    tdi_argument arguments[TDI_ARGUMENTS_MAX];
} tdi_signature;

/* `text` need not end with a zero. */
td_status tdi_signature_parse(const char *text, size_t bytes, tdi_signature *out, tdi_error *error);

/* Write it with single blanks and sizes in postfix order, for comparing. Returns the characters
 * written without the closing zero; what does not fit is cut. */
size_t tdi_signature_print(const tdi_signature *signature, char *text, size_t bytes);

/* As it is written: "f64", "buf<f64>" without its item is "buf". */
const char *tdi_type_name(tdi_type type);

/* Bytes of one item of a buffer; 0 for what cannot be one. */
size_t tdi_type_bytes(tdi_type type);

#endif /* TDI_SIGNATURE_H */
