/* program_call.h - what programs.c and program_remote.c share: a program that is being run.
 *
 * Threads: the main thread.
 * Memory:  a call lives until its program is done, which is after each of its remote calls came
 *          back; it is one of its session's `running`.
 * Errors:  td_status.
 */
#ifndef TDI_BRIDGE_PROGRAM_CALL_H
#define TDI_BRIDGE_PROGRAM_CALL_H

#include "bridge/bridge.h"
#include "program/run.h"

enum { TDI_TRACE_BYTES = 25 };

struct tdi_program_call {
    struct tdi_program_call *next;
    td_program_run *run;
    tdi_run *answer;            /* its slot, charge and times */
    td_program_remote *remotes; /* sent to agents, or waiting for room with one */
    uint64_t swept_ns;
    uint32_t waiting; /* of `remotes` */
    uint16_t tenant, attempt;
    uint8_t lane, trace_bytes;
    uint8_t trace[TDI_TRACE_BYTES];
    bool cancelled; /* `remotes` have been told */
};

/* td_program_host.send: to an agent that has room, or into the bridge's list of those that wait. */
td_status tdi_program_send(void *context, td_program_remote *remote);
/* Send what has waited longest, as far as there is room. */
void tdi_program_remotes_pump(tdi_bridge *bridge);
/* Pass on a cancel; end what waits in vain, or for an answer long overdue. */
void tdi_program_remotes_sweep(struct tdi_program_call *call, uint64_t now_ns);

#endif /* TDI_BRIDGE_PROGRAM_CALL_H */
