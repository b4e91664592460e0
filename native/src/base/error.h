/* error.h - the sentence that goes with a failing td_status.
 *
 * Threads: a tdi_error belongs to one thread.
 * Memory:  inside the structure; longer sentences are cut.
 * Errors:  none.
 */
#ifndef TDI_ERROR_H
#define TDI_ERROR_H

#include "tandem/status.h"

typedef struct tdi_error {
    char text[320];
} tdi_error;

/* Write the sentence (NULL error: nowhere) and return `status`, so that callers can
 * `return tdi_fail(error, TD_ERR_REFUSED, "...")`. Control characters become '?'. */
__attribute__((format(printf, 3, 4))) td_status tdi_fail(tdi_error *error, td_status status,
                                                         const char *format, ...);

/* "OK", "FAILED", …, "ERR_AGAIN", …; "?" for a number that is none of them. */
const char *tdi_status_name(td_status status);

/* Compiled in: the release ("0.1.0") and the hex digest of the C sources. */
const char *tdi_version(void);
const char *tdi_build_id(void);

#endif /* TDI_ERROR_H */
