#include "base/crc32c.h"

#include "base/test.h"

/* RFC 3720 B.4 gives these five. */
static void the_published_vectors_hold(void)
{
    uint8_t zeros[32] = {0}, ones[32], up[32], down[32];
    memset(ones, 0xFF, sizeof ones);
    for (int i = 0; i < 32; i++) {
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    CHECK_EQ(tdi_crc32c(0, zeros, 32), 0x8A9136AAu);
    CHECK_EQ(tdi_crc32c(0, ones, 32), 0x62A8AB43u);
    CHECK_EQ(tdi_crc32c(0, up, 32), 0x46DD794Eu);
    CHECK_EQ(tdi_crc32c(0, down, 32), 0x113FDB5Cu);
    CHECK_EQ(tdi_crc32c(0, "123456789", 9), 0xE3069283u);
    CHECK_EQ(tdi_crc32c(0, "", 0), 0);
}

static void both_paths_agree_on_every_length_and_offset(void)
{
    uint8_t data[300];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 151 + 7);
    for (size_t from = 0; from < 9; from++)
        for (size_t bytes = 0; bytes + from <= sizeof data; bytes++)
            if (tdi_crc32c(0, data + from, bytes) != tdi_crc32c_scalar(0, data + from, bytes)) {
                CHECK(!"paths differ");
                return;
            }
}

static void a_copy_is_exact_and_has_the_sum_of_what_was_copied(void)
{
    uint8_t data[300], to[304], plain[304];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 151 + 7);
    for (size_t from = 0; from < 9; from++)
        for (size_t bytes = 0; bytes + from <= sizeof data; bytes++) {
            memset(to, 0xEE, sizeof to);
            memset(plain, 0xEE, sizeof plain);
            const uint32_t sum = tdi_crc32c_scalar(5, data + from, bytes);
            if (tdi_crc32c_copy(5, to, data + from, bytes) != sum ||
                tdi_crc32c_copy_scalar(5, plain, data + from, bytes) != sum ||
                memcmp(to, data + from, bytes) != 0 || to[bytes] != 0xEE ||
                memcmp(to, plain, sizeof to) != 0) {
                CHECK(!"a copy, or its sum, is wrong");
                return;
            }
        }
}

static void parts_give_the_whole(void)
{
    const char *text = "the quick brown fox jumps over the lazy dog";
    for (size_t cut = 0; cut <= strlen(text); cut++)
        CHECK_EQ(tdi_crc32c(tdi_crc32c(0, text, cut), text + cut, strlen(text) - cut),
                 tdi_crc32c(0, text, strlen(text)));
}

int main(void)
{
    RUN(the_published_vectors_hold);
    RUN(both_paths_agree_on_every_length_and_offset);
    RUN(a_copy_is_exact_and_has_the_sum_of_what_was_copied);
    RUN(parts_give_the_whole);
    printf("path: %s\n", tdi_crc32c_path());
    return TEST_RESULT;
}
