/* signature.c - a recursive descent over at most TDI_SIGNATURE_BYTES_MAX bytes; names in sizes may
 * stand before their argument, so they are resolved at the end. */
#include "foreign/signature.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define ARGUMENT_TYPES                                                                     \
    "expected an argument: bool, i32, i64, u32, u64, f32, f64, str, bytes, buf<T> or out " \
    "buf<T>[n]"

static const struct {
    const char *name;
    size_t bytes;
} types[] = {
    [TDI_VOID] = {"void", 0}, [TDI_BOOL] = {"bool", 0}, [TDI_I8] = {"i8", 1},
    [TDI_I16] = {"i16", 2},   [TDI_I32] = {"i32", 4},   [TDI_I64] = {"i64", 8},
    [TDI_U8] = {"u8", 1},     [TDI_U16] = {"u16", 2},   [TDI_U32] = {"u32", 4},
    [TDI_U64] = {"u64", 8},   [TDI_F32] = {"f32", 4},   [TDI_F64] = {"f64", 8},
    [TDI_STR] = {"str", 0},   [TDI_ERR] = {"err", 0},   [TDI_BYTES] = {"bytes", 0},
    [TDI_BUF] = {"buf", 0},   [TDI_OUT] = {"out", 0},
};
enum { TYPES_TOTAL = sizeof types / sizeof *types };

#define ONE_OF(type) (1u << (type))
static const unsigned numbers = ONE_OF(TDI_I32) | ONE_OF(TDI_I64) | ONE_OF(TDI_U32) |
                                ONE_OF(TDI_U64) | ONE_OF(TDI_F32) | ONE_OF(TDI_F64);
static const unsigned small = ONE_OF(TDI_I8) | ONE_OF(TDI_I16) | ONE_OF(TDI_U8) | ONE_OF(TDI_U16);
static const unsigned integers =
    ONE_OF(TDI_I32) | ONE_OF(TDI_I64) | ONE_OF(TDI_U32) | ONE_OF(TDI_U64);
static const unsigned with_length = ONE_OF(TDI_STR) | ONE_OF(TDI_BYTES) | ONE_OF(TDI_BUF);

typedef struct word {
    const char *at;
    size_t bytes;
} word;

/* A name in a size: what it means is known once all arguments are. */
typedef struct pending {
    word name;
    tdi_size_part *part;
} pending;

typedef struct parser {
    const char *start, *at, *end;
    tdi_signature *out;
    tdi_error *error;
    pending names[TDI_ARGUMENTS_MAX * TDI_SIZE_PARTS_MAX];
    size_t names_total, depth;
} parser;

static td_status refuse(const parser *in, const char *at, const char *what)
{
    return tdi_fail(in->error, TD_ERR_ARGUMENT, "%zu: %s", (size_t)(at - in->start), what);
}

static void skip_blanks(parser *in)
{
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\t'))
        in->at++;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool starts_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* Empty where none begins; does not move. */
static word next_word(parser *in)
{
    skip_blanks(in);
    const char *end = in->at;
    if (end < in->end && starts_word(*end))
        while (end < in->end && (starts_word(*end) || is_digit(*end)))
            end++;
    return (word){in->at, (size_t)(end - in->at)};
}

static bool is(word given, const char *text)
{
    return given.bytes == strlen(text) && memcmp(given.at, text, given.bytes) == 0;
}

/* Does the sign come next? Takes it. */
static bool take(parser *in, char sign)
{
    skip_blanks(in);
    if (in->at == in->end || *in->at != sign)
        return false;
    in->at++;
    return true;
}

static bool take_type(parser *in, unsigned allowed, tdi_type *out)
{
    const word given = next_word(in);
    for (unsigned i = 0; i < TYPES_TOTAL; i++)
        if (allowed & ONE_OF(i) && is(given, types[i].name)) {
            in->at += given.bytes;
            *out = (tdi_type)i;
            return true;
        }
    return false;
}

static td_status take_name(parser *in, tdi_argument *argument)
{
    const word name = next_word(in);
    if (name.bytes == 0)
        return refuse(in, in->at, "expected the argument's name");
    if (name.bytes > TDI_ARGUMENT_NAME_MAX)
        return refuse(in, name.at, "a name has at most 64 characters");
    if (is(name, "return"))
        return refuse(in, name.at, "'return' names the returned value, and no argument");
    for (const tdi_argument *other = in->out->arguments; other < argument; other++)
        if (is(name, other->name))
            return refuse(in, name.at, "the name stands twice");
    memcpy(argument->name, name.at, name.bytes);
    argument->name[name.bytes] = '\0';
    in->at += name.bytes;
    return TD_OK;
}

/* ---- sizes ---- */

static td_status add_part(parser *in, tdi_size *size, const char *at, tdi_size_part part)
{
    if (size->parts_total == TDI_SIZE_PARTS_MAX)
        return refuse(in, at, "a size has at most 32 parts");
    size->parts[size->parts_total++] = part;
    return TD_OK;
}

static td_status add_name(parser *in, tdi_size *size, word name, bool is_length)
{
    const tdi_size_part part = {.kind = is_length ? TDI_SIZE_LENGTH : TDI_SIZE_VALUE};
    const td_status status = add_part(in, size, name.at, part);
    if (status == TD_OK)
        in->names[in->names_total++] = (pending){name, &size->parts[size->parts_total - 1]};
    return status;
}

static td_status take_sum(parser *in, tdi_size *size);

static td_status take_factor(parser *in, tdi_size *size)
{
    skip_blanks(in);
    const char *start = in->at;
    if (in->at < in->end && is_digit(*in->at)) {
        int64_t number = 0;
        while (in->at < in->end && is_digit(*in->at))
            if (__builtin_mul_overflow(number, 10, &number) ||
                __builtin_add_overflow(number, *in->at++ - '0', &number))
                return refuse(in, start, "the number is too large");
        return add_part(in, size, start,
                        (tdi_size_part){.kind = TDI_SIZE_NUMBER, .number = number});
    }
    if (take(in, '(')) {
        if (++in->depth > TDI_SIZE_DEPTH_MAX)
            return refuse(in, start, "a size nests at most 8 deep");
        const td_status status = take_sum(in, size);
        if (status != TD_OK)
            return status;
        in->depth--;
        return take(in, ')') ? TD_OK : refuse(in, in->at, "expected ')'");
    }
    word name = next_word(in);
    if (name.bytes == 0)
        return refuse(in, start, "expected a number, a name, len(name) or '('");
    in->at += name.bytes;
    if (!is(name, "len") || !take(in, '('))
        return add_name(in, size, name, false);
    name = next_word(in);
    if (name.bytes == 0)
        return refuse(in, in->at, "expected the argument's name");
    in->at += name.bytes;
    const td_status status = add_name(in, size, name, true);
    if (status != TD_OK)
        return status;
    return take(in, ')') ? TD_OK : refuse(in, in->at, "expected ')'");
}

/* Operands joined by one of two signs, from left to right. */
static td_status take_joined(parser *in, tdi_size *size, char one, char other,
                             td_status (*operand)(parser *, tdi_size *))
{
    td_status status = operand(in, size);
    while (status == TD_OK) {
        skip_blanks(in);
        const char *at = in->at;
        const char sign = take(in, one) ? one : take(in, other) ? other : '\0';
        if (sign == '\0')
            break;
        status = operand(in, size);
        if (status == TD_OK)
            status = add_part(in, size, at,
                              (tdi_size_part){.kind = TDI_SIZE_OPERATOR, .operator = sign});
    }
    return status;
}

static td_status take_product(parser *in, tdi_size *size)
{
    return take_joined(in, size, '*', '/', take_factor);
}

static td_status take_sum(parser *in, tdi_size *size)
{
    return take_joined(in, size, '+', '-', take_product);
}

/* ---- arguments ---- */

static td_status take_buffer(parser *in, tdi_argument *argument)
{
    if (!take(in, '<'))
        return refuse(in, in->at, "expected '<'");
    if (!take_type(in, numbers | small, &argument->item))
        return refuse(in, in->at,
                      "expected a buffer's item: i8, i16, i32, i64, u8, u16, u32, u64, f32 or f64");
    if (!take(in, '>'))
        return refuse(in, in->at, "expected '>'");
    return TD_OK;
}

static td_status take_argument(parser *in, tdi_argument *argument)
{
    const unsigned allowed = numbers | ONE_OF(TDI_BOOL) | ONE_OF(TDI_STR) | ONE_OF(TDI_BYTES) |
                             ONE_OF(TDI_BUF) | ONE_OF(TDI_OUT);
    td_status status = TD_OK;
    if (!take_type(in, allowed, &argument->type))
        return refuse(in, in->at, ARGUMENT_TYPES);
    if (argument->type == TDI_OUT) {
        tdi_type kind;
        if (!take_type(in, ONE_OF(TDI_BUF), &kind))
            return refuse(in, in->at, "expected buf<T> after 'out'");
    }
    if (argument->type == TDI_OUT || argument->type == TDI_BUF)
        status = take_buffer(in, argument);
    if (status == TD_OK && argument->type == TDI_OUT) {
        if (!take(in, '['))
            return refuse(in, in->at, "expected '['");
        in->depth = 0;
        status = take_sum(in, &argument->size);
        if (status == TD_OK && !take(in, ']'))
            status = refuse(in, in->at, "expected an operator or ']'");
    }
    return status == TD_OK ? take_name(in, argument) : status;
}

static td_status resolve_names(parser *in)
{
    for (size_t i = 0; i < in->names_total; i++) {
        const pending *asked = &in->names[i];
        const bool is_length = asked->part->kind == TDI_SIZE_LENGTH;
        const unsigned wanted = is_length ? with_length : integers;
        size_t found = 0;
        while (found < in->out->arguments_total &&
               !(is(asked->name, in->out->arguments[found].name) &&
                 wanted & ONE_OF(in->out->arguments[found].type)))
            found++;
        if (found == in->out->arguments_total)
            return refuse(in, asked->name.at,
                          is_length ? "len() needs the name of a str, bytes or buf argument"
                                    : "a size needs the names of integer arguments");
        asked->part->argument = found;
    }
    return TD_OK;
}

td_status tdi_signature_parse(const char *text, size_t bytes, tdi_signature *out, tdi_error *error)
{
    parser in = {.start = text, .at = text, .end = text + bytes, .out = out, .error = error};
    memset(out, 0, sizeof *out);
    if (bytes > TDI_SIGNATURE_BYTES_MAX)
        return refuse(&in, text, "a signature has at most 1024 characters");
    if (!take_type(
            &in, numbers | ONE_OF(TDI_VOID) | ONE_OF(TDI_BOOL) | ONE_OF(TDI_STR) | ONE_OF(TDI_ERR),
            &out->returned))
        return refuse(
            &in, in.at,
            "expected what it returns: void, bool, i32, i64, u32, u64, f32, f64, str or err");
    if (!take(&in, '('))
        return refuse(&in, in.at, "expected '('");
    bool closed = take(&in, ')');
    while (!closed) {
        skip_blanks(&in);
        if (out->arguments_total == TDI_ARGUMENTS_MAX)
            return refuse(&in, in.at, "a signature has at most 16 arguments");
        const td_status status = take_argument(&in, &out->arguments[out->arguments_total]);
        if (status != TD_OK)
            return status;
        out->arguments_total++;
        closed = take(&in, ')');
        if (!closed && !take(&in, ','))
            return refuse(&in, in.at, "expected ',' or ')'");
    }
    skip_blanks(&in);
    if (in.at != in.end)
        return refuse(&in, in.at, "something follows the ')'");
    return resolve_names(&in);
}

/* ---- printing ---- */

typedef struct printer {
    char *text;
    size_t at, bytes;
} printer;

static void print(printer *out, const char *text)
{
    const int more = snprintf(out->text + out->at, out->bytes - out->at, "%s", text);
    out->at += (size_t)more < out->bytes - out->at ? (size_t)more : out->bytes - out->at - 1;
}

static void print_size(printer *out, const tdi_signature *signature, const tdi_size *size)
{
    for (size_t i = 0; i < size->parts_total; i++) {
        const tdi_size_part *part = &size->parts[i];
        char words[TDI_ARGUMENT_NAME_MAX + 16];
        if (part->kind == TDI_SIZE_NUMBER)
            snprintf(words, sizeof words, "%lld", (long long)part->number);
        else if (part->kind == TDI_SIZE_OPERATOR)
            snprintf(words, sizeof words, "%c", part->operator);
        else
            snprintf(words, sizeof words, part->kind == TDI_SIZE_LENGTH ? "len(%s)" : "%s",
                     signature->arguments[part->argument].name);
        print(out, i > 0 ? " " : "");
        print(out, words);
    }
}

size_t tdi_signature_print(const tdi_signature *signature, char *text, size_t bytes)
{
    printer out = {text, 0, bytes};
    print(&out, tdi_type_name(signature->returned));
    print(&out, "(");
    for (size_t i = 0; i < signature->arguments_total; i++) {
        const tdi_argument *argument = &signature->arguments[i];
        print(&out, i > 0 ? ", " : "");
        if (argument->type == TDI_OUT || argument->type == TDI_BUF) {
            print(&out, argument->type == TDI_OUT ? "out buf<" : "buf<");
            print(&out, tdi_type_name(argument->item));
            print(&out, ">");
        } else {
            print(&out, tdi_type_name(argument->type));
        }
        if (argument->type == TDI_OUT) {
            print(&out, "[");
            print_size(&out, signature, &argument->size);
            print(&out, "]");
        }
        print(&out, " ");
        print(&out, argument->name);
    }
    print(&out, ")");
    return out.at;
}

const char *tdi_type_name(tdi_type type)
{
    return (unsigned)type < TYPES_TOTAL ? types[type].name : "?";
}

size_t tdi_type_bytes(tdi_type type)
{
    return (unsigned)type < TYPES_TOTAL ? types[type].bytes : 0;
}
