#include "docgen_scan_count.h"

#include <stdlib.h>

#include "base/cpu.h"
#include "base/test.h"

enum { MANY = 100000 };

static uint8_t data[MANY];

static void fill(unsigned one_in)
{
    uint32_t state = 2463534242u;
    for (size_t i = 0; i < MANY; i++) {
        state ^= state << 13, state ^= state >> 17, state ^= state << 5;
        data[i] = state % one_in == 0 ? '\n' : (uint8_t)(state >> 8);
    }
}

static void both_ways_agree_on_every_length_and_offset(void)
{
    fill(3);
    for (size_t from = 0; from < 33; from++)
        for (size_t bytes = 0; bytes < 300; bytes++)
            if (tdi_count_newlines(data + from, bytes) !=
                tdi_count_newlines_scalar(data + from, bytes)) {
                CHECK(!"the ways differ");
                return;
            }
}

/* A lane counts to 255; a block is 255 rounds of 32 bytes. */
static void no_lane_overflows(void)
{
    memset(data, '\n', MANY);
    static const size_t lengths[] = {255 * 32 - 1, 255 * 32, 255 * 32 + 1, 256 * 32, MANY};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        CHECK_EQ(tdi_count_newlines(data, lengths[i]), lengths[i]);
    memset(data, '\n' ^ 0x80, MANY);
    CHECK_EQ(tdi_count_newlines(data, MANY), 0);
}

/* Run as it is, and once under TANDEM_SIMD=scalar, which the build does. */
static void the_way_follows_the_flags(void)
{
    const int plain = getenv("TEST_EXPECTS_SCALAR") != NULL || tdi_cpu_flags_of_machine() == 0;
    CHECK_EQ(strcmp(tdi_count_path(), "scalar") == 0, plain);
    if (!plain)
        CHECK_EQ(strcmp(tdi_count_path(), "avx2") == 0,
                 (tdi_cpu_flags_of_machine() & TDI_CPU_AVX2) != 0);
}

int main(void)
{
    RUN(the_way_follows_the_flags);
    RUN(both_ways_agree_on_every_length_and_offset);
    RUN(no_lane_overflows);
    return TEST_RESULT;
}
