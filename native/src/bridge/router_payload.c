/* router_payload.c - what a batch is asked for: destinations, messages, policy, key. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "bridge/router.h"

#define MESSAGES_MAX     1000000u
#define DESTINATIONS_MAX 256u

size_t tdi_batch_body(const tdi_batch *batch, uint32_t index, uint8_t *memory, td_view *out)
{
    if (batch->bodies != NULL) {
        *out = batch->bodies[index];
        return out->bytes;
    }
    td_writer writer;
    td_writer_fixed(&writer, memory, 16);
    td_write_map(&writer, 1);
    td_write_text(&writer, "seq");
    td_write_uint(&writer, index);
    *out = (td_view){memory, td_writer_bytes(&writer)};
    return out->bytes;
}

static bool fail(tdi_batch_fault *why, const char *type, const char *text)
{
    why->type = type;
    snprintf(why->text, sizeof why->text, "%s", text);
    return false;
}

static bool read_destinations(const tdi_bridge *bridge, tdi_batch *batch, td_reader value,
                              const char *action, size_t action_bytes, tdi_batch_fault *why)
{
    size_t total;
    if (td_read_array(&value, &total) != TD_OK || total == 0 || total > DESTINATIONS_MAX)
        return fail(why, "ValueError", "destinations must be a list of 1 to 256 agents");
    batch->to = calloc(total, sizeof *batch->to);
    if (batch->to == NULL)
        return fail(why, "MemoryError", "no memory for the destinations");
    batch->destinations = (uint32_t)total;
    for (size_t d = 0; d < total; d++) {
        const char *name;
        size_t bytes;
        if (td_read_str(&value, &name, &bytes) != TD_OK || bytes == 0 || bytes > TDI_NAME_BYTES_MAX)
            return fail(why, "TypeError", "destinations must be names of agents");
        memcpy(batch->to[d].name, name, bytes);
        for (size_t k = 0; k < d; k++)
            if (strcmp(batch->to[k].name, batch->to[d].name) == 0) {
                snprintf(why->text, sizeof why->text, "destination %s is named twice",
                         batch->to[d].name);
                why->type = "ValueError";
                return false;
            }
        const td_view agent = {(const uint8_t *)name, bytes};
        if (tdi_agent_find(bridge, agent) == NULL) {
            why->type = "unknown_agent";
            snprintf(why->text, sizeof why->text, "destination %s: no such agent is connected",
                     batch->to[d].name);
            return false;
        }
        batch->to[d].action_id = tdi_registry_id(&bridge->registry, agent,
                                                 (td_view){(const uint8_t *)action, action_bytes});
        if (batch->to[d].action_id == 0) {
            why->type = "unknown_action";
            snprintf(why->text, sizeof why->text, "destination %s offers no action %.*s",
                     batch->to[d].name, (int)(action_bytes > 128 ? 128 : action_bytes), action);
            return false;
        }
    }
    return true;
}

static bool read_messages(tdi_batch *batch, td_reader value, tdi_batch_fault *why)
{
    size_t total;
    if (td_read_array(&value, &total) != TD_OK || total > MESSAGES_MAX)
        return fail(why, "TypeError", "messages must be a list of at most 1000000");
    batch->bodies = calloc(total + 1, sizeof *batch->bodies);
    if (batch->bodies == NULL)
        return fail(why, "MemoryError", "no memory for the messages");
    batch->messages = (uint32_t)total;
    for (size_t i = 0; i < total; i++)
        if (td_read_raw(&value, &batch->bodies[i].data, &batch->bodies[i].bytes) != TD_OK)
            return fail(why, "TypeError", "messages must be a list");
    return true;
}

/* HASH: by the value under `key` in each message, or by the whole message. */
static bool read_key(tdi_batch *batch, td_reader payload, tdi_batch_fault *why)
{
    td_reader value;
    const char *key = NULL;
    size_t key_bytes = 0;
    td_type type;
    if (td_map_find(payload, "key", &value) == TD_OK && td_peek_type(&value, &type) == TD_OK &&
        type != TD_TYPE_NIL && td_read_str(&value, &key, &key_bytes) != TD_OK)
        return fail(why, "TypeError", "key must be the name of a field, or null");
    if (batch->policy != HASH)
        return true;
    batch->owner = calloc(batch->messages + 1u, sizeof *batch->owner);
    if (batch->owner == NULL)
        return fail(why, "MemoryError", "no memory for the messages");
    for (uint32_t i = 0; i < batch->messages; i++) {
        uint8_t memory[16];
        td_view body;
        tdi_batch_body(batch, i, memory, &body);
        td_view hashed = body;
        if (key != NULL) {
            td_reader found;
            if (td_map_find_n(td_reader_of(body.data, body.bytes), key, key_bytes, &found) !=
                    TD_OK ||
                td_read_raw(&found, &hashed.data, &hashed.bytes) != TD_OK) {
                why->type = "ValueError";
                snprintf(why->text, sizeof why->text, "message %u has no field %.*s", i,
                         (int)(key_bytes > 128 ? 128 : key_bytes), key);
                return false;
            }
        }
        batch->owner[i] =
            (uint16_t)(tdi_crc32c(0, hashed.data, hashed.bytes) % batch->destinations);
    }
    return true;
}

static bool read_policy(tdi_batch *batch, td_reader payload, tdi_batch_fault *why)
{
    static const char *const names[] = {"round_robin", "hash", "broadcast"};
    td_reader value;
    const char *text;
    size_t bytes;
    if (td_map_find(payload, "policy", &value) != TD_OK)
        return true;
    if (td_read_str(&value, &text, &bytes) == TD_OK)
        for (int i = 0; i < 3; i++)
            if (strlen(names[i]) == bytes && memcmp(names[i], text, bytes) == 0) {
                batch->policy = (policy)i;
                return true;
            }
    return fail(why, "ValueError", "policy must be round_robin, hash or broadcast");
}

bool tdi_batch_read(const tdi_bridge *bridge, tdi_batch *batch, td_view body, tdi_batch_fault *why)
{
    const td_reader payload = td_reader_of(body.data, body.bytes);
    td_reader value;
    td_type type;
    uint64_t size = 0;
    const char *action = "receive";
    size_t action_bytes = 7;
    if (td_peek_type(&payload, &type) != TD_OK || type != TD_TYPE_MAP)
        return fail(why, "TypeError", "the payload must be a map");
    const bool sized = td_map_find(payload, "batch_size", &value) == TD_OK;
    if (sized && (td_read_uint(&value, &size) != TD_OK || size > MESSAGES_MAX))
        return fail(why, "ValueError", "batch_size must be a number from 0 to 1000000");
    if (td_map_find(payload, "action", &value) == TD_OK &&
        td_read_str(&value, &action, &action_bytes) != TD_OK)
        return fail(why, "TypeError", "action must be a name");
    if (!read_policy(batch, payload, why))
        return false;
    if (td_map_find(payload, "destinations", &value) != TD_OK)
        return fail(why, "ValueError", "destinations are missing");
    if (!read_destinations(bridge, batch, value, action, action_bytes, why))
        return false;
    if (td_map_find(payload, "messages", &value) == TD_OK && td_peek_type(&value, &type) == TD_OK &&
        type != TD_TYPE_NIL) {
        if (!read_messages(batch, value, why))
            return false;
        if (sized && size != batch->messages)
            return fail(why, "ValueError", "batch_size is not the number of messages");
    } else {
        if (!sized)
            return fail(why, "ValueError", "batch_size is missing, and so are messages");
        batch->messages = (uint32_t)size;
    }
    if (batch->policy == BROADCAST && batch->bodies != NULL && batch->destinations > 1)
        batch->shared = calloc(batch->messages + 1u, sizeof *batch->shared); /* NULL: copies */
    return read_key(batch, payload, why);
}
