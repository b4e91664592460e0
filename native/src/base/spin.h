/* spin.h - a wait for another process that spins for a while before it sleeps.
 *
 * At first it keeps its core: whoever is waited for usually runs on another one. Then it yields
 * between two looks, for with more spinning processes than cores the one that is waited for may
 * need this very core. Beside a process that computes, though, who yields waits for that one's
 * whole slice, some milliseconds, while who sleeps is woken at once. So a yield that took long is
 * remembered: for a while a wait keeps its core for longer, which is all of a usual one, and only
 * one that was asked to be longer still yields. The while begins short, for a process that just
 * passes by, and doubles when the next yield after it takes long again.
 *
 * Threads: a tdi_spin belongs to one thread.  Memory: the caller's.  Errors: none.
 */
#ifndef TDI_SPIN_H
#define TDI_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#define TDI_SPIN_KEEP_NS  UINT64_C(500)   /* a switch between processes takes about it */
#define TDI_SPIN_ALONE_NS UINT64_C(2000)  /* the whole of a wait that must not yield */
#define TDI_SPIN_LONG_NS  UINT64_C(50000) /* no waiting process of ours keeps a core so long */
#define TDI_SPIN_FIRST_NS UINT64_C(20000000)
#define TDI_SPIN_LAST_NS  UINT64_C(5120000000)

/* All zero to begin with. */
typedef struct tdi_spin {
    uint64_t since_ns;       /* of the wait; 0: none is on */
    uint64_t alone_until_ns; /* a yield took long, and is remembered until then */
    uint64_t remembered_ns;  /* for so long */
} tdi_spin;

typedef enum tdi_spin_way { TDI_SPIN_SLEEP, TDI_SPIN_PAUSE, TDI_SPIN_YIELD } tdi_spin_way;

/* What to do now in a wait that may spin for `spin_ns`. TDI_SPIN_SLEEP ends it. */
tdi_spin_way tdi_spin_next(tdi_spin *spin, uint64_t now_ns, uint64_t spin_ns);

/* A yield took from `before_ns` to `after_ns`. */
void tdi_spin_yielded(tdi_spin *spin, uint64_t before_ns, uint64_t after_ns);

/* Spend about a quarter of a microsecond so, or false: sleep now. */
bool tdi_spin_once(tdi_spin *spin, uint64_t now_ns, uint64_t spin_ns);

/* What was waited for has come. */
static inline void tdi_spin_end(tdi_spin *spin)
{
    spin->since_ns = 0;
}

#endif /* TDI_SPIN_H */
