/* docgen_scan_count.c - blocks with a counter of one byte a lane, of which 255 rounds cannot
 * overflow one; the compiler makes vectors of the inner loop, as wide as the function may use. */
#include "docgen_scan_count.h"

#include "base/cpu.h"

typedef uint64_t (*count_fn)(const uint8_t *, size_t);

static count_fn chosen = tdi_count_newlines_scalar;
static const char *chosen_name = "scalar";

uint64_t tdi_count_newlines_scalar(const uint8_t *data, size_t bytes)
{
    uint64_t count = 0;
    for (; bytes > 0; bytes--)
        count += *data++ == '\n';
    return count;
}

__attribute__((always_inline)) static inline uint64_t count_in_lanes(const uint8_t *data,
                                                                     size_t bytes)
{
    enum { LANES = 32, ROUNDS = 255 };
    uint64_t count = 0;
    while (bytes >= LANES) {
        uint8_t lanes[LANES] = {0};
        size_t rounds = bytes / LANES < ROUNDS ? bytes / LANES : ROUNDS;
        bytes -= rounds * LANES;
        for (; rounds > 0; rounds--, data += LANES)
            for (size_t i = 0; i < LANES; i++)
                lanes[i] = (uint8_t)(lanes[i] + (data[i] == '\n'));
        for (size_t i = 0; i < LANES; i++)
            count += lanes[i];
    }
    return count + tdi_count_newlines_scalar(data, bytes);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t count_avx2(const uint8_t *data, size_t bytes)
{
    return count_in_lanes(data, bytes);
}
#endif

/* Vectors that every processor of the kind has: SSE2, NEON. */
static uint64_t count_vector(const uint8_t *data, size_t bytes)
{
    return count_in_lanes(data, bytes);
}

__attribute__((constructor)) static void choose(void)
{
    const uint32_t flags = tdi_cpu_flags();
    if (flags == 0)
        return; /* told to be plain, or a processor that nothing is known of */
    chosen = count_vector;
    chosen_name = "vector";
#if defined(__x86_64__)
    if (flags & TDI_CPU_AVX2) {
        chosen = count_avx2;
        chosen_name = "avx2";
    }
#endif
}

uint64_t tdi_count_newlines(const uint8_t *data, size_t bytes)
{
    return chosen(data, bytes);
}

const char *tdi_count_path(void)
{
    return chosen_name;
}
