/* foreign_test.c - payloads through real functions, held against what they must give. */
#include "foreign/foreign.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/test.h"
#include "foreign/call_stub.h"
#include "strict/strict.h"

/* ---- the functions ---- */

static double mixed(int32_t a, double b, uint64_t c, float d, const char *s, const uint8_t *data,
                    size_t bytes, bool e, int64_t f, double g, uint32_t h, double i, float j)
{
    return a + 2 * b + 3 * (double)c + 4 * d + 5 * (double)strlen(s) + 6 * (double)bytes + data[0] +
           7 * e + 8 * (double)f + 9 * g + 10.0 * h + 11 * i + 12 * j;
}

static int32_t same_i32(int32_t x)
{
    return x;
}

static uint64_t same_u64(uint64_t x)
{
    return x;
}

static float same_f32(float x)
{
    return x;
}

static bool not_it(bool b)
{
    return !b;
}

static const char *same_str(const char *s)
{
    return s;
}

static const char *no_str(void)
{
    return NULL;
}

static const char *bad_str(void)
{
    return "\xff";
}

static uint32_t seen; /* by what returns nothing */

static void nothing(void)
{
    seen++;
}

static bool is_aligned(const double *x, size_t n)
{
    return n == 3 && (uintptr_t)x % sizeof *x == 0 && x[0] == 1.5 && x[1] == -2 && x[2] == 4;
}

static int halves(const int16_t *x, size_t n, float *out, uint8_t *odd)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (float)x[i] / 2;
        odd[i] = x[i] & 1;
    }
    return n > 2 ? ERANGE : 0;
}

/* ---- what they are called with ---- */

typedef void (*function)(void);

typedef struct asked {
    td_heap_writer writer;
    tdi_foreign *foreign;
    stub stub;
    td_status status;
} asked;

static void begin(asked *test, const char *signature, function function, size_t pairs)
{
    tdi_error error = {""};
    memset(test, 0, sizeof *test);
    if (tdi_foreign_bind(signature, function, &test->foreign, &error) != TD_OK)
        fprintf(stderr, "%s: %s\n", signature, error.text);
    td_heap_writer_init(&test->writer, 1 << 20);
    td_write_map(&test->writer.writer, pairs);
}

static td_writer *key(asked *test, const char *name)
{
    td_write_text(&test->writer.writer, name);
    return &test->writer.writer;
}

/* The payload lies in memory of exactly its length, `shift` bytes off an aligned address. */
static void perform_shifted(asked *test, size_t shift)
{
    const size_t bytes = td_writer_bytes(&test->writer.writer);
    CHECK(td_strict_check(test->writer.writer.start, bytes) == TD_OK);
    uint8_t *memory = malloc(bytes + shift);
    memcpy(memory + shift, test->writer.writer.start, bytes);
    stub_init(&test->stub, memory + shift, bytes);
    test->status = tdi_foreign_call(test->foreign, &test->stub.call);
    const td_writer *out = &test->stub.output.writer;
    if (test->status == TD_OK)
        CHECK(td_strict_check(out->start, td_writer_bytes(out)) == TD_OK);
    free(memory);
}

static void end(asked *test)
{
    td_heap_writer_fini(&test->writer);
    stub_fini(&test->stub);
    tdi_foreign_free(test->foreign);
}

static td_reader output_of(const asked *test)
{
    const td_writer *out = &test->stub.output.writer;
    return td_reader_of(out->start, td_writer_bytes(out));
}

static bool failed_with(const asked *test, const char *type, const char *message)
{
    const bool as_told = test->status == TD_FAILED && strcmp(test->stub.type, type) == 0 &&
                         strcmp(test->stub.message, message) == 0;
    if (!as_told)
        fprintf(stderr, "status %d, %s: %s\n", test->status, test->stub.type, test->stub.message);
    return as_told;
}

/* ---- the tests ---- */

static void arguments_of_all_kinds_arrive_in_their_places(void)
{
    asked test;
    begin(&test,
          "f64(i32 a, f64 b, u64 c, f32 d, str s, bytes data, bool e, i64 f, f64 g, u32 h, f64 i, "
          "f32 j)",
          (function)mixed, 12);
    td_write_float(key(&test, "j"), 1.5); /* the payload's order is its own */
    td_write_int(key(&test, "a"), -3);
    td_write_float(key(&test, "b"), 2.25);
    td_write_uint(key(&test, "c"), 1ull << 40);
    td_write_float(key(&test, "d"), 0.5);
    td_write_text(key(&test, "s"), "abc");
    td_write_bin(key(&test, "data"), "\x09\x01", 2);
    td_write_bool(key(&test, "e"), true);
    td_write_int(key(&test, "f"), -(1ll << 33));
    td_write_float(key(&test, "g"), -7.125);
    td_write_uint(key(&test, "h"), 1u << 31);
    td_write_int(key(&test, "i"), 1000000);
    perform_shifted(&test, 1);
    td_reader out = output_of(&test);
    double real = 0;
    CHECK(test.status == TD_OK && td_read_float(&out, &real) == TD_OK);
    CHECK(real == -3 + 4.5 + 3.0 * (double)(1ull << 40) + 2 + 15 + 12 + 9 + 7 -
                      8.0 * (double)(1ll << 33) + 9 * -7.125 + 10.0 * (double)(1u << 31) + 11e6 +
                      18);
    end(&test);
}

static void integers_are_kept_to_their_range(void)
{
    static const struct {
        int64_t given;
        bool fits;
    } rows[] = {{INT32_MIN, true},
                {INT32_MAX, true},
                {-1, true},
                {0, true},
                {(int64_t)INT32_MIN - 1, false},
                {(int64_t)INT32_MAX + 1, false},
                {INT64_MIN, false},
                {INT64_MAX, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        asked test;
        begin(&test, "i32(i32 x)", (function)same_i32, 1);
        td_write_int(key(&test, "x"), rows[i].given);
        perform_shifted(&test, i);
        int64_t came = 0;
        td_reader out = output_of(&test);
        if (rows[i].fits)
            CHECK(test.status == TD_OK && td_read_int(&out, &came) == TD_OK &&
                  came == rows[i].given);
        else
            CHECK(test.status == TD_FAILED && strcmp(test.stub.type, "OverflowError") == 0);
        end(&test);
    }
    asked test;
    begin(&test, "u64(u64 x)", (function)same_u64, 1);
    td_write_uint(key(&test, "x"), UINT64_MAX);
    perform_shifted(&test, 0);
    uint64_t whole = 0;
    td_reader out = output_of(&test);
    CHECK(td_read_uint(&out, &whole) == TD_OK && whole == UINT64_MAX);
    end(&test);
}

static void f32_is_rounded_to_the_nearest_or_refused(void)
{
    static const double edges[] = {0.1,  -0.0, 16777217.0, 0x1.fffffep127, 0x1.fffffefffffffp127,
                                   1e-46};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        asked test;
        begin(&test, "f32(f32 x)", (function)same_f32, 1);
        td_write_float(key(&test, "x"), edges[i]);
        perform_shifted(&test, 0);
        double came = 1;
        td_reader out = output_of(&test);
        CHECK(td_read_float(&out, &came) == TD_OK && came == (double)(float)edges[i] &&
              signbit(came) == signbit(edges[i]));
        end(&test);
    }
    asked test;
    begin(&test, "f32(f32 x)", (function)same_f32, 1);
    td_write_float(key(&test, "x"), 0x1.ffffffp127);
    perform_shifted(&test, 0);
    CHECK(test.status == TD_FAILED && strcmp(test.stub.type, "OverflowError") == 0);
    end(&test);
}

static void text_ends_with_a_zero_and_holds_none(void)
{
    asked test;
    begin(&test, "str(str s)", (function)same_str, 1);
    td_write_str(key(&test, "s"), "\xC3\xA9!", 3);
    perform_shifted(&test, 0);
    const char *text = NULL;
    size_t bytes = 0;
    td_reader out = output_of(&test);
    CHECK(td_read_str(&out, &text, &bytes) == TD_OK && bytes == 3 &&
          memcmp(text, "\xC3\xA9!", 3) == 0);
    end(&test);
    begin(&test, "str(str s)", (function)same_str, 1);
    td_write_str(key(&test, "s"), "a\0b", 3);
    perform_shifted(&test, 0);
    CHECK(failed_with(&test, "ValueError", "argument 's': embedded null character"));
    end(&test);
    begin(&test, "str()", (function)no_str, 0);
    perform_shifted(&test, 0);
    CHECK(test.status == TD_OK && test.stub.output.writer.start[0] == 0xC0);
    end(&test);
    begin(&test, "str()", (function)bad_str, 0);
    perform_shifted(&test, 0);
    CHECK(failed_with(&test, "UnicodeDecodeError", "the returned text is not UTF-8"));
    end(&test);
}

static void nothing_and_truth(void)
{
    asked test;
    const uint32_t before = seen;
    begin(&test, "void()", (function)nothing, 0);
    perform_shifted(&test, 0);
    CHECK(test.status == TD_OK && seen == before + 1 && test.stub.output.writer.start[0] == 0xC0);
    end(&test);
    begin(&test, "bool(bool b)", (function)not_it, 1);
    td_write_bool(key(&test, "b"), false);
    perform_shifted(&test, 0);
    CHECK(test.status == TD_OK && test.stub.output.writer.start[0] == 0xC3);
    end(&test);
}

static const double three[] = {1.5, -2, 4};

static void write_doubles(td_writer *out, const char *dtype, uint64_t items, size_t bytes)
{
    td_write_map(out, 1);
    td_write_text(out, "$buffer");
    td_write_map(out, 3);
    td_write_text(out, "data");
    td_write_bin(out, three, bytes);
    td_write_text(out, "dtype");
    td_write_text(out, dtype);
    td_write_text(out, "shape");
    td_write_array(out, 2);
    td_write_uint(out, items);
    td_write_uint(out, 1);
}

static void buffers_are_aligned_wherever_they_lie(void)
{
    for (size_t shift = 0; shift < 16; shift++) {
        asked test;
        begin(&test, "bool(buf<f64> x)", (function)is_aligned, 1);
        write_doubles(key(&test, "x"), "f64", 3, sizeof three);
        perform_shifted(&test, shift);
        CHECK(test.status == TD_OK && test.stub.output.writer.start[0] == 0xC3);
        end(&test);
    }
}

static void buffers_that_are_not_what_they_say_are_refused(void)
{
    static const struct {
        const char *dtype;
        uint64_t items;
        size_t bytes;
        const char *type, *message;
    } rows[] = {
        {"f32", 3, 24, "TypeError", "argument 'x': a buffer of f32, expected f64"},
        {"f64", 2, 24, "ValueError",
         "argument 'x': $buffer: its data has not the length of its shape"},
        {"f64", 3, 23, "ValueError",
         "argument 'x': $buffer: its data has not the length of its shape"},
        {"f64", UINT64_MAX / 8 + 1, 0, "ValueError",
         "argument 'x': $buffer: its data has not the length of its shape"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        asked test;
        begin(&test, "bool(buf<f64> x)", (function)is_aligned, 1);
        write_doubles(key(&test, "x"), rows[i].dtype, rows[i].items, rows[i].bytes);
        perform_shifted(&test, 0);
        CHECK(failed_with(&test, rows[i].type, rows[i].message));
        end(&test);
    }
}

static void out_buffers_have_the_size_that_was_said(void)
{
    asked test;
    const char *signature =
        "err(buf<i16> x, out buf<f32>[len(x)*2/2] halves, out buf<u8>[len(x)] odd)";
    begin(&test, signature, (function)halves, 1);
    td_write_array(key(&test, "x"), 2);
    td_write_int(&test.writer.writer, -3);
    td_write_int(&test.writer.writer, 4);
    perform_shifted(&test, 0);
    td_reader out = output_of(&test), at;
    size_t items = 0;
    double first = 0, second = 0;
    uint64_t odd = 0;
    int64_t code = -1;
    CHECK(td_map_find(out, "halves", &at) == TD_OK && td_read_array(&at, &items) == TD_OK);
    CHECK(items == 2 && td_read_float(&at, &first) == TD_OK &&
          td_read_float(&at, &second) == TD_OK && first == -1.5 && second == 2);
    CHECK(td_map_find(out, "odd", &at) == TD_OK && td_read_array(&at, &items) == TD_OK);
    CHECK(td_read_uint(&at, &odd) == TD_OK && odd == 1);
    CHECK(td_map_find(out, "return", &at) == TD_OK && td_read_int(&at, &code) == TD_OK &&
          code == 0);
    end(&test);

    begin(&test, signature, (function)halves, 1);
    td_write_array(key(&test, "x"), 3);
    for (int i = 0; i < 3; i++)
        td_write_int(&test.writer.writer, i);
    perform_shifted(&test, 0);
    CHECK(failed_with(&test, "ErrorCode", "it returned 34"));
    end(&test);
}

static void what_is_missing_or_too_much_is_named(void)
{
    asked test;
    begin(&test, "i32(i32 x)", (function)same_i32, 0);
    perform_shifted(&test, 0);
    CHECK(failed_with(&test, "TypeError", "missing argument 'x' (i32)"));
    end(&test);
    begin(&test, "i32(i32 x)", (function)same_i32, 2);
    td_write_int(key(&test, "x"), 1);
    td_write_int(key(&test, "y"), 1);
    perform_shifted(&test, 0);
    CHECK(failed_with(&test, "TypeError", "unexpected argument 'y'"));
    end(&test);
    begin(&test, "i32(i32 x)", (function)same_i32, 1);
    td_write_text(key(&test, "x"), "1");
    perform_shifted(&test, 0);
    CHECK(failed_with(&test, "TypeError", "argument 'x': str, expected i32"));
    end(&test);
}

static void a_signature_that_cannot_be_read_binds_nothing(void)
{
    tdi_foreign *foreign = NULL;
    tdi_error error = {""};
    CHECK(tdi_foreign_bind("f64(f64)", (function)nothing, &foreign, &error) == TD_ERR_ARGUMENT);
    CHECK(foreign == NULL && strcmp(error.text, "7: expected the argument's name") == 0);
}

int main(void)
{
    RUN(arguments_of_all_kinds_arrive_in_their_places);
    RUN(integers_are_kept_to_their_range);
    RUN(f32_is_rounded_to_the_nearest_or_refused);
    RUN(text_ends_with_a_zero_and_holds_none);
    RUN(nothing_and_truth);
    RUN(buffers_are_aligned_wherever_they_lie);
    RUN(buffers_that_are_not_what_they_say_are_refused);
    RUN(out_buffers_have_the_size_that_was_said);
    RUN(what_is_missing_or_too_much_is_named);
    RUN(a_signature_that_cannot_be_read_binds_nothing);
    return TEST_RESULT;
}
