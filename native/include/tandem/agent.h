/* agent.h - write an action in C.
 *
 * An action is `td_status fn(td_call *)`. Everything it may do goes through the inline
 * accessors below, over a size-versioned table, so a plug-in has no undefined td_ symbol.
 *
 * Threads: an action runs on one thread; its td_call belongs to that thread until it returns.
 * Memory:  views stay valid until the action returns; what it writes is copied by the host.
 * Errors:  return TD_OK after writing exactly one MessagePack value; or the result of
 *          td_fail(); or TD_CANCELLED once td_cancelled() has said so (the host reports a passed
 *          deadline as TD_TIMED_OUT); or the status of an output that became too large. A host
 *          turns any other combination into TD_FAILED with the type `InternalError`.
 */
#ifndef TANDEM_AGENT_H
#define TANDEM_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/message.h"
#include "tandem/status.h"

#define TD_AGENT_ABI 1u

typedef struct td_call td_call;

/* A borrowed run of bytes; data is NULL when absent (bytes = 0). */
typedef struct td_view {
    const uint8_t *data;
    size_t bytes;
} td_view;

/* What a host offers an action. `size` is sizeof of the host's table; new members are
 * appended, and an accessor for a later member first checks that `size` covers it. */
typedef struct td_call_ops {
    uint32_t size;
    td_view (*payload)(td_call *);   /* strict MessagePack value */
    td_view (*inputs)(td_call *);    /* map step id -> output, or empty */
    td_writer *(*output)(td_call *); /* bounded by reply_bytes_max; see message.h */
    td_status (*fail)(td_call *, const char *type, const char *message);
    bool (*cancelled)(td_call *); /* cancel word or deadline; cheap, poll often */
    void (*progress)(td_call *, uint64_t done, uint64_t total);
    /* UTF-8, <= 4 KiB, 64 lines a second; levels as Python's: 10 debug, 20 info, 30 warning,
     * 40 error, 50 critical. What is over the rate is dropped, and counted. */
    void (*log)(td_call *, int level, const char *message);
    uint64_t (*deadline_ns)(td_call *);    /* CLOCK_MONOTONIC, 0 = none */
    uint32_t (*attempt)(td_call *);        /* from 1 */
    td_view (*idempotency_key)(td_call *); /* <= 64 bytes, or empty */
} td_call_ops;

struct td_call {
    const td_call_ops *ops;
    /* host-private members follow in the host's own structure */
};

typedef td_status (*td_action_fn)(td_call *);

enum { TD_EFFECTS_NONE = 0, TD_EFFECTS_IDEMPOTENT = 1, TD_EFFECTS_EXTERNAL = 2 };
enum { TD_RUNS_SHORT = 0, TD_RUNS_BLOCKING = 1 };

/* One action an agent offers. Strings are static and UTF-8. */
typedef struct td_action {
    const char *agent;
    const char *name;
    td_action_fn run;
    uint8_t effects; /* TD_EFFECTS_* */
    uint8_t runs;    /* TD_RUNS_*: short ones stay on the thread that popped the frame, unless the
                      * call wishes for CPUs that it is not on */
    uint8_t deterministic; /* 1: same payload, same output, always */
    uint8_t reserved;
    const char *version; /* changes when the meaning changes; "1" */
} td_action;

/* What a plug-in exports under the name `td_plugin`; all actions are of one agent:
 *     TD_PLUGIN(actions);
 * at file scope, after `static const td_action actions[] = {...}`. */
struct td_plugin {
    uint32_t abi;  /* TD_AGENT_ABI */
    uint32_t size; /* sizeof(struct td_plugin) */
    const td_action *actions;
    size_t actions_total;
};
#define TD_PLUGIN(table)                                                                 \
    __attribute__((visibility("default"))) extern const struct td_plugin td_plugin;      \
    const struct td_plugin td_plugin = {TD_AGENT_ABI, sizeof(struct td_plugin), (table), \
                                        sizeof(table) / sizeof *(table)}

static inline td_view td_payload(td_call *call)
{
    return call->ops->payload(call);
}
static inline td_view td_inputs(td_call *call)
{
    return call->ops->inputs(call);
}
static inline td_writer *td_output(td_call *call)
{
    return call->ops->output(call);
}
static inline td_status td_fail(td_call *call, const char *type, const char *message)
{
    return call->ops->fail(call, type, message);
}
static inline bool td_cancelled(td_call *call)
{
    return call->ops->cancelled(call);
}
static inline void td_progress(td_call *call, uint64_t done, uint64_t total)
{
    call->ops->progress(call, done, total);
}
static inline void td_log(td_call *call, int level, const char *message)
{
    call->ops->log(call, level, message);
}
static inline uint64_t td_deadline_ns(td_call *call)
{
    return call->ops->deadline_ns(call);
}
static inline uint32_t td_attempt(td_call *call)
{
    return call->ops->attempt(call);
}
static inline td_view td_idempotency_key(td_call *call)
{
    return call->ops->idempotency_key(call);
}

#endif /* TANDEM_AGENT_H */
