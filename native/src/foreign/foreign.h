/* foreign.h - call a plain C function that knows nothing of us, arguments by name from a payload.
 *
 * The payload is a map whose keys are the signature's names, out-buffers left out. What is
 * missing, too much or of another type fails the attempt as Python would: TypeError, ValueError,
 * OverflowError, UnicodeDecodeError; TooLarge and MemoryError for buffers. An `err` that is not
 * zero is the failure ErrorCode. A signature that does not fit the function is undefined
 * behaviour: that is why this runs in a host.
 *
 * The output is what the function returned, or, with out-buffers, a map of their names and
 * `return`. They come back as the first buf argument came in: a list, bytes (items of u8), or a
 * $buffer of the same kind. Without a buf argument, u8 is bytes and the rest a list.
 *
 * Threads: a tdi_foreign is constant once bound; calls are as concurrent as the function is.
 * Memory:  buffers of the payload are handed on where they are aligned, else copied; what a
 *          function returns is never freed. At most TDI_FOREIGN_BYTES_MAX for one call.
 * Errors:  bind: TD_ERR_ARGUMENT, TD_ERR_MEMORY. call: what an action returns.
 */
#ifndef TDI_FOREIGN_H
#define TDI_FOREIGN_H

#include "base/error.h"
#include "tandem/agent.h"

#define TDI_FOREIGN_BYTES_MAX ((size_t)256 << 20) /* copies and out-buffers of one call */
#define TDI_OUT_BYTES_MAX     ((size_t)64 << 20)  /* out-buffers of one call: they must travel */

typedef struct tdi_foreign tdi_foreign;

/* In a build without libffi: TD_ERR_ARGUMENT, and says so. */
td_status tdi_foreign_bind(const char *signature, void (*function)(void), tdi_foreign **out,
                           tdi_error *error);
td_status tdi_foreign_call(const tdi_foreign *foreign, td_call *call);
/* NULL is fine. */
void tdi_foreign_free(tdi_foreign *foreign);

#endif /* TDI_FOREIGN_H */
