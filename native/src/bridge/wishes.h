/* wishes.h - what the bridge was asked to have and may be refused: CPUs, real time, locked memory,
 * huge pages. It does without, and keeps one line on each refusal for WELCOME, health and doctor.
 *
 * Threads: the main thread's.
 * Memory:  static, inside the bridge.
 * Errors:  none; a refusal is a note.
 */
#ifndef TDI_WISHES_H
#define TDI_WISHES_H

#include <stddef.h>

enum { TDI_NOTES_BYTES_MAX = 1000, TDI_REALTIME_US_MAX = 100000 };

/* Lines with '\n' between them; one that is there already, or finds no room, is left out. */
typedef struct tdi_notes {
    char text[TDI_NOTES_BYTES_MAX];
    size_t bytes;
} tdi_notes;

__attribute__((format(printf, 2, 3))) void tdi_note(tdi_notes *notes, const char *format, ...);

/* Bind the calling thread, and the threads it will make, to a list of CPUs such as "0-3,8".
 * Returns 0 where the text is no such list. */
int tdi_wish_cpus(const char *list, tdi_notes *notes);

/* Give the calling thread SCHED_RR, the lowest priority, under a guard: a thread that polls must
 * not own its CPU, so one that runs TDI_REALTIME_US_MAX microseconds without going to sleep once
 * gets SIGXCPU (RLIMIT_RTTIME) and goes back to ordinary scheduling for good. Round robin, so
 * that two such threads on one CPU take turns. Threads and processes that it makes are ordinary
 * ones: actions are anybody's code. */
void tdi_wish_realtime(tdi_notes *notes);

/* Note it if the guard has struck since. */
void tdi_wish_realtime_look(tdi_notes *notes);

/* Keep memory from being swapped out. Refused by RLIMIT_MEMLOCK, or for want of memory. */
void tdi_wish_locked(const void *base, size_t bytes, tdi_notes *notes);

#endif /* TDI_WISHES_H */
