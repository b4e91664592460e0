/* obituary.c - what the callers of an agent that died are told: its signal, and a hint. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bridge/bridge.h"

static const char *hint_of(uint32_t signal_number)
{
    switch (signal_number) {
    case SIGSEGV:
        return "it touched memory that is not its own";
    case SIGBUS:
        return "it touched memory beyond a file's or mapping's end";
    case SIGABRT:
        return "it gave up by abort(): a failed assertion, a double free, or no memory";
    case SIGFPE:
        return "it divided by zero, or an integer overflowed";
    case SIGILL:
        return "it met an instruction this CPU does not know, or a trap";
    case SIGSYS:
        return "it made a system call that is not allowed";
    case SIGKILL:
        return "it did not stop within its grace, so its host ended it";
    default:
        return "its process was ended";
    }
}

void tdi_obituary(const tdi_session *session, td_writer *writer, uint8_t *memory, size_t bytes)
{
    char text[400];
    const uint32_t number =
        atomic_load_explicit(&session->up.control->last_signal, memory_order_relaxed);
    const char *name = number > 0 && number < 65 ? sigabbrev_np((int)number) : NULL;
    if (name != NULL)
        snprintf(text, sizeof text, "agent %s (pid %lld) was killed by SIG%s: %s", session->name,
                 (long long)session->pid, name, hint_of(number));
    else
        snprintf(text, sizeof text, "agent %s (pid %lld) died or left after taking it",
                 session->name, (long long)session->pid);
    td_writer_fixed(writer, memory, bytes);
    td_write_map(writer, 2);
    td_write_text(writer, "type");
    td_write_text(writer, name != NULL ? "AgentCrashed" : "AgentDied");
    td_write_text(writer, "message");
    td_write_text(writer, text);
}
