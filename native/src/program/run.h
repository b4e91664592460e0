/* run.h - one run of a program, resumable: it does some steps, then gives the thread back.
 *
 * A step whose dependencies have ended is ready; ready steps start in the order in which they
 * became ready. What decides is the order and outcome rules of engine/steps.py for
 * on_failure="stop": dependents of a skipped or tolerated-failed step see null, a reference into
 * one without a default skips, a failure that is not tolerated lets what runs finish and starts
 * nothing more. layers/native/program_reference.py is the same in plain Python, and the oracle.
 *
 * A step whose action has no function here is remote: host.send() has it carried out elsewhere.
 * Where nobody knows whether it ran (UNKNOWN), or it did not (NOT_STARTED), the run stops, also
 * where the step may fail: what then is to be done is not decided in C.
 *
 * Threads: everything belongs to the owner's thread; td_program_perform() alone runs on a pool
 *          thread, and touches only its unit. host.cancelled and host.log may be called there.
 * Memory:  a run owns its body, and an arena of at most limits.bytes_max for outputs, payloads
 *          and failures; the completion's body is at most reply_bytes_max more.
 * Errors:  a run that exists always gives a completion body, also after TD_ERR_MEMORY inside
 *          (then its steps say so), except when the body itself finds no memory.
 */
#ifndef TDI_PROGRAM_RUN_H
#define TDI_PROGRAM_RUN_H

#include "program/program.h"
#include "worker/pool.h"

typedef struct td_program_run td_program_run;

enum { TDI_REMOTES_MAX = 512, TDI_PROGRAM_KEY_BYTES = 32 + 1 + 10 };

/* A call of an action that is not in this process. The run makes it, the host carries it. */
typedef struct td_program_remote td_program_remote;
struct td_program_remote {
    /* The host's, from send() to td_program_answered(). */
    td_program_remote *next, *previous, *wait_next, *wait_previous;
    void *carrier;
    bool waits;
    /* What to send. */
    td_program_run *run;
    const td_action *action;
    uint32_t action_id;
    uint32_t step, item;
    uint64_t deadline_ns; /* 0: none */
    uint8_t key_bytes;    /* 0: it has none */
    char key[TDI_PROGRAM_KEY_BYTES + 1];
    bool is_pair; /* the body is [payload, inputs] */
    /* The run's own. */
    uint8_t outcome;
    uint64_t ended_ns;
    td_view output, failure;
    size_t body_bytes;
    uint8_t body[];
};

/* What a run asks of whoever runs it; `context` is passed along. */
typedef struct td_program_host {
    void *context;
    bool (*cancelled)(void *context); /* any thread */
    /* Have td_program_perform(job) called on another thread, then td_program_finished() on this
     * one. NULL: blocking actions run here. Errors: TD_BUSY. */
    td_status (*submit)(void *context, tdi_job *job);
    /* Send it, now or when there is room; TD_OK: td_program_answered() follows, perhaps before this
     * returns. NULL: there is nobody to send to. Errors: any status, which is then the answer. */
    td_status (*send)(void *context, td_program_remote *remote);
    /* Every step from `mark` on has not started; called before the one below it does. */
    void (*started)(void *context, uint32_t mark, uint32_t steps_total);
    void (*log)(void *context, const td_action *action, int level, const char *message); /* any */
} td_program_host;

typedef struct td_program_limits {
    uint64_t bytes_max;       /* arena */
    uint64_t reply_bytes_max; /* completion body */
    uint64_t deadline_ns;     /* CLOCK_MONOTONIC, 0: none */
    uint32_t attempt;
    uint8_t lane;   /* of jobs */
    bool elsewhere; /* submit short actions, too: this thread is not on the CPUs wished for */
} td_program_limits;

enum { TDI_PROGRAM_REPLY_ROW_BYTES = 128 }; /* reserved of reply_bytes_max for each step */

typedef enum td_program_state {
    TD_PROGRAM_MORE,    /* the budget is used up: call td_program_step() again */
    TD_PROGRAM_WAITING, /* only blocking or remote actions are under way: after
                         * td_program_finished() or td_program_answered() */
    TD_PROGRAM_DONE     /* the body is complete */
} td_program_state;

/* Begin. Takes `body` (malloc) on TD_OK only, and holds the program.
 * Errors: TD_CORRUPT, TD_TOO_LARGE, TD_ERR_MEMORY, each with a sentence. */
td_status td_program_run_create(td_program *program, uint8_t *body, size_t bytes,
                                const td_program_host *host, const td_program_limits *limits,
                                td_program_run **out, tdi_error *error);

/* Do at most `steps` steps or items, or about `ns` nanoseconds of them, at least one. */
td_program_state td_program_step(td_program_run *run, uint32_t steps, uint64_t ns);

/* Perform a submitted job; any thread. */
void td_program_perform(tdi_job *job);
/* Is a job that waits no longer wanted? */
bool td_program_job_is_stale(const tdi_job *job);
/* A job came back, performed (or, `swept`, never begun). Returns its run. */
td_program_run *td_program_finished(tdi_job *job, bool swept);

/* A remote call has ended: with a body if `status` is TD_OK (its output), TD_FAILED or TD_UNKNOWN
 * ({"type", "message"}, or none). `owned` is the body's memory (malloc), taken, or NULL: it is
 * copied. The remote is the run's again; its effects follow at the next td_program_step(). */
void td_program_answered(td_program_remote *remote, td_status status, td_view body, uint8_t *owned);
/* What its host gave as context. */
void *td_program_host_context(const td_program_run *run);
/* Is this call all of its step, not one item of several? */
bool td_program_is_whole_step(const td_program_remote *remote);
/* Has it stopped, so that nothing that has not started will? */
bool td_program_stopped(const td_program_run *run);

/* Jobs and remote calls that have not come back; the run must not be destroyed before it is 0. */
uint32_t td_program_jobs(const td_program_run *run);

/* After TD_PROGRAM_DONE: give the body away (malloc). NULL: there was no memory for it. */
uint8_t *td_program_take_body(td_program_run *run, size_t *bytes);
/* When its first step began and what it took so far. */
void td_program_times(const td_program_run *run, uint64_t *started_ns, uint64_t *elapsed_ns);

void td_program_run_destroy(td_program_run *run); /* NULL is fine */

#endif /* TDI_PROGRAM_RUN_H */
