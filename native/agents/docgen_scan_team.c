#define _GNU_SOURCE
#include "docgen_scan_team.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#define WAIT_NS       2000000 /* between two looks at the cancel flag while helpers read */
#define STACK_BYTES   (256u * 1024u)
#define WAKE_BATCHES  4 /* to wake a helper for each small batch costs more than reading it */
#define START_BATCHES 2 /* a smaller tree is read before a thread has started */

int tdi_team_helpers_wanted = -1;

static unsigned helpers_max(void)
{
    int wanted = tdi_team_helpers_wanted;
    if (wanted < 0) {
        cpu_set_t cpus;
        wanted = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) - 1 : 0;
    }
    return wanted < TDI_TEAM_HELPERS_MAX ? (unsigned)wanted : TDI_TEAM_HELPERS_MAX;
}

static bool helper_must_stop(void *owner, size_t bytes)
{
    (void)bytes;
    tdi_team *const team = owner;
    /* relaxed: it carries nothing, and is looked at again soon. */
    return atomic_load_explicit(&team->stopping, memory_order_relaxed);
}

td_status tdi_team_create(tdi_reading *own, tdi_team **out)
{
    tdi_team *const team = calloc(1, sizeof *team);
    if (team == NULL)
        return TD_ERR_MEMORY;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&team->lock, NULL);
    pthread_cond_init(&team->queued_more, NULL);
    pthread_cond_init(&team->finished_more, &clock);
    pthread_condattr_destroy(&clock);
    team->queued_end = &team->queued;
    team->own = own;
    team->helpers_max = helpers_max();
    for (size_t i = 0; i < TDI_TEAM_BATCHES; i++) {
        team->batches[i].dir_fd = -1;
        tdi_team_give_back(team, &team->batches[i]);
    }
    *out = team;
    return TD_OK;
}

tdi_batch *tdi_team_spare(tdi_team *team)
{
    tdi_batch *const batch = team->spare;
    if (batch == NULL)
        return NULL;
    team->spare = batch->next;
    batch->next = NULL;
    batch->count = 0;
    batch->names.bytes = 0;
    return batch;
}

void tdi_team_give_back(tdi_team *team, tdi_batch *batch)
{
    batch->next = team->spare;
    team->spare = batch;
}

bool tdi_batch_add(tdi_batch *batch, const char *name, size_t index)
{
    const size_t name_at = batch->names.bytes;
    if (!tdi_grow_add(&batch->names, name, strlen(name) + 1))
        return false;
    batch->files[batch->count++] = (tdi_batch_file){.index = index, .name_at = name_at};
    return true;
}

static void read_batch(tdi_reading *reading, tdi_batch *batch, int dir_fd)
{
    for (size_t i = 0; i < batch->count; i++) {
        tdi_batch_file *const file = &batch->files[i];
        const char *const name = (const char *)batch->names.data + file->name_at;
        file->error = tdi_file_read(reading, dir_fd, name, &file->facts);
        if (file->error == TDI_SCAN_STOPPED)
            break;
    }
}

static void finish(tdi_team *team, tdi_batch *batch)
{
    if (batch->dir_fd >= 0)
        close(batch->dir_fd);
    batch->dir_fd = -1;
    pthread_mutex_lock(&team->lock);
    batch->next = team->finished;
    team->finished = batch;
    pthread_cond_signal(&team->finished_more);
    pthread_mutex_unlock(&team->lock);
}

/* Under the lock: the batch that has waited longest, or NULL. */
static tdi_batch *pop_queued(tdi_team *team)
{
    tdi_batch *const batch = team->queued;
    if (batch == NULL)
        return NULL;
    team->queued = batch->next;
    team->queued_count--;
    if (team->queued == NULL)
        team->queued_end = &team->queued;
    return batch;
}

static void *help_until_closed(void *argument)
{
    tdi_reading *const reading = argument;
    tdi_team *const team = reading->owner;
    pthread_mutex_lock(&team->lock);
    while (true) {
        while (team->queued == NULL && !team->closing)
            pthread_cond_wait(&team->queued_more, &team->lock);
        if (team->closing)
            break;
        tdi_batch *const batch = pop_queued(team);
        pthread_mutex_unlock(&team->lock);
        read_batch(reading, batch, batch->dir_fd);
        finish(team, batch);
        pthread_mutex_lock(&team->lock);
    }
    pthread_mutex_unlock(&team->lock);
    return NULL;
}

/* Start one more helper; without one the work is done all the same, by the walk. */
static void start_helper(tdi_team *team)
{
    tdi_reading *const reading = &team->readings[team->helpers];
    *reading = *team->own;
    reading->stop = helper_must_stop;
    reading->owner = team;
    if (tdi_reading_init(reading) != TD_OK) {
        tdi_reading_fini(reading);
        team->helpers_max = team->helpers;
        return;
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigset_t all, before;
    sigfillset(&all); /* signals belong to the host's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error =
        pthread_create(&team->threads[team->helpers], &attributes, help_until_closed, reading);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error == 0) {
        team->helpers++;
    } else {
        tdi_reading_fini(reading);
        team->helpers_max = team->helpers;
    }
}

bool tdi_team_submit(tdi_team *team, tdi_batch *batch, int dir_fd, bool gives)
{
    team->unfinished++;
    if (++team->submitted > START_BATCHES && team->helpers < team->helpers_max)
        start_helper(team);
    /* The walk may close the directory before the batch is read: a descriptor of its own. */
    batch->dir_fd = team->helpers == 0 ? -1 : gives ? dir_fd : fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    if (batch->dir_fd < 0) {
        read_batch(team->own, batch, dir_fd);
        finish(team, batch);
        return false;
    }
    pthread_mutex_lock(&team->lock);
    batch->next = NULL;
    *team->queued_end = batch;
    team->queued_end = &batch->next;
    if (++team->queued_count >= WAKE_BATCHES)
        pthread_cond_signal(&team->queued_more);
    pthread_mutex_unlock(&team->lock);
    return gives;
}

tdi_batch *tdi_team_collect(tdi_team *team)
{
    pthread_mutex_lock(&team->lock);
    tdi_batch *const all = team->finished;
    team->finished = NULL;
    pthread_mutex_unlock(&team->lock);
    for (const tdi_batch *batch = all; batch != NULL; batch = batch->next)
        team->unfinished--;
    return all;
}

void tdi_team_help(tdi_team *team)
{
    pthread_mutex_lock(&team->lock);
    tdi_batch *const batch = pop_queued(team);
    if (team->queued != NULL)
        pthread_cond_signal(&team->queued_more); /* the walk is about to be busy itself */
    if (batch == NULL && team->finished == NULL) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += WAIT_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&team->finished_more, &team->lock, &until);
    }
    pthread_mutex_unlock(&team->lock);
    if (batch != NULL) {
        read_batch(team->own, batch, batch->dir_fd);
        finish(team, batch);
    }
}

void tdi_team_destroy(tdi_team *team)
{
    if (team == NULL)
        return;
    atomic_store_explicit(&team->stopping, true, memory_order_relaxed);
    pthread_mutex_lock(&team->lock);
    team->closing = true;
    pthread_cond_broadcast(&team->queued_more);
    pthread_mutex_unlock(&team->lock);
    for (unsigned i = 0; i < team->helpers; i++) {
        pthread_join(team->threads[i], NULL);
        tdi_reading_fini(&team->readings[i]);
    }
    for (size_t i = 0; i < TDI_TEAM_BATCHES; i++) {
        if (team->batches[i].dir_fd >= 0)
            close(team->batches[i].dir_fd);
        tdi_grow_fini(&team->batches[i].names);
    }
    pthread_cond_destroy(&team->finished_more);
    pthread_cond_destroy(&team->queued_more);
    pthread_mutex_destroy(&team->lock);
    free(team);
}
