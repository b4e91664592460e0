/* host.c - what a host process adds to an agent: which signal killed it, and an end to actions
 * that obey neither cancel nor deadline. */
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agentlib/agent_state.h"
#include "base/clock.h"

#define LOOK_NS (20 * TDI_NS_PER_MS)

static _Atomic uint32_t *_Atomic last_signal; /* of the process, as signals are */
static uint8_t other_stack[64 * 1024];

static void on_crash(int number)
{
    _Atomic uint32_t *word = atomic_load_explicit(&last_signal, memory_order_relaxed);
    if (word != NULL)
        atomic_store_explicit(word, (uint32_t)number, memory_order_relaxed);
    raise(number); /* SA_RESETHAND: the default action, once we return */
}

/* Every LOOK_NS: has the running call been asked to stop for longer than its grace? */
static void *watch(void *context)
{
    td_agent *agent = context;
    uint64_t asked_ns = 0, asked_id = 0;
    for (;;) {
        const struct timespec step = {.tv_nsec = (long)LOOK_NS};
        nanosleep(&step, NULL);
        const uint64_t id = atomic_load_explicit(&agent->watched_id, memory_order_acquire);
        const uint64_t now_ns = tdi_now_ns();
        if (id == 0 || id != asked_id)
            asked_ns = 0;
        asked_id = id;
        if (id == 0)
            continue;
        const uint64_t deadline_ns =
            atomic_load_explicit(&agent->watched_deadline_ns, memory_order_relaxed);
        const bool asked = atomic_load_explicit(&agent->down.cancel[tdi_call_slot(id)],
                                                memory_order_acquire) == tdi_call_generation(id) ||
                           (deadline_ns != 0 && now_ns >= deadline_ns);
        if (!asked)
            continue;
        if (asked_ns == 0)
            asked_ns = now_ns;
        if (now_ns - asked_ns >= agent->options.grace_ms * TDI_NS_PER_MS) {
            atomic_store_explicit(&agent->up.control->last_signal, SIGKILL, memory_order_relaxed);
            kill(getpid(), SIGKILL);
        }
    }
    return NULL;
}

td_status agent_host_prepare(td_agent *agent)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS};
    atomic_store_explicit(&last_signal, &agent->up.control->last_signal, memory_order_relaxed);
    /* A stack that overflowed cannot carry its own handler. */
    const stack_t stack = {.ss_sp = other_stack, .ss_size = sizeof other_stack};
    if (sigaltstack(&stack, NULL) != 0)
        return tdi_fail(&agent->error, TD_ERR_SYSTEM, "sigaltstack failed");
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const struct sigaction action = {.sa_handler = on_crash,
                                         .sa_flags = SA_ONSTACK | SA_RESETHAND};
        sigaction(numbers[i], &action, NULL);
    }
    if (agent->options.grace_ms > 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, watch, agent) != 0)
            return tdi_fail(&agent->error, TD_ERR_SYSTEM, "no thread to watch the calls");
        pthread_detach(thread); /* ends with the process; a host serves one session */
    }
    return TD_OK;
}
