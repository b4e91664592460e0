/* running.h - which action a call is for: for hosts, whose actions share one function.
 *
 * Threads: the call's.  Memory: the agent's options own the action.  Errors: none.
 */
#ifndef TDI_RUNNING_H
#define TDI_RUNNING_H

#include "tandem/agent.h"

/* A member of the array that td_agent_connect was given. */
const td_action *tdi_running_action(const td_call *call);

#endif /* TDI_RUNNING_H */
