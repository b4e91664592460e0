#include "worker/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "worker/cpus.h"

typedef struct job_list {
    tdi_job *first, *last;
} job_list;

struct tdi_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    job_list lanes[TDI_POOL_LANES];
    job_list done;
    uint32_t queued_max;
    _Atomic uint32_t queued; /* changed under the lock, read without it */
    _Atomic int finished;    /* 1: `done` is not empty, likewise */
    int stopping;
    int event_fd;
    uint32_t threads_total;
    pthread_t threads[TDI_POOL_THREADS_MAX];
};

static void append(job_list *list, tdi_job *job)
{
    job->next = NULL;
    if (list->last != NULL)
        list->last->next = job;
    else
        list->first = job;
    list->last = job;
}

/* Under the lock; NULL when all lanes are empty. */
static tdi_job *next_job(tdi_pool *pool)
{
    for (int lane = 0; lane < TDI_POOL_LANES; lane++) {
        job_list *list = &pool->lanes[lane];
        tdi_job *job = list->first;
        if (job == NULL)
            continue;
        list->first = job->next;
        if (list->first == NULL)
            list->last = NULL;
        pool->queued--;
        return job;
    }
    return NULL;
}

static void *work(void *context)
{
    tdi_pool *pool = context;
    tdi_cpus cpus;
    tdi_cpus_init(&cpus);
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        tdi_job *job = NULL;
        while (!pool->stopping && (job = next_job(pool)) == NULL)
            pthread_cond_wait(&pool->work, &pool->lock);
        if (job == NULL)
            break;
        pthread_mutex_unlock(&pool->lock);
        tdi_cpus_follow(&cpus, job->cpus);
        job->perform(job);
        pthread_mutex_lock(&pool->lock);
        append(&pool->done, job);
        /* release: pairs with the look in tdi_pool_take(). */
        atomic_store_explicit(&pool->finished, 1, memory_order_release);
        const uint64_t one = 1;
        if (write(pool->event_fd, &one, sizeof one) < 0)
            continue; /* EAGAIN at 2^64-2: readable long since */
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

td_status tdi_pool_create(uint32_t threads, uint32_t queued_max, tdi_pool **out, tdi_error *error)
{
    if (threads == 0 || threads > TDI_POOL_THREADS_MAX)
        return tdi_fail(error, TD_ERR_ARGUMENT, "workers=%u: must be 1 to %d", threads,
                        TDI_POOL_THREADS_MAX);
    tdi_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "no memory for the worker pool");
    pool->queued_max = queued_max;
    pool->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (pool->event_fd < 0) {
        free(pool);
        return tdi_fail(error, TD_ERR_SYSTEM, "eventfd: %s", strerror(errno));
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    sigset_t all, before;
    sigfillset(&all);
    /* Signals are the main thread's business; threads inherit the mask. */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failure = 0;
    while (failure == 0 && pool->threads_total < threads) {
        failure = pthread_create(&pool->threads[pool->threads_total], NULL, work, pool);
        if (failure == 0)
            pool->threads_total++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0) {
        tdi_pool_destroy(pool, UINT64_MAX);
        return tdi_fail(error, TD_ERR_SYSTEM, "worker thread: %s", strerror(failure));
    }
    *out = pool;
    return TD_OK;
}

td_status tdi_pool_submit(tdi_pool *pool, tdi_job *job)
{
    td_status status = TD_BUSY;
    pthread_mutex_lock(&pool->lock);
    if (pool->queued < pool->queued_max) {
        append(&pool->lanes[job->lane % TDI_POOL_LANES], job);
        pool->queued++;
        pthread_cond_signal(&pool->work);
        status = TD_OK;
    }
    pthread_mutex_unlock(&pool->lock);
    return status;
}

tdi_job *tdi_pool_take(tdi_pool *pool)
{
    uint64_t count;
    /* Most looks find nothing, and then cost no system call. acquire: pairs with work(). */
    if (!atomic_load_explicit(&pool->finished, memory_order_acquire))
        return NULL;
    /* First the event, then the list: the other way round an event could be lost. */
    const ssize_t got = read(pool->event_fd, &count, sizeof count);
    (void)got; /* EAGAIN: nothing finished, and the list says the same */
    pthread_mutex_lock(&pool->lock);
    tdi_job *first = pool->done.first;
    pool->done = (job_list){NULL, NULL};
    atomic_store_explicit(&pool->finished, 0, memory_order_relaxed);
    pthread_mutex_unlock(&pool->lock);
    return first;
}

tdi_job *tdi_pool_sweep(tdi_pool *pool, int (*wanted)(const tdi_job *, void *), void *context)
{
    job_list out = {NULL, NULL};
    pthread_mutex_lock(&pool->lock);
    for (int lane = 0; lane < TDI_POOL_LANES; lane++) {
        job_list kept = {NULL, NULL};
        for (tdi_job *job = pool->lanes[lane].first; job != NULL;) {
            tdi_job *next = job->next;
            const int take = wanted(job, context);
            append(take ? &out : &kept, job);
            pool->queued -= (uint32_t)take;
            job = next;
        }
        pool->lanes[lane] = kept;
    }
    pthread_mutex_unlock(&pool->lock);
    return out.first;
}

uint32_t tdi_pool_queued(tdi_pool *pool)
{
    return atomic_load_explicit(&pool->queued, memory_order_relaxed);
}

int tdi_pool_fd(const tdi_pool *pool)
{
    return pool->event_fd;
}

td_status tdi_pool_destroy(tdi_pool *pool, uint64_t deadline_ns)
{
    if (pool == NULL)
        return TD_OK;
    pthread_mutex_lock(&pool->lock);
    pool->stopping = 1;
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
    while (pool->threads_total > 0) {
        pthread_t last = pool->threads[pool->threads_total - 1];
        /* timedjoin waits on the wall clock, which can jump; short steps on ours cannot. */
        while (pthread_tryjoin_np(last, NULL) == EBUSY) {
            if (tdi_now_ns() >= deadline_ns)
                return TD_TIMED_OUT;
            const struct timespec pause = {.tv_nsec = (long)TDI_NS_PER_MS};
            nanosleep(&pause, NULL);
        }
        pool->threads_total--;
    }
    close(pool->event_fd);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
    return TD_OK;
}
