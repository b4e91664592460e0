/* crc32c.c - eight bytes an instruction where the core has one, slicing by eight where not. */
#include "base/crc32c.h"

#include <string.h>

#include "base/cpu.h"

typedef uint32_t (*crc_fn)(uint32_t, const void *, size_t);

static uint32_t table[8][256];
static crc_fn chosen = tdi_crc32c_scalar;
static const char *chosen_name = "scalar";

static uint64_t load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

uint32_t tdi_crc32c_scalar(uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        const uint64_t word = load64(at) ^ crc;
        crc = 0;
        for (int i = 0; i < 8; i++)
            crc ^= table[7 - i][(word >> (8 * i)) & 0xFF];
    }
    for (; bytes > 0; bytes--, at++)
        crc = (crc >> 8) ^ table[0][(crc ^ *at) & 0xFF];
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_native(uint32_t crc, const void *data,
                                                             size_t bytes)
{
    const uint8_t *at = data;
    uint64_t state = ~crc;
    for (; bytes >= 8; bytes -= 8, at += 8)
        state = __builtin_ia32_crc32di(state, load64(at));
    for (; bytes > 0; bytes--, at++)
        state = __builtin_ia32_crc32qi((uint32_t)state, *at);
    return ~(uint32_t)state;
}
#elif defined(__aarch64__)
/* In assembly, because compilers disagree about how the intrinsics are asked for. */
static uint32_t crc_native(uint32_t crc, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    crc = ~crc;
    for (; bytes >= 8; bytes -= 8, at += 8)
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(load64(at)));
    for (; bytes > 0; bytes--, at++)
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*at));
    return ~crc;
}
#endif

/* Before main, so that no thread ever sees a half-made table or a changing pointer. */
__attribute__((constructor)) static void choose(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0);
        table[0][i] = crc;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 0xFF];
#if defined(__x86_64__)
    if (tdi_cpu_flags() & TDI_CPU_SSE42) {
        chosen = crc_native;
        chosen_name = "sse4.2";
    }
#elif defined(__aarch64__)
    if (tdi_cpu_flags() & TDI_CPU_CRC) {
        chosen = crc_native;
        chosen_name = "armv8";
    }
#endif
}

uint32_t tdi_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return chosen(crc, data, bytes);
}

const char *tdi_crc32c_path(void)
{
    return chosen_name;
}
