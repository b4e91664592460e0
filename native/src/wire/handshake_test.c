#include "wire/handshake.h"

#include <stdlib.h>

#include "base/test.h"

static td_view view(const char *text)
{
    return (td_view){(const uint8_t *)text, strlen(text)};
}

static int same(td_view view, const char *text)
{
    return view.bytes == strlen(text) && memcmp(view.data, text, view.bytes) == 0;
}

static void hello_comes_back(void)
{
    const tdi_hello hello = {.protocol_min = 1,
                             .protocol_max = 3,
                             .role = TDI_ROLE_AGENT,
                             .features_required = 5,
                             .features_offered = 6,
                             .monotonic_ns = 7,
                             .name = view("orchestrator-1"),
                             .build_id = view("abc123"),
                             .token = view("t")};
    uint8_t bytes[512];
    size_t total;
    tdi_hello back;
    tdi_error error;
    CHECK_EQ(tdi_hello_encode(&hello, bytes, sizeof bytes, &total), TD_OK);
    CHECK_EQ(total, 64 + 14 + 6 + 1);
    CHECK_EQ(tdi_hello_decode(bytes, total, &back, &error), TD_OK);
    CHECK(same(back.name, "orchestrator-1") && same(back.build_id, "abc123"));
    CHECK(same(back.token, "t") && back.role == TDI_ROLE_AGENT && back.protocol_max == 3);
    CHECK(back.features_required == 5 && back.features_offered == 6 && back.monotonic_ns == 7);
}

static void every_truncated_hello_is_refused(void)
{
    const tdi_hello hello = {.name = view("name"), .build_id = view("id")};
    uint8_t bytes[512];
    size_t total;
    tdi_hello back;
    tdi_hello_encode(&hello, bytes, sizeof bytes, &total);
    for (size_t cut = 0; cut < total; cut++) {
        uint8_t *exact = malloc(cut + 1); /* so that a sanitizer sees a read past the end */
        memcpy(exact, bytes, cut);
        CHECK_EQ(tdi_hello_decode(exact, cut, &back, NULL), TD_CORRUPT);
        free(exact);
    }
    bytes[total] = 0;
    CHECK_EQ(tdi_hello_decode(bytes, total + 1, &back, NULL), TD_CORRUPT);
}

static void another_byte_order_or_magic_is_refused(void)
{
    const tdi_hello hello = {.name = view("name")};
    uint8_t bytes[512];
    size_t total;
    tdi_hello back;
    tdi_error error;
    tdi_hello_encode(&hello, bytes, sizeof bytes, &total);
    bytes[0] ^= 1;
    CHECK_EQ(tdi_hello_decode(bytes, total, &back, &error), TD_CORRUPT);
    CHECK(strstr(error.text, "magic") != NULL);
    bytes[0] ^= 1;
    bytes[16] ^= 1;
    CHECK_EQ(tdi_hello_decode(bytes, total, &back, &error), TD_CORRUPT);
    CHECK(strstr(error.text, "byte order") != NULL);
}

static void a_longer_head_of_a_newer_peer_is_skipped(void)
{
    const tdi_hello hello = {.name = view("name"), .build_id = view("id")};
    uint8_t bytes[512], longer[512] = {0};
    size_t total;
    tdi_hello back;
    tdi_hello_encode(&hello, bytes, sizeof bytes, &total);
    memcpy(longer, bytes, 64);
    memcpy(longer + 64 + 16, bytes + 64, total - 64);
    const uint32_t message_bytes = (uint32_t)total + 16, head_bytes = 64 + 16;
    memcpy(longer + 8, &message_bytes, 4);
    memcpy(longer + 12, &head_bytes, 4);
    CHECK_EQ(tdi_hello_decode(longer, message_bytes, &back, NULL), TD_OK);
    CHECK(same(back.name, "name") && same(back.build_id, "id"));
}

static void welcome_and_its_actions_come_back(void)
{
    uint8_t table[256], bytes[512];
    size_t table_bytes = 0, total, at = 0;
    const tdi_action_row row = {.id = 9,
                                .effects = 1,
                                .runs = 1,
                                .deterministic = 1,
                                .agent = view("system"),
                                .name = view("echo"),
                                .version = view("1")};
    CHECK_EQ(tdi_action_encode(&row, table, sizeof table, &table_bytes), TD_OK);
    CHECK_EQ(tdi_action_encode(&row, table, sizeof table, &table_bytes), TD_OK);
    const tdi_welcome welcome = {.protocol = 1,
                                 .session = 4,
                                 .ring_bytes = 1 << 21,
                                 .slots = 4096,
                                 .bytes_quota = 11,
                                 .body_bytes_max = 12,
                                 .reply_bytes_reserved = 13,
                                 .version = view("0.1"),
                                 .build_id = view("id"),
                                 .text = view("why"),
                                 .actions_total = 2,
                                 .actions = {table, table_bytes}};
    tdi_welcome back;
    tdi_action_row found;
    CHECK_EQ(tdi_welcome_encode(&welcome, bytes, sizeof bytes, &total), TD_OK);
    CHECK_EQ(tdi_welcome_decode(bytes, total, &back, NULL), TD_OK);
    CHECK(back.ring_bytes == 1 << 21 && back.slots == 4096 && back.bytes_quota == 11);
    CHECK(back.body_bytes_max == 12 && back.reply_bytes_reserved == 13 && back.session == 4);
    CHECK(same(back.text, "why") && back.actions_total == 2);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(tdi_action_next(back.actions, &at, &found), TD_OK);
        CHECK(found.id == 9 && found.effects == 1 && same(found.agent, "system"));
        CHECK(same(found.name, "echo") && same(found.version, "1"));
    }
    CHECK_EQ(tdi_action_next(back.actions, &at, &found), TD_ERR_AGAIN);
    at = 0;
    back.actions.bytes = 20;
    CHECK_EQ(tdi_action_next(back.actions, &at, &found), TD_CORRUPT);
}

static void a_goodbye_is_printable(void)
{
    uint8_t bytes[64];
    tdi_error error;
    const size_t total = tdi_goodbye_encode("bad\x1b[31m", bytes, sizeof bytes);
    CHECK_EQ(tdi_goodbye_decode(bytes, total, &error), TD_OK);
    CHECK(strcmp(error.text, "bad?[31m") == 0);
    CHECK_EQ(tdi_goodbye_decode(bytes, 7, &error), TD_CORRUPT);
    bytes[7] = 'I';
    CHECK_EQ(tdi_goodbye_decode(bytes, total, &error), TD_CORRUPT);
}

/* Decode from memory of exactly that size. */
static td_status hello_of(const uint8_t *data, size_t bytes)
{
    uint8_t *exact = malloc(bytes + 1);
    memcpy(exact + 1, data, bytes);
    tdi_hello back;
    const td_status status = tdi_hello_decode(exact + 1, bytes, &back, NULL);
    free(exact);
    return status;
}

static td_status welcome_of(const uint8_t *data, size_t bytes)
{
    uint8_t *exact = malloc(bytes + 1);
    memcpy(exact + 1, data, bytes);
    tdi_welcome back;
    const td_status status = tdi_welcome_decode(exact + 1, bytes, &back, NULL);
    free(exact);
    return status;
}

static void put32(uint8_t *data, size_t at, uint32_t value)
{
    memcpy(data + at, &value, 4);
}

static void lengths_that_lie_are_refused(void)
{
    const tdi_hello hello = {.name = view("name"), .build_id = view("id")};
    const tdi_welcome welcome = {.version = view("0.1"), .text = view("why not, if I may ask?")};
    uint8_t bytes[512] = {0};
    size_t total;
    tdi_hello_encode(&hello, bytes, sizeof bytes, &total);
    CHECK_EQ(hello_of(bytes, total), TD_OK);
    const uint32_t heads[] = {0, 63, (uint32_t)total + 1, (uint32_t)total + 64, UINT32_MAX};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        put32(bytes, 12, heads[i]);
        CHECK_EQ(hello_of(bytes, total), TD_CORRUPT);
    }
    put32(bytes, 12, 64);
    put32(bytes, 8, (uint32_t)total + 1); /* and the byte is there: of an orchestrator it is none */
    CHECK_EQ(hello_of(bytes, total + 1), TD_CORRUPT);

    tdi_welcome_encode(&welcome, bytes, sizeof bytes, &total);
    CHECK_EQ(welcome_of(bytes, total), TD_OK);
    CHECK_EQ(welcome_of(bytes, total + 1), TD_CORRUPT); /* announced one less */
    for (size_t cut = 0; cut < total; cut++)
        CHECK_EQ(welcome_of(bytes, cut), TD_CORRUPT);
    const uint32_t longer[] = {0, 95, (uint32_t)total + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof longer / sizeof *longer; i++) {
        put32(bytes, 12, longer[i]);
        CHECK_EQ(welcome_of(bytes, total), TD_CORRUPT);
    }
    put32(bytes, 12, 96);
    put32(bytes, 84, TDI_ACTIONS_MAX);
    CHECK_EQ(welcome_of(bytes, total), TD_OK);
    put32(bytes, 84, TDI_ACTIONS_MAX + 1);
    CHECK_EQ(welcome_of(bytes, total), TD_CORRUPT);
}

static void names_have_a_limit(void)
{
    uint8_t name[TDI_NAME_BYTES_MAX + 1], bytes[512];
    size_t total;
    memset(name, 'n', sizeof name);
    tdi_hello hello = {.name = {name, TDI_NAME_BYTES_MAX}};
    CHECK_EQ(tdi_hello_encode(&hello, bytes, sizeof bytes, &total), TD_OK);
    CHECK_EQ(hello_of(bytes, total), TD_OK);
    hello.name.bytes++;
    CHECK_EQ(tdi_hello_encode(&hello, bytes, sizeof bytes, &total), TD_OK);
    CHECK_EQ(hello_of(bytes, total), TD_CORRUPT);
}

static void what_does_not_fit_is_too_large(void)
{
    static uint8_t text[UINT16_MAX + 1], room[2 * (UINT16_MAX + 1)];
    tdi_hello hello = {.name = view("name"), .token = view("token")};
    tdi_welcome welcome = {.version = view("0.1"), .text = view("why")};
    size_t total, hello_bytes, welcome_bytes;
    CHECK_EQ(tdi_hello_encode(&hello, room, sizeof room, &hello_bytes), TD_OK);
    CHECK_EQ(tdi_welcome_encode(&welcome, room, sizeof room, &welcome_bytes), TD_OK);
    for (size_t less = 0; less < hello_bytes; less++) {
        uint8_t *exact = malloc(less + 1);
        CHECK_EQ(tdi_hello_encode(&hello, exact + 1, less, &total), TD_TOO_LARGE);
        free(exact);
    }
    for (size_t less = 0; less < welcome_bytes; less++) {
        uint8_t *exact = malloc(less + 1);
        CHECK_EQ(tdi_welcome_encode(&welcome, exact + 1, less, &total), TD_TOO_LARGE);
        free(exact);
    }
    hello.token = (td_view){text, sizeof text}; /* its length has 16 bits */
    CHECK_EQ(tdi_hello_encode(&hello, room, sizeof room, &total), TD_TOO_LARGE);
    welcome.text = (td_view){text, sizeof text};
    CHECK_EQ(tdi_welcome_encode(&welcome, room, sizeof room, &total), TD_TOO_LARGE);
}

int main(void)
{
    RUN(hello_comes_back);
    RUN(every_truncated_hello_is_refused);
    RUN(another_byte_order_or_magic_is_refused);
    RUN(a_longer_head_of_a_newer_peer_is_skipped);
    RUN(welcome_and_its_actions_come_back);
    RUN(a_goodbye_is_printable);
    RUN(lengths_that_lie_are_refused);
    RUN(names_have_a_limit);
    RUN(what_does_not_fit_is_too_large);
    return TEST_RESULT;
}
