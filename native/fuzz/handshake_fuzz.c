/* handshake_fuzz.c - any bytes as HELLO, WELCOME, EVENT rows or GOODBYE.
 *
 * Each input is read as every one of them, as it is, and once more with its head put right (magic,
 * length, byte order), which is what a hostile peer would do. What a bridge would admit
 * goes on as far as it can without a socket: the agent joins, the WELCOME for it is made, a client
 * reads that, and the agent leaves; then the registry must be as before.
 *
 * The two sides' own files are compiled in, for the steps that nobody else may call.
 */
#include <stdlib.h>

#include "../src/bridge/admission.c"
#include "../src/client/connect.c"

#define MUST(claim)                                                               \
    do {                                                                          \
        if (!(claim)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #claim); \
            abort();                                                              \
        }                                                                         \
    } while (0)

static tdi_bridge bridge;

static int inside(td_view part, const uint8_t *data, size_t bytes)
{
    return part.bytes <= bytes &&
           (part.bytes == 0 || (part.data >= data && part.data <= data + (bytes - part.bytes)));
}

/* Read all rows; 1 when they come out even. Whatever they say, they lie inside `actions`. */
static int rows_of(td_view actions, uint32_t *total)
{
    size_t at = 0, before = 0;
    tdi_action_row row;
    td_status status;
    *total = 0;
    while ((status = tdi_action_next(actions, &at, &row)) == TD_OK) {
        MUST(at > before && at <= actions.bytes);
        MUST(inside(row.agent, actions.data, actions.bytes));
        MUST(inside(row.name, actions.data, actions.bytes));
        MUST(inside(row.version, actions.data, actions.bytes));
        uint8_t again[3 * 65536 + 64];
        size_t end = 0;
        MUST(tdi_action_encode(&row, again, sizeof again, &end) == TD_OK && end == at - before);
        before = at;
        (*total)++;
    }
    MUST(status == TD_ERR_AGAIN || status == TD_CORRUPT);
    return status == TD_ERR_AGAIN;
}

/* As read_welcome() of a client, after the mappings. */
static td_status client_reads(const uint8_t *data, size_t bytes, uint32_t *actions)
{
    tdi_welcome words;
    tdi_error error;
    td_status status = tdi_welcome_decode(data, bytes, &words, &error);
    MUST(status == TD_OK || status == TD_CORRUPT);
    if (status != TD_OK)
        return status;
    MUST(inside(words.version, data, bytes) && inside(words.build_id, data, bytes) &&
         inside(words.text, data, bytes) && inside(words.actions, data, bytes));
    uint8_t *again = malloc(bytes);
    size_t again_bytes;
    MUST(again != NULL);
    /* Nothing is lost: what a newer peer's longer head had beyond ours is all that may go. */
    MUST(tdi_welcome_encode(&words, again, bytes, &again_bytes) == TD_OK && again_bytes <= bytes);
    free(again);

    tdi_client *client = calloc(1, sizeof *client);
    MUST(client != NULL);
    client->socket_fd = client->bell_in_fd = client->bell_out_fd = -1;
    client->owner_pid = getpid();
    uint32_t rows;
    const int even = rows_of(words.actions, &rows);
    status = keep_actions(client, &words);
    MUST(status == TD_OK || status == TD_CORRUPT); /* also for names that are none */
    MUST(status != TD_OK || (even && rows == words.actions_total));
    if (status == TD_OK) {
        *actions = words.actions_total;
        /* The same rows as an EVENT: ids that are known change nothing, others are added. */
        const td_status learned = tdi_client_learn(client, words.actions);
        MUST(learned == TD_OK || learned == TD_CORRUPT);
        MUST(client->actions_total <= TDI_ACTIONS_MAX);
        size_t named = 0;
        for (size_t i = 0; i < client->actions_total; i++)
            named += strlen(client->actions[i].agent) + strlen(client->actions[i].name);
        MUST(named <= words.actions.bytes);
    }
    tdi_client_close(client);
    return status;
}

/* One step of tdi_session_create(): the agent's, without memory and bells. */
static void agent_joins(const tdi_hello *hello)
{
    static tdi_control control; /* the peer's page, all zero */
    tdi_session *session = calloc(1, sizeof *session);
    tdi_error error = {""};
    const uint32_t live = bridge.registry.live;
    MUST(session != NULL);
    session->bridge = &bridge;
    session->role = hello->role;
    session->socket_fd = session->bell_in_fd = session->bell_out_fd = -1;
    session->slots = TDI_SLOTS_AGENT;
    session->up.control = &control;
    session->share.ring_bytes = TDI_RING_BYTES_MIN;
    memcpy(session->name, hello->name.data, hello->name.bytes);
    const td_status status = tdi_agent_join(session, hello, &error);
    /* What was judged sound can still offer one action twice. */
    MUST(status == TD_OK || status == TD_ERR_REFUSED || status == TD_TOO_LARGE);
    if (status == TD_OK) {
        static uint8_t table[TDI_MESSAGE_BYTES_MAX - 2048], message[TDI_MESSAGE_BYTES_MAX];
        size_t table_bytes = 0, bytes = 0;
        uint32_t actions = 0;
        MUST(session->agent->ids_total == hello->actions_total);
        MUST(tdi_agent_find(&bridge, hello->name) == session->agent);
        MUST(tdi_registry_encode_ids(&bridge.registry, session->agent->ids,
                                     session->agent->ids_total, table, sizeof table,
                                     &table_bytes) == TD_OK);
        const tdi_welcome words = {.protocol = TDI_PROTOCOL,
                                   .build_id = view(tdi_build_id()),
                                   .actions_total = session->agent->ids_total,
                                   .actions = {table, table_bytes}};
        MUST(tdi_welcome_encode(&words, message, sizeof message, &bytes) == TD_OK);
        MUST(client_reads(message, bytes, &actions) == TD_OK && actions == hello->actions_total);
        /* A second instance with the same table is welcome, one with another is not. */
        MUST(tdi_agent_judge(&bridge, hello, &error) == TD_OK);
        tdi_hello other = *hello;
        other.actions.bytes--;
        MUST(tdi_agent_judge(&bridge, &other, &error) == TD_ERR_REFUSED);
        tdi_agent_leave(session, true);
    }
    MUST(tdi_agent_find(&bridge, hello->name) == NULL && bridge.registry.live == live);
    free(session->relays);
    free(session->free_relays);
    free(session);
}

static void bridge_reads(const uint8_t *data, size_t bytes)
{
    tdi_hello hello;
    tdi_error error = {""};
    td_status status = tdi_hello_decode(data, bytes, &hello, &error);
    MUST(status == TD_OK || status == TD_CORRUPT);
    if (status != TD_OK) {
        MUST(error.text[0] != '\0');
        return;
    }
    MUST(hello.name.bytes <= TDI_NAME_BYTES_MAX && hello.actions_total <= TDI_AGENT_ACTIONS_MAX);
    MUST(inside(hello.name, data, bytes) && inside(hello.build_id, data, bytes) &&
         inside(hello.token, data, bytes) && inside(hello.actions, data, bytes));
    uint8_t *again = malloc(bytes);
    size_t again_bytes;
    MUST(again != NULL);
    MUST(tdi_hello_encode(&hello, again, bytes, &again_bytes) == TD_OK);
    tdi_hello twice;
    MUST(tdi_hello_decode(again, again_bytes, &twice, &error) == TD_OK);
    MUST(twice.actions.bytes == hello.actions.bytes && twice.role == hello.role);
    free(again);

    status = judge(&bridge, &hello, &error);
    MUST(status == TD_OK || status == TD_ERR_REFUSED || status == TD_CORRUPT || status == TD_BUSY);
    if (status != TD_OK) {
        for (const char *at = error.text; *at != '\0'; at++)
            MUST((unsigned char)*at >= 0x20 && *at != 0x7F); /* it goes into logs */
        return;
    }
    uint32_t rows;
    MUST(rows_of(hello.actions, &rows) && rows == hello.actions_total);
    if (hello.role == TDI_ROLE_AGENT)
        agent_joins(&hello);
}

static void repair(uint8_t *data, size_t bytes, const char *magic, size_t known)
{
    const uint32_t total = (uint32_t)bytes, mark = TDI_ENDIAN_MARK;
    uint32_t head;
    memcpy(data, magic, 8);
    memcpy(data + 8, &total, 4);
    memcpy(&head, data + 12, 4);
    if (head < known || head > bytes) {
        head = (uint32_t)known;
        memcpy(data + 12, &head, 4);
    }
    memcpy(data + 16, &mark, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    enum { HELLO_HEAD = 64, WELCOME_HEAD = 96 };
    tdi_error error = {""};
    uint32_t actions = 0;
    if (bytes > TDI_HELLO_BYTES_MAX)
        return 0; /* the socket takes no more */
    if (bridge.registry.total == 0)
        MUST(tdi_registry_add_built_in(&bridge.registry, &error) == TD_OK);
    bridge.options.build_id = "fuzz"; /* four bytes that a mutation can find */

    bridge_reads(data, bytes);
    client_reads(data, bytes, &actions);
    if (tdi_goodbye_decode(data, bytes, &error) == TD_OK)
        for (const char *at = error.text; *at != '\0'; at++)
            MUST((unsigned char)*at >= 0x20 && *at != 0x7F);

    uint8_t *copy = malloc(bytes + 1);
    MUST(copy != NULL);
    memcpy(copy, data, bytes);
    if (bytes >= HELLO_HEAD) {
        repair(copy, bytes, "TANDEMHI", HELLO_HEAD);
        bridge_reads(copy, bytes);
    }
    memcpy(copy, data, bytes);
    if (bytes >= WELCOME_HEAD) {
        repair(copy, bytes, "TANDEMOK", WELCOME_HEAD);
        client_reads(copy, bytes, &actions);
    }
    free(copy);
    tdi_registry_free(&bridge.registry); /* each input meets a fresh bridge */
    bridge.registry.version = 0;
    return 0;
}
