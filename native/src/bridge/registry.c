#include "bridge/registry.h"

#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"

static td_view view(const char *text)
{
    return (td_view){(const uint8_t *)text, strlen(text)};
}

static bool is(const char *text, td_view other)
{
    return strlen(text) == other.bytes && memcmp(text, other.data, other.bytes) == 0;
}

static bool offered(const tdi_registry_row *row)
{
    return row->local != NULL || row->agent != NULL;
}

uint32_t tdi_registry_id(const tdi_registry *registry, td_view agent, td_view name)
{
    for (uint32_t i = 0; i < registry->total; i++) {
        const tdi_registry_row *row = &registry->rows[i];
        if (offered(row) && is(row->about.name, name) && is(row->about.agent, agent))
            return row->id;
    }
    return 0;
}

bool tdi_registry_is_built_in(const tdi_registry *registry, td_view agent)
{
    for (uint32_t i = 0; i < registry->total; i++)
        if (registry->rows[i].local != NULL && is(registry->rows[i].about.agent, agent))
            return true;
    return false;
}

static uint32_t index_of(uint32_t id)
{
    return (id - 1) % TDI_IDS_MAX;
}

static uint64_t encoded_bytes(const td_action *about)
{
    return 16 + strlen(about->agent) + strlen(about->name) + strlen(about->version);
}

/* `bytes`: what it takes in WELCOME, which every orchestrator must be able to get. */
static td_status room(const tdi_registry *registry, uint64_t bytes, tdi_error *error)
{
    if (registry->live == TDI_ACTIONS_MAX)
        return tdi_fail(error, TD_TOO_LARGE, "more than %d actions", TDI_ACTIONS_MAX);
    if (bytes > TDI_TABLE_BYTES_MAX - registry->live_bytes)
        return tdi_fail(error, TD_TOO_LARGE, "the names of all actions are longer than %d bytes",
                        TDI_TABLE_BYTES_MAX);
    return TD_OK;
}

/* A place for a new meaning, with an id that was never used: where a row is that nobody offers
 * any more, once all have been used. There is one: TDI_ACTIONS_MAX is far below TDI_IDS_MAX. */
static td_status take_place(tdi_registry *registry, uint32_t *index, tdi_error *error)
{
    do {
        if (registry->last_id == UINT32_MAX)
            return tdi_fail(error, TD_TOO_LARGE, "all ids have been used; restart the bridge");
        *index = index_of(++registry->last_id);
    } while (offered(&registry->rows[*index]));
    free(registry->rows[*index].text);
    registry->rows[*index] = (tdi_registry_row){.id = registry->last_id};
    if (*index >= registry->total)
        registry->total = *index + 1;
    return TD_OK;
}

td_status tdi_registry_add(tdi_registry *registry, const td_action *actions, size_t total,
                           tdi_error *error)
{
    for (size_t i = 0; i < total; i++) {
        if (tdi_registry_id(registry, view(actions[i].agent), view(actions[i].name)) != 0)
            return tdi_fail(error, TD_ERR_ARGUMENT, "action %s.%s is offered twice",
                            actions[i].agent, actions[i].name);
        uint32_t index;
        td_status status = room(registry, encoded_bytes(&actions[i]), error);
        if (status == TD_OK)
            status = take_place(registry, &index, error);
        if (status != TD_OK)
            return status;
        tdi_registry_row *row = &registry->rows[index];
        row->about = actions[i];
        row->local = &actions[i];
        row->changed = ++registry->version;
        registry->hashes[index] = 0;
        registry->live++;
        registry->live_bytes += encoded_bytes(&actions[i]);
    }
    return TD_OK;
}

td_status tdi_registry_add_built_in(tdi_registry *registry, tdi_error *error)
{
    td_status status =
        tdi_registry_add(registry, tdi_system_actions, tdi_system_actions_count, error);
    if (status == TD_OK)
        status = tdi_registry_add(registry, tdi_docgen_actions, tdi_docgen_actions_count, error);
    if (status == TD_OK)
        status = tdi_registry_add(registry, tdi_router_actions, tdi_router_actions_count, error);
    return status;
}

/* The same meaning: the same id. */
static bool means_the_same(const tdi_registry_row *row, const tdi_action_row *other)
{
    return row->local == NULL && is(row->about.name, other->name) &&
           is(row->about.agent, other->agent) && is(row->about.version, other->version) &&
           row->about.effects == other->effects && row->about.runs == other->runs &&
           row->about.deterministic == other->deterministic;
}

/* Of the strings; never 0. */
static uint32_t hash_of(const tdi_action_row *row)
{
    uint32_t hash = tdi_crc32c(0, row->agent.data, row->agent.bytes);
    hash = tdi_crc32c(hash, row->name.data, row->name.bytes);
    hash = tdi_crc32c(hash, row->version.data, row->version.bytes);
    return hash != 0 ? hash : 1;
}

static td_status intern(tdi_registry *registry, const tdi_action_row *row, uint32_t *index,
                        tdi_error *error)
{
    char *text = malloc(row->agent.bytes + row->name.bytes + row->version.bytes + 3);
    if (text == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "no memory for an action");
    const td_status status = take_place(registry, index, error);
    if (status != TD_OK) {
        free(text);
        return status;
    }
    tdi_registry_row made = {
        .id = registry->rows[*index].id,
        .about = {.effects = row->effects, .runs = row->runs, .deterministic = row->deterministic},
        .text = text};
    const td_view from[3] = {row->agent, row->name, row->version};
    const char **into[3] = {&made.about.agent, &made.about.name, &made.about.version};
    for (int i = 0; i < 3; i++) {
        memcpy(text, from[i].data, from[i].bytes);
        text[from[i].bytes] = '\0';
        *into[i] = text;
        text += from[i].bytes + 1;
    }
    registry->rows[*index] = made;
    registry->hashes[*index] = hash_of(row);
    return TD_OK;
}

td_status tdi_registry_offer(tdi_registry *registry, tdi_agent *agent, const tdi_action_row *row,
                             uint32_t *id, tdi_error *error)
{
    if (tdi_registry_id(registry, row->agent, row->name) != 0)
        return tdi_fail(error, TD_ERR_REFUSED, "action %.*s.%.*s is offered already",
                        (int)row->agent.bytes, row->agent.data, (int)row->name.bytes,
                        row->name.data);
    const uint64_t bytes = 16 + row->agent.bytes + row->name.bytes + row->version.bytes;
    td_status status = room(registry, bytes, error);
    const uint32_t hash = hash_of(row);
    uint32_t index = 0;
    while (index < registry->total &&
           (registry->hashes[index] != hash || !means_the_same(&registry->rows[index], row)))
        index++;
    if (status == TD_OK && index == registry->total)
        status = intern(registry, row, &index, error);
    if (status != TD_OK)
        return status;
    registry->rows[index].agent = agent;
    registry->rows[index].changed = ++registry->version;
    registry->live++;
    registry->live_bytes += bytes;
    *id = registry->rows[index].id;
    return TD_OK;
}

void tdi_registry_withdraw(tdi_registry *registry, uint32_t id)
{
    tdi_registry_row *row = &registry->rows[index_of(id)];
    registry->live_bytes -= encoded_bytes(&row->about);
    row->agent = NULL;
    row->changed = ++registry->version;
    registry->live--;
}

void tdi_registry_free(tdi_registry *registry)
{
    for (uint32_t i = 0; i < registry->total; i++) {
        free(registry->rows[i].text);
        registry->rows[i] = (tdi_registry_row){0};
    }
    registry->total = registry->live = registry->last_id = 0;
    registry->live_bytes = 0;
}

const tdi_registry_row *tdi_registry_row_of(const tdi_registry *registry, uint32_t id)
{
    const tdi_registry_row *row = &registry->rows[index_of(id)];
    return id != 0 && row->id == id && offered(row) ? row : NULL;
}

const td_action *tdi_registry_find(const tdi_registry *registry, uint32_t id)
{
    const tdi_registry_row *row = tdi_registry_row_of(registry, id);
    return row != NULL && row->local != NULL && row->local->run != NULL ? row->local : NULL;
}

static td_status encode(const tdi_registry *registry, uint32_t index, uint8_t *data,
                        size_t bytes_max, size_t *at)
{
    const tdi_registry_row *row = &registry->rows[index];
    const tdi_action_row words = {
        .id = row->id,
        .effects = row->about.effects,
        .runs = row->about.runs,
        .deterministic = row->about.deterministic,
        .gone = !offered(row),
        .in_programs = row->local == NULL || row->local->run != NULL, /* not the router's */
        .takes_blobs = row->local == NULL,
        .agent = view(row->about.agent),
        .name = view(row->about.name),
        .version = view(row->about.version),
    };
    return tdi_action_encode(&words, data, bytes_max, at);
}

td_status tdi_registry_encode(const tdi_registry *registry, uint8_t *data, size_t bytes_max,
                              size_t *bytes)
{
    size_t at = 0;
    for (uint32_t i = 0; i < registry->total; i++) {
        if (!offered(&registry->rows[i]))
            continue;
        const td_status status = encode(registry, i, data, bytes_max, &at);
        if (status != TD_OK)
            return status;
    }
    *bytes = at;
    return TD_OK;
}

td_status tdi_registry_encode_ids(const tdi_registry *registry, const uint32_t *ids, uint32_t total,
                                  uint8_t *data, size_t bytes_max, size_t *bytes)
{
    size_t at = 0;
    for (uint32_t i = 0; i < total; i++) {
        const td_status status = encode(registry, index_of(ids[i]), data, bytes_max, &at);
        if (status != TD_OK)
            return status;
    }
    *bytes = at;
    return TD_OK;
}

void tdi_registry_encode_changes(const tdi_registry *registry, uint64_t since, uint32_t *from,
                                 uint8_t *data, size_t bytes_max, size_t *bytes, uint32_t *rows)
{
    size_t at = 0;
    *rows = 0;
    for (; *from < registry->total; (*from)++) {
        if (registry->rows[*from].changed <= since)
            continue;
        if (encode(registry, *from, data, bytes_max, &at) != TD_OK)
            break; /* the next frame */
        (*rows)++;
    }
    *bytes = at;
}
