/* foreign_fuzz.c - any strict payload for functions that touch all they are given: the call fails
 * with a type and a message, or gives one strict value. The first byte chooses the signature. */
#include <stdio.h>
#include <stdlib.h>

#include "foreign/call_stub.h"
#include "foreign/foreign.h"
#include "strict/strict.h"

#define MUST(claim)                                                               \
    do {                                                                          \
        if (!(claim)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
            abort();                                                              \
        }                                                                         \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static uint64_t touch(const void *data, size_t bytes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum = sum * 31 + ((const uint8_t *)data)[i];
    return sum;
}

static uint64_t take_bytes(const uint8_t *b, size_t bytes, const char *s)
{
    return touch(b, bytes) + touch(s, strlen(s));
}

static double take_doubles(const double *x, size_t n, const int16_t *y, size_t m)
{
    MUST((uintptr_t)x % sizeof *x == 0 && (uintptr_t)y % sizeof *y == 0);
    return (double)(touch(x, n * sizeof *x) + touch(y, m * sizeof *y));
}

static int fill(const float *x, size_t n, int32_t k, uint64_t *out, uint8_t *more)
{
    MUST(n < SIZE_MAX / 16 && k >= -1);
    memset(out, 1, (n + 1) * sizeof *out);
    memset(more, 2, (size_t)(k + 1));
    return (int)touch(x, n * sizeof *x) & 3;
}

static const char *numbers(bool a, int32_t b, int64_t c, uint32_t d, uint64_t e, float f, double g)
{
    static char text[256];
    snprintf(text, sizeof text, "%d %d %lld %u %llu %g %g", a, b, (long long)c, d,
             (unsigned long long)e, (double)f, g);
    return text;
}

static const struct {
    const char *signature;
    void (*function)(void);
} rows[] = {
    {"u64(bytes b, str s)", (void (*)(void))take_bytes},
    {"f64(buf<f64> x, buf<i16> y)", (void (*)(void))take_doubles},
    {"err(buf<f32> x, i32 k, out buf<u64>[len(x)+1] out, out buf<u8>[k+1] more)",
     (void (*)(void))fill},
    {"str(bool a, i32 b, i64 c, u32 d, u64 e, f32 f, f64 g)", (void (*)(void))numbers},
};
enum { ROWS = sizeof rows / sizeof *rows };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static tdi_foreign *bound[ROWS];
    if (bytes < 2 || td_strict_check(data + 1, bytes - 1) != TD_OK)
        return 0;
    const size_t row = data[0] % ROWS;
    if (bound[row] == NULL)
        MUST(tdi_foreign_bind(rows[row].signature, rows[row].function, &bound[row], NULL) == TD_OK);
    stub call;
    stub_init(&call, data + 1, bytes - 1);
    const td_status status = tdi_foreign_call(bound[row], &call.call);
    const td_writer *out = &call.output.writer;
    if (status == TD_OK)
        MUST(td_strict_check(out->start, td_writer_bytes(out)) == TD_OK);
    else
        MUST(status == TD_FAILED && call.type[0] != '\0' && call.message[0] != '\0');
    stub_fini(&call);
    return 0;
}
