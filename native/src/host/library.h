/* library.h - functions of a shared object that knows nothing of agents, as actions of one.
 *
 * Threads: main, before anything is served.
 * Memory:  the library, and what is made here, stay as long as the process.
 * Errors:  NULL after a sentence on stderr.
 */
#ifndef TDI_LIBRARY_H
#define TDI_LIBRARY_H

#include <stddef.h>

#include "tandem/agent.h"

enum { TDI_BINDINGS_MAX = 128 };

typedef struct tdi_binding {
    const char *action, *version, *symbol;
    const char *signature; /* NULL: the function is td_status fn(td_call *) */
    uint8_t effects;       /* TD_EFFECTS_* */
} tdi_binding;

/* `fd` is a sealed copy of the library; `named` is where it came from, for messages. */
const td_action *tdi_library_actions(int fd, const char *named, const char *agent,
                                     const tdi_binding *bindings, size_t total);

#endif /* TDI_LIBRARY_H */
