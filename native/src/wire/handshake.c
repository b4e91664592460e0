#include "wire/handshake.h"

#include <string.h>

#define HELLO_MAGIC   "TANDEMHI"
#define WELCOME_MAGIC "TANDEMOK"
#define GOODBYE_MAGIC "TANDEMBY"

typedef struct hello_head {
    char magic[8];
    uint32_t message_bytes;
    uint32_t head_bytes;
    uint32_t endian;
    uint16_t protocol_min, protocol_max;
    uint32_t role;
    uint16_t name_bytes, build_id_bytes;
    uint64_t features_required, features_offered;
    uint64_t monotonic_ns;
    uint16_t token_bytes;
    uint16_t actions_total; /* an agent's */
    uint32_t reserved;
} hello_head;
_Static_assert(sizeof(hello_head) == 64, "described in protocol/handshake.md");

typedef struct welcome_head {
    char magic[8];
    uint32_t message_bytes;
    uint32_t head_bytes;
    uint32_t endian;
    uint16_t protocol, status;
    uint32_t session, slots;
    uint64_t features;
    uint64_t monotonic_ns;
    uint64_t ring_bytes;
    uint64_t bytes_quota;
    uint64_t body_bytes_max;
    uint32_t reply_bytes_reserved;
    uint16_t version_bytes, build_id_bytes;
    uint16_t text_bytes, reserved;
    uint32_t actions_total;
    uint64_t blob_bytes_max;
} welcome_head;
_Static_assert(sizeof(welcome_head) == 96, "described in protocol/handshake.md");

typedef struct action_head {
    uint32_t id;
    uint8_t effects, runs, deterministic, gone;
    uint16_t agent_bytes, name_bytes, version_bytes;
    uint8_t in_programs, takes_blobs;
} action_head;
_Static_assert(sizeof(action_head) == 16, "described in protocol/handshake.md");

static td_status append(uint8_t *data, size_t bytes_max, size_t *at, const void *from, size_t bytes)
{
    if (bytes > bytes_max - *at)
        return TD_TOO_LARGE;
    if (bytes > 0)
        memcpy(data + *at, from, bytes);
    *at += bytes;
    return TD_OK;
}

static td_status append_all(uint8_t *data, size_t bytes_max, size_t *at, const td_view *parts,
                            size_t parts_total)
{
    for (size_t i = 0; i < parts_total; i++) {
        if (parts[i].bytes > UINT16_MAX && i + 1 < parts_total)
            return TD_TOO_LARGE;
        const td_status status = append(data, bytes_max, at, parts[i].data, parts[i].bytes);
        if (status != TD_OK)
            return status;
    }
    return TD_OK;
}

/* Take `bytes` from the front of what is left. */
static td_status take(td_view *left, size_t bytes, td_view *out)
{
    if (bytes > left->bytes)
        return TD_CORRUPT;
    *out = (td_view){left->data, bytes};
    left->data += bytes;
    left->bytes -= bytes;
    return TD_OK;
}

td_status tdi_hello_encode(const tdi_hello *hello, uint8_t *data, size_t bytes_max, size_t *bytes)
{
    hello_head head = {
        .head_bytes = sizeof head,
        .endian = TDI_ENDIAN_MARK,
        .protocol_min = hello->protocol_min,
        .protocol_max = hello->protocol_max,
        .role = hello->role,
        .name_bytes = (uint16_t)hello->name.bytes,
        .build_id_bytes = (uint16_t)hello->build_id.bytes,
        .features_required = hello->features_required,
        .features_offered = hello->features_offered,
        .monotonic_ns = hello->monotonic_ns,
        .token_bytes = (uint16_t)hello->token.bytes,
        .actions_total = (uint16_t)hello->actions_total,
    };
    memcpy(head.magic, HELLO_MAGIC, sizeof head.magic);
    const td_view parts[] = {hello->name, hello->build_id, hello->token, hello->actions};
    size_t at = sizeof head;
    if (bytes_max < sizeof head)
        return TD_TOO_LARGE;
    const td_status status = append_all(data, bytes_max, &at, parts, 4);
    if (status != TD_OK)
        return status;
    head.message_bytes = (uint32_t)at;
    memcpy(data, &head, sizeof head);
    *bytes = at;
    return TD_OK;
}

/* What both heads share; a longer head than ours is a newer peer's, and its rest is skipped. */
static td_status check_head(const uint8_t *data, size_t bytes, const char *magic, size_t known,
                            td_view *left, tdi_error *error)
{
    uint32_t message_bytes, head_bytes, endian;
    if (bytes < known || memcmp(data, magic, 8) != 0)
        return tdi_fail(error, TD_CORRUPT, "the peer does not speak this protocol (bad magic)");
    memcpy(&message_bytes, data + 8, 4);
    memcpy(&head_bytes, data + 12, 4);
    memcpy(&endian, data + 16, 4);
    if (endian != TDI_ENDIAN_MARK)
        return tdi_fail(error, TD_CORRUPT, "the peer has another byte order");
    if (message_bytes != bytes || head_bytes < known || head_bytes > bytes)
        return tdi_fail(error, TD_CORRUPT, "malformed handshake: %zu bytes, announced %u (head %u)",
                        bytes, message_bytes, head_bytes);
    *left = (td_view){data + head_bytes, bytes - head_bytes};
    return TD_OK;
}

td_status tdi_hello_decode(const uint8_t *data, size_t bytes, tdi_hello *out, tdi_error *error)
{
    hello_head head;
    td_view left = {0};
    const td_status status = check_head(data, bytes, HELLO_MAGIC, sizeof head, &left, error);
    if (status != TD_OK)
        return status;
    memcpy(&head, data, sizeof head);
    tdi_hello hello = {
        .protocol_min = head.protocol_min,
        .protocol_max = head.protocol_max,
        .role = head.role,
        .features_required = head.features_required,
        .features_offered = head.features_offered,
        .monotonic_ns = head.monotonic_ns,
    };
    if (head.name_bytes > TDI_NAME_BYTES_MAX ||
        take(&left, head.name_bytes, &hello.name) != TD_OK ||
        take(&left, head.build_id_bytes, &hello.build_id) != TD_OK ||
        take(&left, head.token_bytes, &hello.token) != TD_OK ||
        head.actions_total > TDI_AGENT_ACTIONS_MAX || (head.actions_total == 0 && left.bytes != 0))
        return tdi_fail(error, TD_CORRUPT, "malformed HELLO: its strings do not fit");
    hello.actions_total = head.actions_total;
    hello.actions = left;
    *out = hello;
    return TD_OK;
}

td_status tdi_welcome_encode(const tdi_welcome *welcome, uint8_t *data, size_t bytes_max,
                             size_t *bytes)
{
    welcome_head head = {
        .head_bytes = sizeof head,
        .endian = TDI_ENDIAN_MARK,
        .protocol = welcome->protocol,
        .status = welcome->status,
        .session = welcome->session,
        .slots = welcome->slots,
        .features = welcome->features,
        .monotonic_ns = welcome->monotonic_ns,
        .ring_bytes = welcome->ring_bytes,
        .bytes_quota = welcome->bytes_quota,
        .body_bytes_max = welcome->body_bytes_max,
        .blob_bytes_max = welcome->blob_bytes_max,
        .reply_bytes_reserved = welcome->reply_bytes_reserved,
        .version_bytes = (uint16_t)welcome->version.bytes,
        .build_id_bytes = (uint16_t)welcome->build_id.bytes,
        .text_bytes = (uint16_t)welcome->text.bytes,
        .actions_total = welcome->actions_total,
    };
    memcpy(head.magic, WELCOME_MAGIC, sizeof head.magic);
    const td_view parts[] = {welcome->version, welcome->build_id, welcome->text, welcome->actions};
    size_t at = sizeof head;
    if (bytes_max < sizeof head)
        return TD_TOO_LARGE;
    const td_status status = append_all(data, bytes_max, &at, parts, 4);
    if (status != TD_OK)
        return status;
    head.message_bytes = (uint32_t)at;
    memcpy(data, &head, sizeof head);
    *bytes = at;
    return TD_OK;
}

td_status tdi_welcome_decode(const uint8_t *data, size_t bytes, tdi_welcome *out, tdi_error *error)
{
    welcome_head head;
    td_view left = {0};
    const td_status status = check_head(data, bytes, WELCOME_MAGIC, sizeof head, &left, error);
    if (status != TD_OK)
        return status;
    memcpy(&head, data, sizeof head);
    tdi_welcome welcome = {
        .protocol = head.protocol,
        .status = head.status,
        .session = head.session,
        .features = head.features,
        .monotonic_ns = head.monotonic_ns,
        .ring_bytes = head.ring_bytes,
        .slots = head.slots,
        .reply_bytes_reserved = head.reply_bytes_reserved,
        .bytes_quota = head.bytes_quota,
        .body_bytes_max = head.body_bytes_max,
        .blob_bytes_max = head.blob_bytes_max,
        .actions_total = head.actions_total,
    };
    if (take(&left, head.version_bytes, &welcome.version) != TD_OK ||
        take(&left, head.build_id_bytes, &welcome.build_id) != TD_OK ||
        take(&left, head.text_bytes, &welcome.text) != TD_OK ||
        head.actions_total > TDI_ACTIONS_MAX)
        return tdi_fail(error, TD_CORRUPT, "malformed WELCOME: its strings do not fit");
    welcome.actions = left;
    *out = welcome;
    return TD_OK;
}

td_status tdi_action_encode(const tdi_action_row *row, uint8_t *data, size_t bytes_max, size_t *at)
{
    const action_head head = {
        .id = row->id,
        .effects = row->effects,
        .runs = row->runs,
        .deterministic = row->deterministic,
        .gone = row->gone,
        .in_programs = row->in_programs,
        .takes_blobs = row->takes_blobs,
        .agent_bytes = (uint16_t)row->agent.bytes,
        .name_bytes = (uint16_t)row->name.bytes,
        .version_bytes = (uint16_t)row->version.bytes,
    };
    const td_view parts[] = {
        {(const uint8_t *)&head, sizeof head}, row->agent, row->name, row->version, {NULL, 0}};
    size_t end = *at;
    const td_status status = append_all(data, bytes_max, &end, parts, 5);
    if (status == TD_OK)
        *at = end;
    return status;
}

td_status tdi_action_next(td_view actions, size_t *at, tdi_action_row *out)
{
    if (*at == actions.bytes)
        return TD_ERR_AGAIN;
    action_head head;
    td_view left = {actions.data + *at, actions.bytes - *at}, raw;
    if (take(&left, sizeof head, &raw) != TD_OK)
        return TD_CORRUPT;
    memcpy(&head, raw.data, sizeof head);
    tdi_action_row row = {.id = head.id,
                          .effects = head.effects,
                          .runs = head.runs,
                          .deterministic = head.deterministic,
                          .gone = head.gone,
                          .in_programs = head.in_programs,
                          .takes_blobs = head.takes_blobs};
    if (take(&left, head.agent_bytes, &row.agent) != TD_OK ||
        take(&left, head.name_bytes, &row.name) != TD_OK ||
        take(&left, head.version_bytes, &row.version) != TD_OK)
        return TD_CORRUPT;
    *at = actions.bytes - left.bytes;
    *out = row;
    return TD_OK;
}

size_t tdi_goodbye_encode(const char *text, uint8_t *data, size_t bytes_max)
{
    size_t bytes = strlen(text);
    if (bytes > bytes_max - 8)
        bytes = bytes_max - 8;
    memcpy(data, GOODBYE_MAGIC, 8);
    memcpy(data + 8, text, bytes);
    return 8 + bytes;
}

td_status tdi_goodbye_decode(const uint8_t *data, size_t bytes, tdi_error *error)
{
    if (bytes < 8 || memcmp(data, GOODBYE_MAGIC, 8) != 0)
        return TD_CORRUPT;
    tdi_fail(error, TD_OK, "%.*s", (int)(bytes - 8 > 300 ? 300 : bytes - 8), data + 8);
    return TD_OK;
}
