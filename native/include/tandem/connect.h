/* connect.h - a program of your own as an agent: connect to a bridge and serve.
 *
 * Link with libtandem_agent (static; `tandem config --cflags --libs`). Write the actions as
 * agent.h says, then
 *
 *     int main(void)
 *     {
 *         return td_agent_main(&(td_agent_options){.size = sizeof(td_agent_options),
 *                                                  .actions = actions, .actions_total = 1});
 *     }
 *
 * Threads: one thread serves a connection, and runs all actions, unless `workers` is set: then
 *          actions that are TD_RUNS_BLOCKING run in so many threads. td_agent_stop may be called
 *          from any thread and from a signal handler.
 * Memory:  options and actions must live as long as the agent.
 * Errors:  td_status; td_agent_error has the sentence.
 */
#ifndef TANDEM_CONNECT_H
#define TANDEM_CONNECT_H

#include "tandem/agent.h"

typedef struct td_agent td_agent;

typedef struct td_agent_options {
    uint32_t size;            /* sizeof(td_agent_options) */
    const char *socket_path;  /* NULL: $TANDEM_SOCKET, else bridge.sock in the runtime directory */
    const td_action *actions; /* all of one agent, whose name is theirs */
    size_t actions_total;     /* 1 to 128 */
    uint32_t workers;         /* threads for blocking actions, at most 64; 0: none */
    uint32_t spin_ns;         /* look so long for more work before sleeping */
    uint32_t reconnect;       /* 1: when the bridge goes, connect again, with back-off to 5 s */
    uint32_t host;            /* 1: report the signal that kills this process; host processes */
    uint32_t grace_ms;        /* host: end the process so long after a cancel or deadline that an
                                 action does not obey; 0: never */
} td_agent_options;

/* TD_ERR_CLOSED: nobody listens there. TD_ERR_REFUSED: another uid or build, or an agent of this
 * name with other actions. TD_BUSY: no session left. TD_ERR_ARGUMENT. */
td_status td_agent_connect(const td_agent_options *options, td_agent **out);
/* Serve until td_agent_stop (TD_OK), or until the bridge has gone for good (TD_ERR_CLOSED). */
td_status td_agent_serve(td_agent *agent);
/* Finish what is running, answer it, and return from td_agent_serve. */
void td_agent_stop(td_agent *agent);
/* NULL is fine. */
void td_agent_close(td_agent *agent);
/* The sentence of the last failure. NULL: of this thread's last failed connect. */
const char *td_agent_error(const td_agent *agent);

/* Connect and serve until SIGTERM or SIGINT. Says why on stderr. Returns an exit code: 0 told to
 * stop, 1 otherwise. */
int td_agent_main(const td_agent_options *options);

#endif /* TANDEM_CONNECT_H */
