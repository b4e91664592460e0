/* crc32c.c - eight bytes an instruction where the core has one, slicing by eight where not. */
#include "base/crc32c.h"

#include <string.h>

#include "base/cpu.h"

typedef uint32_t (*crc_fn)(uint32_t, const void *, size_t);
typedef uint32_t (*copy_fn)(uint32_t, void *, const void *, size_t);

static uint32_t table[8][256];
static crc_fn chosen = tdi_crc32c_scalar;
static copy_fn chosen_copy = tdi_crc32c_copy_scalar;
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

uint32_t tdi_crc32c_copy_scalar(uint32_t crc, void *to, const void *from, size_t bytes)
{
    if (bytes > 0)
        memcpy(to, from, bytes);
    /* The copy as it is now, and `from` no more. */
    __asm__ __volatile__("" : : "r"(to), "r"(from) : "memory");
    return tdi_crc32c_scalar(crc, to, bytes);
}

#if defined(__x86_64__)
#define NATIVE      "sse4.2"
#define NATIVE_FLAG TDI_CPU_SSE42
#define NATIVE_CODE __attribute__((target("sse4.2")))
#define STEP(state, word, type)                                                      \
    (sizeof(type) == 8   ? (uint32_t)__builtin_ia32_crc32di(state, (uint64_t)(word)) \
     : sizeof(type) == 4 ? __builtin_ia32_crc32si(state, (uint32_t)(word))           \
     : sizeof(type) == 2 ? __builtin_ia32_crc32hi(state, (uint16_t)(word))           \
                         : __builtin_ia32_crc32qi(state, (uint8_t)(word)))
#elif defined(__aarch64__)
#define NATIVE      "armv8"
#define NATIVE_FLAG TDI_CPU_CRC
#define NATIVE_CODE
/* In assembly, because compilers disagree about how the intrinsics are asked for. */
static inline uint32_t step(uint32_t state, uint64_t word, size_t bytes)
{
    if (bytes == 8)
        __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(state) : "r"(word));
    else if (bytes == 4)
        __asm__(".arch_extension crc\n\tcrc32cw %w0, %w0, %w1" : "+r"(state) : "r"(word));
    else if (bytes == 2)
        __asm__(".arch_extension crc\n\tcrc32ch %w0, %w0, %w1" : "+r"(state) : "r"(word));
    else
        __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(state) : "r"(word));
    return state;
}
#define STEP(state, word, type) step(state, word, sizeof(type))
#endif

#if defined(NATIVE)
/* One word: fetched once, for the compiler is not told where it came from, into the sum and, when
 * `copying`, into the copy. */
#define TAKE(type, offset)                             \
    do {                                               \
        type word;                                     \
        memcpy(&word, at + (offset), sizeof word);     \
        __asm__("" : "+r"(word));                      \
        state = STEP(state, word, type);               \
        if (copying)                                   \
            memcpy(to + (offset), &word, sizeof word); \
    } while (0)
#define PASS(bytes_)        \
    do {                    \
        at += (bytes_);     \
        bytes -= (bytes_);  \
        if (copying)        \
            to += (bytes_); \
    } while (0)

/* Four words a turn: a frame is short, and what a core has in flight at once is counted in
 * instructions; the sums of header, body and next frame run beside each other in it. */
NATIVE_CODE static inline __attribute__((always_inline)) uint32_t
run_native(uint32_t crc, int copying, uint8_t *to, const uint8_t *at, size_t bytes)
{
    uint32_t state = ~crc;
    while (bytes >= 32) {
        TAKE(uint64_t, 0);
        TAKE(uint64_t, 8);
        TAKE(uint64_t, 16);
        TAKE(uint64_t, 24);
        PASS(32);
    }
    while (bytes >= 8) {
        TAKE(uint64_t, 0);
        PASS(8);
    }
    if (bytes & 4) {
        TAKE(uint32_t, 0);
        PASS(4);
    }
    if (bytes & 2) {
        TAKE(uint16_t, 0);
        PASS(2);
    }
    if (bytes & 1)
        TAKE(uint8_t, 0);
    return ~state;
}

NATIVE_CODE static uint32_t crc_native(uint32_t crc, const void *data, size_t bytes)
{
    return run_native(crc, 0, NULL, data, bytes);
}

NATIVE_CODE static uint32_t copy_native(uint32_t crc, void *to, const void *from, size_t bytes)
{
    return run_native(crc, 1, to, from, bytes);
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
#if defined(NATIVE)
    if (tdi_cpu_flags() & NATIVE_FLAG) {
        chosen = crc_native;
        chosen_copy = copy_native;
        chosen_name = NATIVE;
    }
#endif
}

uint32_t tdi_crc32c(uint32_t crc, const void *data, size_t bytes)
{
    return chosen(crc, data, bytes);
}

uint32_t tdi_crc32c_copy(uint32_t crc, void *to, const void *from, size_t bytes)
{
    return chosen_copy(crc, to, from, bytes);
}

const char *tdi_crc32c_path(void)
{
    return chosen_name;
}
