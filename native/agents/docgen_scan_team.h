/* docgen_scan_team.h - read the files that a walk found, on a few threads.
 *
 * The walk puts files into batches, all of one directory, and submits them; helpers read them,
 * and the walk collects. Whenever the walk would have to wait it reads a batch itself, so a
 * team of no helpers is the plain case and behaves as if there were none of this.
 *
 * Threads: every call belongs to the walk's thread. Helpers see only batches and the stop flag;
 *          they never touch the td_call. They start when there is enough to read.
 * Memory:  TDI_TEAM_BATCHES batches, each holding one descriptor at most.
 * Errors:  td_status; what is wrong with a file is in its batch.
 */
#ifndef TDI_DOCGEN_SCAN_TEAM_H
#define TDI_DOCGEN_SCAN_TEAM_H

#include <pthread.h>
#include <stdatomic.h>

#include "docgen_scan_file.h"
#include "docgen_scan_grow.h"

enum { TDI_BATCH_FILES = 32, TDI_TEAM_BATCHES = 16, TDI_TEAM_HELPERS_MAX = 3 };

typedef struct tdi_batch_file {
    size_t index;   /* the walk's, for when the batch comes back */
    size_t name_at; /* in `names`, NUL-terminated */
    tdi_scan_error error;
    tdi_file_facts facts;
} tdi_batch_file;

typedef struct tdi_batch tdi_batch;
struct tdi_batch {
    tdi_batch *next;
    int dir_fd; /* owned while the batch is submitted */
    size_t count;
    tdi_grow names;
    tdi_batch_file files[TDI_BATCH_FILES];
};

typedef struct tdi_team {
    pthread_mutex_t lock;
    pthread_cond_t queued_more, finished_more;
    tdi_batch *queued, **queued_end, *finished; /* under the lock */
    unsigned queued_count;                      /* under the lock */
    bool closing;                               /* under the lock */
    atomic_bool stopping;
    tdi_batch *spare;
    unsigned submitted;  /* batches out, so far and for good */
    unsigned unfinished; /* batches submitted and not collected */
    unsigned helpers, helpers_max;
    tdi_reading *own; /* the walk's */
    tdi_reading readings[TDI_TEAM_HELPERS_MAX];
    pthread_t threads[TDI_TEAM_HELPERS_MAX];
    tdi_batch batches[TDI_TEAM_BATCHES];
} tdi_team;

/* How many helpers a team takes: -1 (as many as there are other CPUs, up to the maximum), or a
 * number. For tests and benchmarks; set it before any scan. */
extern int tdi_team_helpers_wanted;

/* `own` is the walk's way to read; helpers read alike. Errors: TD_ERR_MEMORY. */
td_status tdi_team_create(tdi_reading *own, tdi_team **out);

/* An empty batch; NULL: none is left, so collect or help first. */
tdi_batch *tdi_team_spare(tdi_team *team);

/* Add a file. False: no memory. The batch is not full. */
bool tdi_batch_add(tdi_batch *batch, const char *name, size_t index);

/* Let the batch be read; it belongs to the team until it is collected. `dir_fd` is borrowed, unless
 * the caller `gives` it away and the answer is true: then it was taken over. */
bool tdi_team_submit(tdi_team *team, tdi_batch *batch, int dir_fd, bool gives);

/* Batches that have been read, linked by next; NULL: none now. Give each back. */
tdi_batch *tdi_team_collect(tdi_team *team);
void tdi_team_give_back(tdi_team *team, tdi_batch *batch);

/* Read one batch that waits, or wait a few milliseconds for one to be finished. */
void tdi_team_help(tdi_team *team);

/* Stop, join, free. NULL is allowed. */
void tdi_team_destroy(tdi_team *team);

#endif /* TDI_DOCGEN_SCAN_TEAM_H */
