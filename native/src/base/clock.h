/* clock.h - monotonic nanoseconds and the pause of a spin loop.
 *
 * Threads: any.  Memory: none.  Errors: none; CLOCK_MONOTONIC cannot fail on Linux.
 */
#ifndef TDI_CLOCK_H
#define TDI_CLOCK_H

#include <sched.h>
#include <stdint.h>
#include <time.h>

#define TDI_NS_PER_MS UINT64_C(1000000)
#define TDI_NS_PER_S  UINT64_C(1000000000)
/* A spin keeps its core so long, which is all of a usual one. Who yields beside a busy process
 * waits for that one's whole slice, 3 ms, while who sleeps is woken at once; so only a spin that
 * was asked to be longer yields, for cores that have nothing else to do. */
#define TDI_SPIN_ALONE_NS UINT64_C(2000)

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

/* Spend about a quarter of a microsecond of a spin that began at `since_ns`: a short one keeps the
 * core, a longer one offers it to whoever is ready to run, who may be the one that is waited for.
 * With more spinning processes than cores nothing else moves. */
static inline void tdi_spin_once(uint64_t since_ns, uint64_t now_ns)
{
    if (now_ns - since_ns >= TDI_SPIN_ALONE_NS) {
        sched_yield();
        return;
    }
    for (int i = 0; i < 8; i++)
        tdi_relax();
}

#endif /* TDI_CLOCK_H */
