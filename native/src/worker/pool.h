/* pool.h - a bounded pool of threads for jobs that may block.
 *
 * Four lanes, most urgent first; within a lane first come, first served. Finished jobs come
 * back in a list, and an eventfd tells the owner that there are some.
 *
 * Threads: submit, take and sweep belong to the owner's thread; a job runs on a pool thread.
 * Memory:  jobs are the owner's, linked by the pool while it has them; so are their masks.
 * Errors:  td_status.
 */
#ifndef TDI_POOL_H
#define TDI_POOL_H

#include <stdint.h>

#include "base/error.h"
#include "tandem/agent.h"

enum { TDI_POOL_LANES = 4, TDI_POOL_THREADS_MAX = 64 };

typedef struct tdi_job tdi_job;
struct tdi_job {
    void (*perform)(tdi_job *); /* on a pool thread */
    tdi_job *next;
    td_view cpus; /* where it wishes to be performed (worker/cpus.h); empty: anywhere */
    uint8_t lane;
};

typedef struct tdi_pool tdi_pool;

/* threads in [1, TDI_POOL_THREADS_MAX]; queued_max: jobs that may wait. */
td_status tdi_pool_create(uint32_t threads, uint32_t queued_max, tdi_pool **out, tdi_error *error);

/* TD_BUSY when queued_max jobs wait. */
td_status tdi_pool_submit(tdi_pool *pool, tdi_job *job);

/* The finished jobs, oldest first, linked by next; NULL: none. Also empties the eventfd. */
tdi_job *tdi_pool_take(tdi_pool *pool);

/* Take out of the queue, without performing them, the waiting jobs for which `wanted` says 1. */
tdi_job *tdi_pool_sweep(tdi_pool *pool, int (*wanted)(const tdi_job *, void *), void *context);

/* Jobs that wait for a thread. */
uint32_t tdi_pool_queued(tdi_pool *pool);

/* Readable when tdi_pool_take() has something. */
int tdi_pool_fd(const tdi_pool *pool);

/* Let running jobs end until deadline_ns (CLOCK_MONOTONIC); waiting ones are dropped from the
 * queue, so sweep first. TD_OK: all threads joined, pool freed. TD_TIMED_OUT: some still run,
 * the pool must not be freed; the process should end. NULL is fine. */
td_status tdi_pool_destroy(tdi_pool *pool, uint64_t deadline_ns);

#endif /* TDI_POOL_H */
