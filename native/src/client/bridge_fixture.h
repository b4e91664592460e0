/* bridge_fixture.h - a real bridge in a directory of its own, for tests and benchmarks. */
#ifndef TDI_BRIDGE_FIXTURE_H
#define TDI_BRIDGE_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "client/client.h"

static const char *agent_bridge_path;
static uint32_t fixture_spin_ns = 2000;

typedef struct fixture {
    char directory[64], socket_path[96];
    pid_t pid;
    int parent_fd; /* our end of --spawned-by-fd, or -1 */
} fixture;

/* Start a bridge and wait until it listens. extra: NULL-terminated options, or NULL.
 * Returns 0 when it did not start. */
static inline int fixture_spawn(fixture *bridge, const char *const *extra, int spawned)
{
    int ready[2], parent[2] = {-1, -1};
    if (pipe2(ready, O_CLOEXEC) != 0 ||
        (spawned && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, parent) != 0))
        return 0;
    char ready_text[16], parent_text[16];
    bridge->pid = fork();
    if (bridge->pid == 0) {
        const char *argv[32] = {agent_bridge_path, "--socket", bridge->socket_path, "--ready-fd"};
        int at = 4;
        snprintf(ready_text, sizeof ready_text, "%d", fcntl(ready[1], F_DUPFD, 100));
        argv[at++] = ready_text;
        if (spawned) {
            snprintf(parent_text, sizeof parent_text, "%d", fcntl(parent[1], F_DUPFD, 100));
            argv[at++] = "--spawned-by-fd";
            argv[at++] = parent_text;
        }
        for (int i = 0; extra != NULL && extra[i] != NULL; i++)
            argv[at++] = extra[i];
        if (!spawned) /* a spawned one leaves by itself when its parent does, and is to show that */
            prctl(PR_SET_PDEATHSIG, SIGKILL);
        execv(agent_bridge_path, (char **)(uintptr_t)argv);
        _exit(127);
    }
    close(ready[1]);
    if (spawned)
        close(parent[1]);
    bridge->parent_fd = parent[0];
    char line[16];
    const ssize_t got = read(ready[0], line, sizeof line);
    close(ready[0]);
    return got == 6;
}

static inline void fixture_directory(fixture *bridge)
{
    strcpy(bridge->directory, "/tmp/tandem-test-XXXXXX");
    if (mkdtemp(bridge->directory) == NULL)
        abort();
    snprintf(bridge->socket_path, sizeof bridge->socket_path, "%s/bridge.sock", bridge->directory);
}

static inline int fixture_start(fixture *bridge, const char *const *extra)
{
    fixture_directory(bridge);
    return fixture_spawn(bridge, extra, 0);
}

/* Wait for the bridge's end; its exit code, 256 + signal, or -1 after five seconds. */
static inline int fixture_wait(fixture *bridge)
{
    int status;
    for (int i = 0; i < 5000; i++) {
        if (waitpid(bridge->pid, &status, WNOHANG) == bridge->pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status);
        usleep(1000);
    }
    return -1;
}

static inline int fixture_clear(fixture *bridge)
{
    if (bridge->parent_fd >= 0)
        close(bridge->parent_fd);
    unlink(bridge->socket_path);
    char lock[128];
    snprintf(lock, sizeof lock, "%s/agent_bridge.lock", bridge->directory);
    unlink(lock);
    return rmdir(bridge->directory) == 0;
}

/* SIGTERM; returns its exit code as fixture_wait. */
static inline int fixture_stop(fixture *bridge)
{
    kill(bridge->pid, SIGTERM);
    const int code = fixture_wait(bridge);
    if (code < 0) {
        kill(bridge->pid, SIGKILL);
        waitpid(bridge->pid, NULL, 0);
    }
    fixture_clear(bridge);
    return code;
}

static inline tdi_client *fixture_connect(const fixture *bridge)
{
    const tdi_client_options options = {.socket_path = bridge->socket_path,
                                        .name = "test",
                                        .timeout_ns = 10 * TDI_NS_PER_S,
                                        .spin_ns = fixture_spin_ns};
    tdi_client *client;
    const td_status status = tdi_client_connect(&options, &client);
    if (status == TD_OK)
        return client;
    fprintf(stderr, "connect: %s, %s\n", tdi_status_name(status), tdi_client_error(NULL));
    return NULL;
}

static inline uint32_t action_id(const tdi_client *client, const char *name)
{
    const tdi_client_action *actions;
    const size_t total = tdi_client_actions(client, &actions);
    for (size_t i = 0; i < total; i++)
        if (strcmp(actions[i].agent, "system") == 0 && strcmp(actions[i].name, name) == 0)
            return actions[i].id;
    return 0;
}

/* What a completion said, with a body of its own. */
typedef struct answer {
    uint64_t call_id;
    td_status status;
    uint8_t *body;
    size_t bytes;
    uint64_t started_ns, elapsed_ns;
    int seen;
} answer;

static inline void answer_take(void *context, const tdi_completion *completion)
{
    answer *into = context;
    if (into->seen && into->call_id != completion->call_id)
        return;
    free(into->body);
    *into = (answer){.call_id = completion->call_id,
                     .status = completion->status,
                     .bytes = completion->body.bytes,
                     .started_ns = completion->started_ns,
                     .elapsed_ns = completion->elapsed_ns,
                     .seen = 1};
    if (into->bytes > 0 && (into->body = malloc(into->bytes)) != NULL)
        memcpy(into->body, completion->body.data, into->bytes);
}

static inline void answer_free(answer *reply)
{
    free(reply->body);
    reply->body = NULL;
}

/* Wait for the next completion. */
static inline td_status hear(tdi_client *client, answer *reply)
{
    *reply = (answer){0};
    const uint64_t until_ns = tdi_now_ns() + 20 * TDI_NS_PER_S;
    while (!reply->seen && tdi_now_ns() < until_ns) {
        int more;
        td_status status = tdi_client_drain(client, 1, answer_take, reply, &more);
        if (status == TD_OK && !reply->seen && !more)
            status = tdi_client_wait(client, TDI_NS_PER_S);
        if (status != TD_OK && status != TD_TIMED_OUT)
            return status;
    }
    return reply->seen ? TD_OK : TD_TIMED_OUT;
}

static inline td_status tell(tdi_client *client, const char *name, const void *body, size_t bytes,
                             uint64_t *call_id)
{
    const tdi_call_request request = {
        .action_id = action_id(client, name), .attempt = 1, .body = {body, bytes}};
    return tdi_client_call(client, &request, call_id);
}

static inline td_status ask(tdi_client *client, const char *name, const void *body, size_t bytes,
                            answer *reply)
{
    uint64_t call_id;
    *reply = (answer){0};
    const td_status status = tell(client, name, body, bytes, &call_id);
    return status == TD_OK ? hear(client, reply) : status;
}

#endif /* TDI_BRIDGE_FIXTURE_H */
