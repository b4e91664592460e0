/* size.c - how large the out-buffers of a call are. */
#include <string.h>

#include "foreign/foreign.h"
#include "foreign/values.h"

typedef enum sum { FINE, TOO_LARGE, BY_ZERO } sum;

/* The value of an integer argument. */
static sum integer_of(tdi_type type, const tdi_value *value, int64_t *out)
{
    if (type == TDI_U64 && value->slot.u64 > INT64_MAX)
        return TOO_LARGE;
    *out = type == TDI_I32   ? value->slot.i32
           : type == TDI_U32 ? (int64_t)value->slot.u32
           : type == TDI_U64 ? (int64_t)value->slot.u64
                             : value->slot.i64;
    return FINE;
}

static sum apply(char sign, int64_t left, int64_t right, int64_t *out)
{
    bool over = false;
    if (sign == '/') {
        if (right == 0)
            return BY_ZERO;
        over = left == INT64_MIN && right == -1;
        *out = over ? 0 : left / right; /* towards zero, as in C */
    } else if (sign == '*') {
        over = __builtin_mul_overflow(left, right, out);
    } else if (sign == '+') {
        over = __builtin_add_overflow(left, right, out);
    } else {
        over = __builtin_sub_overflow(left, right, out);
    }
    return over ? TOO_LARGE : FINE;
}

static sum evaluate(const tdi_size *size, const tdi_signature *signature, const tdi_values *values,
                    int64_t *out)
{
    int64_t stack[TDI_SIZE_PARTS_MAX];
    size_t depth = 0; /* the parser made sure that it never runs empty */
    for (size_t i = 0; i < size->parts_total; i++) {
        const tdi_size_part *part = &size->parts[i];
        sum went = FINE;
        if (part->kind == TDI_SIZE_OPERATOR) {
            depth--;
            went = apply(part->operator, stack[depth - 1], stack[depth], &stack[depth - 1]);
        } else if (part->kind == TDI_SIZE_NUMBER) {
            stack[depth++] = part->number;
        } else if (part->kind == TDI_SIZE_LENGTH) {
            stack[depth++] = (int64_t)values->all[part->argument].count;
        } else {
            went = integer_of(signature->arguments[part->argument].type,
                              &values->all[part->argument], &stack[depth++]);
        }
        if (went != FINE)
            return went;
    }
    *out = stack[0];
    return FINE;
}

td_status tdi_values_make_room(tdi_values *values, const tdi_signature *signature)
{
    size_t left = TDI_OUT_BYTES_MAX;
    for (size_t i = 0; i < signature->arguments_total; i++) {
        const tdi_argument *argument = &signature->arguments[i];
        if (argument->type != TDI_OUT)
            continue;
        int64_t items = 0;
        const sum went = evaluate(&argument->size, signature, values, &items);
        if (went == BY_ZERO)
            return tdi_call_fails(values->call, "ZeroDivisionError",
                                  "the size of out-buffer '%s' divides by zero", argument->name);
        if (went == FINE && items < 0)
            return tdi_call_fails(values->call, "ValueError",
                                  "out-buffer '%s' would have %lld items", argument->name,
                                  (long long)items);
        const size_t item_bytes = tdi_type_bytes(argument->item);
        if (went == TOO_LARGE || (uint64_t)items > left / item_bytes)
            return tdi_call_fails(values->call, "TooLarge",
                                  "out-buffer '%s' is too large: at most %zu bytes for all",
                                  argument->name, TDI_OUT_BYTES_MAX);
        const size_t bytes = (size_t)items * item_bytes;
        left -= bytes;
        td_status status = TD_OK;
        void *memory = tdi_values_keep(values, bytes, argument->name, &status);
        if (memory == NULL)
            return status;
        memset(memory, 0, bytes);
        values->all[i].slot.pointer = memory;
        values->all[i].count = (size_t)items;
    }
    return TD_OK;
}
