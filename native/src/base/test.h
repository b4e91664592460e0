/* test.h - the few words our C tests are written with.
 *
 * A test file lists its tests in main() with RUN(name) and ends with `return TEST_RESULT;`.
 * CHECK reports and goes on; REQUIRE reports and leaves the test, where going on makes no sense.
 */
#ifndef TDI_TEST_H
#define TDI_TEST_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int tdi_test_failures;

#define CHECK(claim)                                                              \
    do {                                                                          \
        if (!(claim)) {                                                           \
            tdi_test_failures++;                                                  \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
        }                                                                         \
    } while (0)

#define REQUIRE(claim)                                                            \
    do {                                                                          \
        if (!(claim)) {                                                           \
            tdi_test_failures++;                                                  \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
            return;                                                               \
        }                                                                         \
    } while (0)

#define CHECK_EQ(left, right)                                                                  \
    do {                                                                                       \
        const int64_t left_ = (int64_t)(left), right_ = (int64_t)(right);                      \
        if (left_ != right_) {                                                                 \
            tdi_test_failures++;                                                               \
            fprintf(stderr, "%s:%d: %s is %" PRId64 ", expected %s = %" PRId64 "\n", __FILE__, \
                    __LINE__, #left, left_, #right, right_);                                   \
        }                                                                                      \
    } while (0)

#define RUN(test)                                                                     \
    do {                                                                              \
        const int before_ = tdi_test_failures;                                        \
        test();                                                                       \
        printf("%s %s\n", tdi_test_failures == before_ ? "ok    " : "FAILED", #test); \
        fflush(stdout);                                                               \
    } while (0)

#define TEST_RESULT (tdi_test_failures == 0 ? 0 : 1)

#endif /* TDI_TEST_H */
