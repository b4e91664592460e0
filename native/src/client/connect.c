/* connect.c - the client's way in (socket, credentials, HELLO, WELCOME, mappings) and out. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "client/client_state.h"
#include "strict/strict.h"
#include "wire/channel.h"
#include "wire/handshake.h"

static _Thread_local tdi_error last_failure;

static td_view text_view(const char *text)
{
    return (td_view){(const uint8_t *)text, text != NULL ? strlen(text) : 0};
}

static td_status say_hello(tdi_client *client, const tdi_client_options *options)
{
    uint8_t message[1024];
    size_t bytes;
    const tdi_hello hello = {
        .protocol_min = TDI_PROTOCOL,
        .protocol_max = TDI_PROTOCOL,
        .role = TDI_ROLE_ORCHESTRATOR,
        .features_offered = TDI_FEATURE_BLOBS,
        .monotonic_ns = tdi_now_ns(),
        .name = text_view(options->name),
        .build_id = text_view(options->build_id != NULL ? options->build_id : tdi_build_id()),
    };
    if (hello.name.bytes > TDI_NAME_BYTES_MAX || hello.build_id.bytes > 128 ||
        tdi_hello_encode(&hello, message, sizeof message, &bytes) != TD_OK)
        return tdi_fail(&client->error, TD_ERR_ARGUMENT,
                        "name or build id is longer than 128 bytes");
    return tdi_channel_send(client->socket_fd, message, bytes, NULL, 0, &client->error);
}

/* Python makes strings of them, and C ends them by a zero. */
static int is_text(td_view text)
{
    return td_utf8_valid(text.data, text.bytes) &&
           (text.bytes == 0 || memchr(text.data, 0, text.bytes) == NULL);
}

static int has_names(const tdi_action_row *row)
{
    return is_text(row->agent) && is_text(row->name) && is_text(row->version);
}

static td_status keep_actions(tdi_client *client, const tdi_welcome *welcome)
{
    const size_t text_max = welcome->actions.bytes + 3u * welcome->actions_total + 1;
    client->actions = calloc(welcome->actions_total + 1u, sizeof *client->actions);
    client->action_text = malloc(text_max);
    if (client->actions == NULL || client->action_text == NULL)
        return tdi_fail(&client->error, TD_ERR_MEMORY, "no memory for the action table");
    char *to = client->action_text;
    size_t at = 0;
    for (uint32_t i = 0; i < welcome->actions_total; i++) {
        tdi_action_row row;
        if (tdi_action_next(welcome->actions, &at, &row) != TD_OK || !has_names(&row))
            return tdi_fail(&client->error, TD_CORRUPT, "malformed WELCOME: action %u", i);
        tdi_client_action *action = &client->actions[i];
        const td_view from[3] = {row.agent, row.name, row.version};
        const char **into[3] = {&action->agent, &action->name, &action->version};
        for (int k = 0; k < 3; k++) {
            memcpy(to, from[k].data, from[k].bytes);
            to[from[k].bytes] = '\0';
            *into[k] = to;
            to += from[k].bytes + 1;
        }
        action->id = row.id;
        action->effects = row.effects;
        action->runs = row.runs;
        action->deterministic = row.deterministic;
        action->in_programs = row.in_programs;
        action->takes_blobs = row.takes_blobs;
    }
    if (at != welcome->actions.bytes)
        return tdi_fail(&client->error, TD_CORRUPT, "malformed WELCOME: bytes after the actions");
    client->actions_total = client->actions_room = welcome->actions_total;
    return TD_OK;
}

static td_status map_rings(tdi_client *client, const tdi_welcome *welcome, const int *fds)
{
    td_status status = tdi_region_attach(TDI_REGION_DOWN, fds[0], welcome->ring_bytes,
                                         welcome->slots, &client->down, &client->error);
    if (status == TD_OK)
        status = tdi_region_attach(TDI_REGION_UP, fds[1], welcome->ring_bytes, welcome->slots,
                                   &client->up, &client->error);
    if (status != TD_OK)
        return status;
    tdi_control *theirs = client->down.control, *ours = client->up.control;
    tdi_ring_tx_init(&client->tx, client->up.data, welcome->ring_bytes, &ours->tail, &theirs->head);
    tdi_ring_rx_init(&client->rx, client->down.data, welcome->ring_bytes, &theirs->tail,
                     &ours->head);
    client->frames_rope.ticket = &theirs->sleep_ticket;
    client->space_rope.ticket = &theirs->space_ticket;
    client->sleep.shared = &ours->sleep_ticket;
    client->space.shared = &ours->space_ticket;
    return TD_OK;
}

static td_status take_memory(tdi_client *client, const tdi_welcome *welcome)
{
    client->slots_total = welcome->slots;
    client->slots = calloc(welcome->slots, sizeof *client->slots);
    client->free_slots = calloc(welcome->slots, sizeof *client->free_slots);
    client->scratch = malloc(tdi_ring_span_max(welcome->ring_bytes));
    if (client->slots == NULL || client->free_slots == NULL || client->scratch == NULL)
        return tdi_fail(&client->error, TD_ERR_MEMORY, "no memory for %u slots", welcome->slots);
    /* The lowest slot on top: a quiet session stays on few cache lines. */
    for (uint32_t slot = 0; slot < welcome->slots; slot++)
        client->free_slots[slot] = welcome->slots - 1 - slot;
    client->free_total = welcome->slots;
    client->stats.slots = welcome->slots;
    client->bytes_quota = welcome->bytes_quota;
    client->body_bytes_max = welcome->body_bytes_max;
    client->reply_bytes_reserved = welcome->reply_bytes_reserved;
    client->session = welcome->session;
    tdi_blob_peer_begin(&client->blobs, welcome->features, welcome->blob_bytes_max);
    return TD_OK;
}

static td_status read_welcome(tdi_client *client, uint64_t deadline_ns, uint8_t *message, int *fds)
{
    size_t bytes, fds_total = 0;
    tdi_welcome welcome;
    td_status status = tdi_channel_wait(client->socket_fd, deadline_ns, &client->error);
    if (status == TD_OK)
        status = tdi_channel_receive(client->socket_fd, message, TDI_MESSAGE_BYTES_MAX, &bytes, fds,
                                     &fds_total, &client->error);
    if (status == TD_OK)
        status = tdi_welcome_decode(message, bytes, &welcome, &client->error);
    if (status != TD_OK)
        return status;
    if (welcome.status != TD_OK)
        return tdi_fail(&client->error, welcome.status == TD_BUSY ? TD_BUSY : TD_ERR_REFUSED,
                        "the bridge refused: %.*s", (int)welcome.text.bytes, welcome.text.data);
    if (welcome.protocol != TDI_PROTOCOL || fds_total != TDI_CHANNEL_FDS)
        return tdi_fail(&client->error, TD_CORRUPT, "WELCOME with protocol %u and %zu fds",
                        welcome.protocol, fds_total);
    status = map_rings(client, &welcome, fds);
    if (status == TD_OK)
        status = take_memory(client, &welcome);
    if (status == TD_OK)
        status = keep_actions(client, &welcome);
    if (status == TD_OK)
        status = tdi_bell_check(fds[2], fds[3], &client->error);
    const size_t notes_bytes =
        welcome.text.bytes < sizeof client->notes ? welcome.text.bytes : sizeof client->notes - 1;
    if (notes_bytes > 0)
        memcpy(client->notes, welcome.text.data, notes_bytes);
    if (status == TD_OK) {
        client->bell_in_fd = fds[2];
        client->bell_out_fd = fds[3];
        client->statistics_fd = fds[4];
        fds[2] = fds[3] = fds[4] = -1;
    }
    return status;
}

td_status tdi_client_connect(const tdi_client_options *options, tdi_client **out)
{
    tdi_client *client = calloc(1, sizeof *client);
    uint8_t *message = malloc(TDI_MESSAGE_BYTES_MAX);
    int fds[TDI_CHANNEL_FDS] = {-1, -1, -1, -1, -1};
    if (client == NULL || message == NULL) {
        free(client);
        free(message);
        return tdi_fail(&last_failure, TD_ERR_MEMORY, "no memory for a client");
    }
    client->socket_fd = client->bell_in_fd = client->bell_out_fd = client->statistics_fd = -1;
    client->owner_pid = getpid();
    client->spin_ns = options->spin_ns;
    const uint64_t deadline_ns = tdi_now_ns() + options->timeout_ns;
    td_status status =
        tdi_channel_connect(options->socket_path, deadline_ns, &client->socket_fd, &client->error);
    /* Before a byte is sent: the bridge must be ours as much as we must be its. */
    if (status == TD_OK)
        status = tdi_channel_check_peer(client->socket_fd, &client->bridge_pid, &client->error);
    if (status == TD_OK)
        status = say_hello(client, options);
    if (status == TD_OK)
        status = read_welcome(client, deadline_ns, message, fds);
    free(message);
    tdi_close_all(fds, TDI_CHANNEL_FDS); /* mappings outlive their fds */
    if (status != TD_OK) {
        last_failure = client->error;
        tdi_client_close(client);
        return status;
    }
    *out = client;
    return TD_OK;
}

int tdi_client_statistics_fd(const tdi_client *client)
{
    return client->statistics_fd;
}

void tdi_client_close(tdi_client *client)
{
    if (client == NULL)
        return;
    tdi_blob_peer_end(&client->blobs);
    tdi_close_all(&client->socket_fd, 1);
    tdi_close_all(&client->bell_in_fd, 1);
    tdi_close_all(&client->bell_out_fd, 1);
    tdi_close_all(&client->statistics_fd, 1);
    /* A forked child never had the mappings, and something else may lie there now. */
    if (client->owner_pid == getpid()) {
        tdi_region_unmap(&client->down);
        tdi_region_unmap(&client->up);
    }
    free(client->slots);
    free(client->free_slots);
    free(client->scratch);
    free(client->outbound.body);
    free(client->inbound.body);
    tdi_client_free_logs(client);
    free(client->actions);
    free(client->action_text);
    while (client->learned != NULL) {
        client_text *text = client->learned;
        client->learned = text->next;
        free(text);
    }
    free(client);
}

const char *tdi_client_error(const tdi_client *client)
{
    return client != NULL ? client->error.text : last_failure.text;
}

size_t tdi_client_actions(const tdi_client *client, const tdi_client_action **out)
{
    *out = client->actions;
    return client->actions_total;
}

uint64_t tdi_client_actions_version(const tdi_client *client)
{
    return client->actions_version;
}

/* Agents with ever new names come and go: what nobody can call any more is given back. */
static void unlearn(tdi_client *client, const tdi_client_action *action)
{
    for (client_text **at = &client->learned; *at != NULL; at = &(*at)->next)
        if ((*at)->text == action->agent) {
            client_text *text = *at;
            *at = text->next;
            free(text);
            return;
        }
}

static td_status learn_one(tdi_client *client, const tdi_action_row *row)
{
    size_t at = 0;
    while (at < client->actions_total && client->actions[at].id != row->id)
        at++;
    if (row->gone) {
        if (at == client->actions_total)
            return TD_OK;
        unlearn(client, &client->actions[at]);
        client->actions[at] = client->actions[--client->actions_total];
        return TD_OK;
    }
    if (at < client->actions_total)
        return TD_OK; /* came, went and came again between two events */
    if (client->actions_total == TDI_ACTIONS_MAX || !has_names(row))
        return TD_CORRUPT;
    if (client->actions_total == client->actions_room) {
        tdi_client_action *more =
            realloc(client->actions, (client->actions_room + 16) * sizeof *more);
        if (more == NULL)
            return TD_ERR_MEMORY;
        client->actions = more;
        client->actions_room += 16;
    }
    client_text *text =
        malloc(sizeof *text + row->agent.bytes + row->name.bytes + row->version.bytes + 3);
    if (text == NULL)
        return TD_ERR_MEMORY;
    text->next = client->learned;
    client->learned = text;
    tdi_client_action *action = &client->actions[client->actions_total++];
    *action = (tdi_client_action){.id = row->id,
                                  .effects = row->effects,
                                  .runs = row->runs,
                                  .deterministic = row->deterministic,
                                  .in_programs = row->in_programs,
                                  .takes_blobs = row->takes_blobs};
    const td_view from[3] = {row->agent, row->name, row->version};
    const char **into[3] = {&action->agent, &action->name, &action->version};
    char *to = text->text;
    for (int i = 0; i < 3; i++) {
        memcpy(to, from[i].data, from[i].bytes);
        to[from[i].bytes] = '\0';
        *into[i] = to;
        to += from[i].bytes + 1;
    }
    return TD_OK;
}

td_status tdi_client_learn(tdi_client *client, td_view rows)
{
    size_t at = 0;
    tdi_action_row row;
    td_status status;
    while ((status = tdi_action_next(rows, &at, &row)) == TD_OK) {
        status = learn_one(client, &row);
        if (status != TD_OK)
            return status;
    }
    client->actions_version++;
    return status == TD_ERR_AGAIN ? TD_OK : status;
}

const char *tdi_client_notes(const tdi_client *client)
{
    return client->notes;
}

uint64_t tdi_client_bridge_pid(const tdi_client *client)
{
    return (uint64_t)client->bridge_pid;
}

int tdi_client_fd(const tdi_client *client)
{
    return client->bell_in_fd;
}

int tdi_client_socket_fd(const tdi_client *client)
{
    return client->socket_fd;
}

void tdi_client_stats_read(const tdi_client *client, tdi_client_stats *out)
{
    *out = client->stats;
}
