/* agent_fixture.h - the test agent beside a real bridge, and its actions as a client sees them. */
#ifndef TDI_AGENT_FIXTURE_H
#define TDI_AGENT_FIXTURE_H

#include <dirent.h>

#include "client/bridge_fixture.h"

static const char *agent_path;

static inline pid_t start_agent(const fixture *bridge, const char *name, const char *workers,
                                const char *version)
{
    const pid_t pid = fork();
    if (pid == 0) {
        execl(agent_path, agent_path, name, bridge->socket_path, workers, version, (char *)NULL);
        _exit(127);
    }
    return pid;
}

/* Its exit code, or 256 + signal. */
static inline int end_agent(pid_t pid, int number)
{
    int status;
    kill(pid, number);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
}

static inline uint32_t id_of(const tdi_client *client, const char *agent, const char *name)
{
    const tdi_client_action *actions;
    const size_t total = tdi_client_actions(client, &actions);
    for (size_t i = 0; i < total; i++)
        if (strcmp(actions[i].agent, agent) == 0 && strcmp(actions[i].name, name) == 0)
            return actions[i].id;
    return 0;
}

/* Drain until the action is there (its id), or is not (1); 0 after ten seconds. */
static inline uint32_t await_action(tdi_client *client, const char *agent, const char *name,
                                    int there)
{
    const uint64_t until_ns = tdi_now_ns() + 10 * TDI_NS_PER_S;
    while (tdi_now_ns() < until_ns) {
        answer reply = {0};
        int more = 0;
        if (tdi_client_drain(client, 16, answer_take, &reply, &more) != TD_OK)
            return 0;
        answer_free(&reply);
        const uint32_t id = id_of(client, agent, name);
        if ((id != 0) == (there != 0))
            return there ? id : 1;
        tdi_client_wait(client, 100 * TDI_NS_PER_MS);
    }
    return 0;
}

static inline td_status call_id_of(tdi_client *client, uint32_t id, td_view body, uint64_t *call_id)
{
    const tdi_call_request request = {.action_id = id, .attempt = 1, .body = body};
    return tdi_client_call(client, &request, call_id);
}

static inline td_status ask_id(tdi_client *client, uint32_t id, td_view body, answer *reply)
{
    uint64_t call_id;
    *reply = (answer){0};
    const td_status status = call_id_of(client, id, body, &call_id);
    return status == TD_OK ? hear(client, reply) : status;
}

static inline int open_fds_of(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    int total = 0;
    while (folder != NULL && readdir(folder) != NULL)
        total++;
    if (folder != NULL)
        closedir(folder);
    return total;
}

#endif /* TDI_AGENT_FIXTURE_H */
