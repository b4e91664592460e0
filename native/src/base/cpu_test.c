#include "base/cpu.h"

#include <stdlib.h>

#include "base/crc32c.h"
#include "base/test.h"

static char text[TDI_CPU_TEXT_BYTES_MAX];

static void scalar_takes_every_flag_away(void)
{
    setenv("TANDEM_SIMD", "scalar", 1);
    CHECK_EQ(tdi_cpu_flags(), 0);
    CHECK(strcmp(tdi_cpu_flags_text(tdi_cpu_flags(), text), "scalar") == 0);
}

static void any_other_word_takes_none_away(void)
{
    setenv("TANDEM_SIMD", "auto", 1);
    CHECK_EQ(tdi_cpu_flags(), tdi_cpu_flags_of_machine());
    unsetenv("TANDEM_SIMD");
    CHECK_EQ(tdi_cpu_flags(), tdi_cpu_flags_of_machine());
}

static void every_flag_has_a_name(void)
{
    const char *all = "sse4.2 avx2 sha crc neon";
    CHECK(strcmp(tdi_cpu_flags_text(31, text), all) == 0);
    CHECK(strcmp(tdi_cpu_flags_text(TDI_CPU_AVX2, text), "avx2") == 0);
}

/* Run once as it is and once under TANDEM_SIMD=scalar, which the build does. */
static void the_checksum_follows_the_flags(void)
{
    const char *given = getenv("TEST_EXPECTS_SCALAR");
    if (given != NULL)
        CHECK(strcmp(tdi_crc32c_path(), "scalar") == 0);
    else
        CHECK_EQ(strcmp(tdi_crc32c_path(), "scalar") == 0,
                 (tdi_cpu_flags_of_machine() & (TDI_CPU_SSE42 | TDI_CPU_CRC)) == 0);
    CHECK_EQ(tdi_crc32c(0, "123456789", 9), 0xE3069283u);
}

int main(void)
{
    RUN(the_checksum_follows_the_flags);
    RUN(scalar_takes_every_flag_away);
    RUN(any_other_word_takes_none_away);
    RUN(every_flag_has_a_name);
    return TEST_RESULT;
}
