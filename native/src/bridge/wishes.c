#include "bridge/wishes.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "topology/affinity.h"

static volatile sig_atomic_t struck;

void tdi_note(tdi_notes *notes, const char *format, ...)
{
    char line[256];
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length <= 0 || strstr(notes->text, line) != NULL)
        return;
    const size_t bytes = strlen(line);
    if (bytes + 2 > sizeof notes->text - notes->bytes)
        return;
    if (notes->bytes > 0)
        notes->text[notes->bytes++] = '\n';
    memcpy(notes->text + notes->bytes, line, bytes + 1);
    notes->bytes += bytes;
}

int tdi_wish_cpus(const char *list, tdi_notes *notes)
{
    td_cpu_set cpus;
    int high = 0;
    if (td_cpu_set_parse(list, &cpus, &high) != TD_OK || td_cpu_set_total(&cpus) == 0)
        return 0;
    if (td_affinity_set(&cpus) != TD_OK)
        tdi_note(notes, "CPUs %.100s: asked for, refused: %s", list, strerror(errno));
    return 1;
}

/* Only system calls: a signal may come anywhere. The main thread alone takes signals, and the
 * request is about the thread that makes it. */
static void give_up(int number)
{
    (void)number;
    const int before = errno;
    const struct sched_param ordinary = {0};
    sched_setscheduler(0, SCHED_OTHER, &ordinary);
    struck = 1;
    errno = before;
}

void tdi_wish_realtime(tdi_notes *notes)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_RTTIME, &limit) == 0 && limit.rlim_cur > TDI_REALTIME_US_MAX) {
        limit.rlim_cur = TDI_REALTIME_US_MAX;
        if (setrlimit(RLIMIT_RTTIME, &limit) != 0) {
            tdi_note(notes, "real-time scheduling: not asked for, RLIMIT_RTTIME cannot guard it");
            return;
        }
    }
    const struct sigaction guard = {.sa_handler = give_up, .sa_flags = SA_RESTART};
    sigaction(SIGXCPU, &guard, NULL);
    const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_RR)};
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) != 0)
        tdi_note(notes, "real-time scheduling: asked for, refused: %s (RLIMIT_RTPRIO)",
                 strerror(errno));
}

void tdi_wish_realtime_look(tdi_notes *notes)
{
    if (struck)
        tdi_note(notes, "real-time scheduling: given up after %d ms without a pause",
                 TDI_REALTIME_US_MAX / 1000);
}

void tdi_wish_locked(const void *base, size_t bytes, tdi_notes *notes)
{
    if (mlock(base, bytes) != 0)
        tdi_note(notes, "locked memory: asked for, refused: %s (RLIMIT_MEMLOCK)", strerror(errno));
}
