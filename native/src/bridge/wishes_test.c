/* Each test that changes the process runs in a child of its own, without privileges. */
#include "bridge/wishes.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/test.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

enum { NOBODY = 65534, PAGE = 4096 };

static void give_up_privileges(void)
{
    const struct rlimit none = {0, 0};
    setrlimit(RLIMIT_MEMLOCK, &none);
    setrlimit(RLIMIT_RTPRIO, &none);
    if (getuid() == 0 && (setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        _exit(99);
}

static int in_a_child(int (*claim)(void))
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0)
        _exit(claim());
    int status = -1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int realtime_refused(void)
{
    tdi_notes notes = {.bytes = 0};
    const int before = sched_getscheduler(0);
    give_up_privileges();
    tdi_wish_realtime(&notes);
    if (sched_getscheduler(0) != before)
        return 1;
    return strncmp(notes.text, "real-time scheduling: asked for, refused: ", 42) == 0 ? 0 : 2;
}

#ifndef SANITIZED
static int lock_refused(void)
{
    tdi_notes notes = {.bytes = 0};
    static uint8_t memory[4 * PAGE];
    give_up_privileges();
    tdi_wish_locked(memory, sizeof memory, &notes);
    return strncmp(notes.text, "locked memory: asked for, refused: ", 35) == 0 ? 0 : 2;
}

#endif

/* 77: this machine gives no real time, so there is nothing to guard. */
static int realtime_that_never_pauses(void)
{
    tdi_notes notes = {.bytes = 0};
    tdi_wish_realtime(&notes);
    if (notes.bytes > 0)
        return 77;
    if ((sched_getscheduler(0) & ~SCHED_RESET_ON_FORK) != SCHED_RR)
        return 1;
    if (in_a_child(sched_yield) == 0 && fork() == 0)
        _exit(sched_getscheduler(0) == SCHED_OTHER ? 0 : 1);
    int status = -1;
    wait(&status);
    if (status != 0)
        return 2; /* a child inherited it */
    const uint64_t until_ns = tdi_now_ns() + 20 * TDI_NS_PER_S;
    while (sched_getscheduler(0) != SCHED_OTHER)
        if (tdi_now_ns() > until_ns)
            return 3;
    tdi_wish_realtime_look(&notes);
    return strstr(notes.text, "given up after 100 ms") != NULL ? 0 : 4;
}

static void without_a_privilege_there_is_a_line_and_no_change(void)
{
    CHECK_EQ(in_a_child(realtime_refused), 0);
#ifndef SANITIZED /* sanitizers take mlock() away, and say that it was fine */
    CHECK_EQ(in_a_child(lock_refused), 0);
#endif
}

static void a_realtime_thread_that_never_sleeps_is_an_ordinary_one_soon(void)
{
    const int said = in_a_child(realtime_that_never_pauses);
    if (said == 77)
        printf("skipped: no real-time scheduling here\n");
    else
        CHECK_EQ(said, 0);
}

static void a_list_of_cpus_is_obeyed_or_noted(void)
{
    tdi_notes notes = {.bytes = 0};
    cpu_set_t before, after;
    sched_getaffinity(0, sizeof before, &before);
    CHECK(!tdi_wish_cpus("", &notes) && !tdi_wish_cpus("a", &notes) &&
          !tdi_wish_cpus("3-1", &notes));
    CHECK_EQ(notes.bytes, 0);
    CHECK(tdi_wish_cpus("4095", &notes)); /* a list, of a CPU that is not here */
    CHECK(strncmp(notes.text, "CPUs 4095: asked for, refused: ", 31) == 0);
    sched_getaffinity(0, sizeof after, &after);
    CHECK(CPU_EQUAL(&before, &after));
}

static void notes_are_told_once_and_bounded(void)
{
    tdi_notes notes = {.bytes = 0};
    tdi_note(&notes, "one %d", 1);
    tdi_note(&notes, "two");
    tdi_note(&notes, "one %d", 1);
    CHECK(strcmp(notes.text, "one 1\ntwo") == 0);
    for (int i = 0; i < 200; i++)
        tdi_note(&notes, "line number %d of a great many", i);
    CHECK(notes.bytes < TDI_NOTES_BYTES_MAX && strlen(notes.text) == notes.bytes);
}

int main(void)
{
    RUN(without_a_privilege_there_is_a_line_and_no_change);
    RUN(a_realtime_thread_that_never_sleeps_is_an_ordinary_one_soon);
    RUN(a_list_of_cpus_is_obeyed_or_noted);
    RUN(notes_are_told_once_and_bounded);
    return TEST_RESULT;
}
