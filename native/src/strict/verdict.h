/* verdict.h - how one call of an action ends: what its return value means, and its failure as
 * bytes. The same for a call by itself, for a step of a program, and in an agent's process.
 *
 * Threads: any; no shared state.
 * Memory:  none taken.
 */
#ifndef TDI_VERDICT_H
#define TDI_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/message.h"
#include "tandem/status.h"

enum {
    TDI_FAILURE_TYPE_MAX = 128,  /* bytes of a type's name; more is cut */
    TDI_FAILURE_TEXT_MAX = 1023, /* bytes of a message; more is cut at a character's start */
    TDI_FAILURE_BYTES_MAX = 1400 /* room that every failure fits into */
};

typedef struct {
    td_status status;
    const char *type; /* static; of a failure that the action did not name itself, else NULL */
    const char *what; /* static; the same for people, without the action's name */
} tdi_verdict;

/* What a call ends with. `wished` is what the caller of the action wants at this moment, TD_OK,
 * TD_CANCELLED or TD_TIMED_OUT; it counts only if the action `returned` TD_CANCELLED. `failed`:
 * it called td_fail(). Of the output, up to `bytes_max` bytes, only the last check looks at the
 * bytes: it must be exactly one value, strict to its end where `strict` is said. */
tdi_verdict tdi_judge(td_status returned, td_status wished, bool failed, const td_writer *output,
                      uint64_t bytes_max, bool strict);

/* Write a failure into `room` bytes, TDI_FAILURE_BYTES_MAX or more: {"type", "message"}, or the
 * two strings one after the other where `bare`. NULL or an empty type becomes "Error"; what is not
 * UTF-8 becomes '?'. Returns the bytes written. */
uint32_t tdi_failure_encode(uint8_t *into, size_t room, bool bare, const char *type,
                            const char *message);

/* The same for an action that returned what `verdict` says; its message begins with the names. */
uint32_t tdi_verdict_encode(uint8_t *into, size_t room, bool bare, tdi_verdict verdict,
                            const char *agent, const char *action);

#endif /* TDI_VERDICT_H */
