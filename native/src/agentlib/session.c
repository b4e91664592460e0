/* session.c - an agent's way in: where the bridge listens, HELLO with its actions, WELCOME. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agentlib/agent_state.h"
#include "base/clock.h"
#include "wire/channel.h"

#define CONNECT_NS   (5 * TDI_NS_PER_S)
#define MESSAGES_MAX 256 /* about blobs, in one look */
#define GOODBYES_MAX 4   /* a bridge that talks without end has gone as well */

static td_view view(const char *text)
{
    return (td_view){(const uint8_t *)text, strlen(text)};
}

/* As layers/native/runtime_dir.py names it. */
static td_status default_path(char *path, size_t bytes_max, tdi_error *error)
{
    const char *named = getenv("TANDEM_SOCKET"), *base = getenv("XDG_RUNTIME_DIR");
    struct stat about;
    int bytes;
    if (named != NULL && *named != '\0')
        bytes = snprintf(path, bytes_max, "%s", named);
    else if (base != NULL && *base == '/' && lstat(base, &about) == 0 && S_ISDIR(about.st_mode) &&
             about.st_uid == geteuid())
        bytes = snprintf(path, bytes_max, "%s/tandem/default/bridge.sock", base);
    else
        bytes =
            snprintf(path, bytes_max, "/tmp/tandem-%u/default/bridge.sock", (unsigned)geteuid());
    if (bytes < 0 || (size_t)bytes >= bytes_max)
        return tdi_fail(error, TD_ERR_ARGUMENT, "the socket's path is too long");
    return TD_OK;
}

static td_status say_hello(td_agent *agent)
{
    static _Thread_local uint8_t message[TDI_HELLO_BYTES_MAX], table[TDI_HELLO_BYTES_MAX - 1024];
    size_t bytes, table_bytes = 0;
    const td_agent_options *options = &agent->options;
    for (size_t i = 0; i < options->actions_total; i++) {
        const td_action *action = &options->actions[i];
        const tdi_action_row row = {.effects = action->effects,
                                    .runs = action->runs,
                                    .deterministic = action->deterministic,
                                    .agent = view(action->agent),
                                    .name = view(action->name),
                                    .version = view(action->version)};
        if (tdi_action_encode(&row, table, sizeof table, &table_bytes) != TD_OK)
            return tdi_fail(&agent->error, TD_TOO_LARGE, "the actions do not fit into HELLO");
    }
    const tdi_hello hello = {
        .protocol_min = TDI_PROTOCOL,
        .protocol_max = TDI_PROTOCOL,
        .role = TDI_ROLE_AGENT,
        .features_offered = TDI_FEATURE_BLOBS,
        .monotonic_ns = tdi_now_ns(),
        .name = view(options->actions[0].agent),
        .build_id = view(tdi_build_id()),
        .actions_total = (uint32_t)options->actions_total,
        .actions = {table, table_bytes},
    };
    if (tdi_hello_encode(&hello, message, sizeof message, &bytes) != TD_OK)
        return tdi_fail(&agent->error, TD_TOO_LARGE, "the actions do not fit into HELLO");
    return tdi_channel_send(agent->socket_fd, message, bytes, NULL, 0, &agent->error);
}

static td_status map_rings(td_agent *agent, const tdi_welcome *welcome, int *fds)
{
    td_status status = tdi_region_attach(TDI_REGION_AGENT_DOWN, fds[0], welcome->ring_bytes,
                                         welcome->slots, &agent->down, &agent->error);
    if (status == TD_OK)
        status = tdi_region_attach(TDI_REGION_AGENT_UP, fds[1], welcome->ring_bytes, welcome->slots,
                                   &agent->up, &agent->error);
    if (status != TD_OK)
        return status;
    tdi_control *theirs = agent->down.control, *ours = agent->up.control;
    tdi_ring_tx_init(&agent->tx, agent->up.data, welcome->ring_bytes, &ours->tail, &theirs->head);
    tdi_ring_rx_init(&agent->rx, agent->down.data, welcome->ring_bytes, &theirs->tail, &ours->head);
    agent->frames_rope = (tdi_bell_rope){.ticket = &theirs->sleep_ticket};
    agent->space_rope = (tdi_bell_rope){.ticket = &theirs->space_ticket};
    agent->sleep = (tdi_bell_ticket){.shared = &ours->sleep_ticket};
    agent->space = (tdi_bell_ticket){.shared = &ours->space_ticket};
    agent->slots = welcome->slots;
    agent->session = welcome->session;
    tdi_blob_peer_begin(&agent->blobs, welcome->features, welcome->blob_bytes_max);
    agent->scratch = malloc(tdi_ring_span_max(welcome->ring_bytes));
    if (agent->scratch == NULL)
        return tdi_fail(&agent->error, TD_ERR_MEMORY, "no memory for a frame");
    status = tdi_bell_check(fds[2], fds[3], &agent->error);
    if (status != TD_OK)
        return status;
    agent->bell_in_fd = fds[2];
    agent->bell_out_fd = fds[3];
    fds[2] = fds[3] = -1;
    return TD_OK;
}

static td_status read_welcome(td_agent *agent, uint64_t deadline_ns)
{
    static _Thread_local uint8_t message[TDI_MESSAGE_BYTES_MAX];
    int fds[TDI_CHANNEL_FDS] = {-1, -1, -1, -1, -1};
    size_t bytes, fds_total = 0, at = 0;
    tdi_welcome welcome;
    td_status status = tdi_channel_wait(agent->socket_fd, deadline_ns, &agent->error);
    if (status == TD_OK)
        status = tdi_channel_receive(agent->socket_fd, message, sizeof message, &bytes, fds,
                                     &fds_total, &agent->error);
    if (status == TD_OK)
        status = tdi_welcome_decode(message, bytes, &welcome, &agent->error);
    if (status == TD_OK && welcome.status != TD_OK)
        status = tdi_fail(&agent->error, welcome.status == TD_BUSY ? TD_BUSY : TD_ERR_REFUSED,
                          "the bridge refused: %.*s", (int)welcome.text.bytes, welcome.text.data);
    if (status == TD_OK && (welcome.protocol != TDI_PROTOCOL || fds_total != TDI_SESSION_FDS ||
                            welcome.actions_total != agent->options.actions_total))
        status = tdi_fail(&agent->error, TD_CORRUPT, "WELCOME with %zu fds and %u actions",
                          fds_total, welcome.actions_total);
    for (uint32_t i = 0; status == TD_OK && i < welcome.actions_total; i++) {
        tdi_action_row row;
        if (tdi_action_next(welcome.actions, &at, &row) != TD_OK)
            status = tdi_fail(&agent->error, TD_CORRUPT, "malformed WELCOME: action %u", i);
        else
            agent->ids[i] = row.id;
    }
    if (status == TD_OK)
        status = map_rings(agent, &welcome, fds);
    tdi_close_all(fds, TDI_CHANNEL_FDS);
    return status;
}

td_status agent_open(td_agent *agent)
{
    char path[PATH_MAX];
    const uint64_t deadline_ns = tdi_now_ns() + CONNECT_NS;
    td_status status = TD_OK;
    if (agent->options.socket_path != NULL)
        snprintf(path, sizeof path, "%s", agent->options.socket_path);
    else
        status = default_path(path, sizeof path, &agent->error);
    agent->error.text[0] = '\0';
    atomic_store_explicit(&agent->bridge_gone, false, memory_order_relaxed);
    atomic_store_explicit(&agent->looked_ns, tdi_now_ns(), memory_order_relaxed);
    if (status == TD_OK)
        status = tdi_channel_connect(path, deadline_ns, &agent->socket_fd, &agent->error);
    if (status == TD_OK)
        status = tdi_channel_check_peer(agent->socket_fd, &agent->bridge_pid, &agent->error);
    if (status == TD_OK)
        status = say_hello(agent);
    if (status == TD_OK)
        status = read_welcome(agent, deadline_ns);
    if (status != TD_OK)
        agent_shut(agent);
    return status;
}

void agent_shut(td_agent *agent)
{
    tdi_blob_peer_end(&agent->blobs);
    tdi_close_all(&agent->socket_fd, 1);
    tdi_close_all(&agent->bell_in_fd, 1);
    tdi_close_all(&agent->bell_out_fd, 1);
    tdi_region_unmap(&agent->down);
    tdi_region_unmap(&agent->up);
    free(agent->scratch);
    agent->scratch = NULL;
    free(agent->inbound.body);
    agent->inbound = (agent_inbound){0};
    while (agent->waiting_first != NULL) {
        agent_parcel *parcel = agent->waiting_first;
        agent->waiting_first = parcel->next;
        free(parcel->body);
        free(parcel);
    }
    agent->waiting_last = NULL;
}

bool agent_bridge_gone(td_agent *agent)
{
    for (int heard = 0, said = 0;; heard++) {
        const td_status status = tdi_blob_listen(agent->socket_fd, &agent->blobs, &agent->error);
        if (status == TD_ERR_AGAIN)
            return false;
        if (status == TD_OK && heard < MESSAGES_MAX)
            continue;
        if (status == TD_ERR_REFUSED && ++said <= GOODBYES_MAX)
            continue;
        if (agent->error.text[0] == '\0')
            tdi_fail(&agent->error, TD_ERR_CLOSED, "the bridge (pid %lld) has gone",
                     (long long)agent->bridge_pid);
        return true;
    }
}
