/* clock.h - monotonic nanoseconds and the pause of a spin loop.
 *
 * Threads: any.  Memory: none.  Errors: none; CLOCK_MONOTONIC cannot fail on Linux.
 */
#ifndef TDI_CLOCK_H
#define TDI_CLOCK_H

#include <stdint.h>
#include <time.h>

#define TDI_NS_PER_MS UINT64_C(1000000)
#define TDI_NS_PER_S  UINT64_C(1000000000)

static inline uint64_t tdi_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * TDI_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* Tell the core that this is a spin loop. */
static inline void tdi_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

#endif /* TDI_CLOCK_H */
