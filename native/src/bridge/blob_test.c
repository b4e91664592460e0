/* Sealed blobs over a real bridge: bodies that no ring carries, quotas, deaths, hostile words.
 * argv[1] is agent_bridge, argv[2] the test agent. */
#include <poll.h>
#include <sys/mman.h>

#include "base/test.h"
#include "blob/peer.h"
#include "client/agent_fixture.h"
#include "client/client_state.h"
#include "tandem/message.h"
#include "wire/channel.h"

enum { MIB = 1 << 20, LONG_BYTES = 65 * MIB };

/* A bin of so many bytes, as MessagePack; the caller frees it. */
static uint8_t *long_bin(size_t bytes, size_t *total)
{
    uint8_t *made = malloc(bytes + 5);
    if (made == NULL)
        abort();
    const uint8_t head[5] = {0xC6, (uint8_t)(bytes >> 24), (uint8_t)(bytes >> 16),
                             (uint8_t)(bytes >> 8), (uint8_t)bytes};
    memcpy(made, head, sizeof head);
    for (size_t i = 0; i < bytes; i++)
        made[5 + i] = (uint8_t)(i * 31 + i / 251);
    *total = bytes + 5;
    return made;
}

static int settles_at(pid_t pid, int fds)
{
    for (int i = 0; i < 5000 && open_fds_of(pid) != fds; i++)
        usleep(1000);
    return open_fds_of(pid);
}

static void a_body_that_no_ring_carries_goes_there_and_back(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "1", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    REQUIRE(echo != 0);
    const int before = open_fds_of(bridge.pid), own = open_fds_of(getpid());
    size_t total;
    uint8_t *body = long_bin(LONG_BYTES, &total);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(ask_id(client, echo, (td_view){body, total}, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_OK);
        CHECK(reply.bytes == total && memcmp(reply.body, body, total) == 0);
        answer_free(&reply);
    }
    /* With inputs the body is a pair, and the agent's share of it comes back. */
    uint64_t call_id;
    const uint8_t empty = 0x80;
    const tdi_call_request pair = {
        .action_id = echo, .attempt = 1, .body = {body, total}, .inputs = {&empty, 1}};
    CHECK_EQ(tdi_client_call(client, &pair, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK(reply.status == TD_OK && reply.bytes == total && memcmp(reply.body, body, total) == 0);
    answer_free(&reply);
    /* A blocking action, in the agent's pool, makes a long answer of a short question. */
    const uint8_t wanted[5] = {0xCE, LONG_BYTES >> 24, LONG_BYTES >> 16 & 255, 0, 0};
    const uint32_t make = await_action(client, "agent1", "make", 1);
    CHECK_EQ(ask_id(client, make, (td_view){wanted, 5}, &reply), TD_OK);
    CHECK(reply.status == TD_OK && reply.bytes == LONG_BYTES + 5);
    CHECK(reply.bytes > 5000 && reply.body[5 + 4097] == 1);
    answer_free(&reply);
    CHECK_EQ(settles_at(bridge.pid, before), before);
    CHECK_EQ(open_fds_of(getpid()), own);
    free(body);
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void without_the_feature_such_a_body_is_too_large(void)
{
    const char *const options[] = {"--blobs", "0", NULL};
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, options));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "1", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    size_t total;
    uint8_t *body = long_bin(LONG_BYTES, &total);
    CHECK_EQ(ask_id(client, echo, (td_view){body, total}, &reply), TD_TOO_LARGE);
    const uint8_t wanted[5] = {0xCE, LONG_BYTES >> 24, LONG_BYTES >> 16 & 255, 0, 0};
    CHECK_EQ(
        ask_id(client, await_action(client, "agent1", "make", 1), (td_view){wanted, 5}, &reply),
        TD_OK);
    CHECK_EQ(reply.status, TD_TOO_LARGE);
    answer_free(&reply);
    /* What a ring carries still goes. */
    body[1] = 0, body[2] = 0x10, body[3] = body[4] = 0; /* 1 MiB */
    CHECK_EQ(ask_id(client, echo, (td_view){body, MIB + 5}, &reply), TD_OK);
    CHECK(reply.status == TD_OK && reply.bytes == MIB + 5);
    answer_free(&reply);
    free(body);
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void what_the_bridge_does_itself_takes_none(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    size_t total;
    uint8_t *body = long_bin(LONG_BYTES, &total);
    CHECK_EQ(ask(client, "echo", body, total, &reply), TD_TOO_LARGE);
    free(body);
    CHECK_EQ(ask(client, "noop", "\xC0", 1, &reply), TD_OK);
    answer_free(&reply);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static tdi_blob_name some_blob(tdi_client *client, size_t bytes, td_status expected)
{
    tdi_blob_name name = {0};
    uint8_t *body = calloc(bytes, 1);
    const td_view part = {body, bytes};
    CHECK_EQ(tdi_blob_send(client->socket_fd, &client->blobs, &part, 1, &name, &client->error),
             expected);
    free(body);
    return name;
}

static void each_quota_has_its_answer_and_room_comes_back(void)
{
    const char *const options[] = {"--blobs", "3", "--blob-bytes", "1000000", "--blob-bytes-total",
                                   "1500000", NULL};
    fixture bridge;
    REQUIRE(fixture_start(&bridge, options));
    tdi_client *one = fixture_connect(&bridge), *two = fixture_connect(&bridge);
    REQUIRE(one != NULL && two != NULL);
    answer reply;
    CHECK_EQ(ask(two, "noop", "\xC0", 1, &reply), TD_OK); /* WELCOME's fds are closed there */
    answer_free(&reply);
    const int before = open_fds_of(bridge.pid);
    some_blob(one, 1000001, TD_TOO_LARGE); /* for ever: a session's bytes */
    const tdi_blob_name first = some_blob(one, 900000, TD_OK);
    some_blob(one, 100001, TD_BUSY); /* now: a session's bytes */
    const tdi_blob_name second = some_blob(one, 10, TD_OK);
    const tdi_blob_name third = some_blob(one, 10, TD_OK);
    some_blob(one, 10, TD_BUSY);     /* a session's number */
    some_blob(two, 600000, TD_BUSY); /* the bridge's bytes */
    CHECK_EQ(open_fds_of(bridge.pid), before + 3);
    tdi_blob_drop(one->socket_fd, first.id);
    CHECK_EQ(settles_at(bridge.pid, before + 2), before + 2);
    some_blob(two, 600000, TD_OK);
    tdi_blob_drop(one->socket_fd, second.id);
    tdi_blob_drop(one->socket_fd, third.id);
    CHECK_EQ(settles_at(bridge.pid, before + 1), before + 1);
    tdi_client_close(one);
    tdi_client_close(two); /* with one that was never named */
    tdi_client *three = fixture_connect(&bridge);
    REQUIRE(three != NULL);
    CHECK(settles_at(bridge.pid, before - 3) <= before - 3); /* a session less, and its fds */
    some_blob(three, 999999, TD_OK);
    tdi_client_close(three);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* Have a blob by hand: the fd stays open, as a sender's that has not committed. */
static int granted(tdi_client *client, uint64_t bytes, uint64_t *id)
{
    uint8_t data[TDI_BLOB_MESSAGE_BYTES];
    tdi_blob_message message = {
        .op = TDI_BLOB_WANT, .request = ++client->blobs.request, .bytes = bytes};
    client->blobs.answered = false;
    tdi_blob_encode(&message, data);
    CHECK_EQ(tdi_channel_send(client->socket_fd, data, sizeof data, NULL, 0, NULL), TD_OK);
    while (!client->blobs.answered &&
           tdi_channel_wait(client->socket_fd, tdi_now_ns() + TDI_NS_PER_S, NULL) == TD_OK)
        CHECK_EQ(tdi_blob_listen(client->socket_fd, &client->blobs, NULL), TD_OK);
    const int fd = client->blobs.answer_fd;
    client->blobs.answer_fd = -1;
    *id = client->blobs.answer.id;
    return fd;
}

static uint16_t commit(tdi_client *client, uint64_t id)
{
    uint8_t data[TDI_BLOB_MESSAGE_BYTES];
    const tdi_blob_message message = {
        .op = TDI_BLOB_COMMIT, .request = ++client->blobs.request, .id = id};
    client->blobs.answered = false;
    tdi_blob_encode(&message, data);
    CHECK_EQ(tdi_channel_send(client->socket_fd, data, sizeof data, NULL, 0, NULL), TD_OK);
    while (!client->blobs.answered &&
           tdi_channel_wait(client->socket_fd, tdi_now_ns() + TDI_NS_PER_S, NULL) == TD_OK)
        CHECK_EQ(tdi_blob_listen(client->socket_fd, &client->blobs, NULL), TD_OK);
    return client->blobs.answer.status;
}

static void a_commit_while_it_is_mapped_is_refused_and_can_be_made_good(void)
{
    fixture bridge;
    tdi_blob_view view;
    tdi_error error;
    uint64_t id;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const int fd = granted(client, 8192, &id);
    REQUIRE(fd >= 0);
    CHECK_EQ(ftruncate(fd, 4096), -1);
    CHECK_EQ(ftruncate(fd, 16384), -1);
    uint8_t *mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REQUIRE(mapped != MAP_FAILED);
    mapped[8191] = 7;
    CHECK_EQ(tdi_blob_open(fd, 8192, &view, &error), TD_CORRUPT); /* not sealed: nobody reads it */
    CHECK_EQ(commit(client, id), TD_BUSY);
    munmap(mapped, 8192);
    CHECK_EQ(commit(client, id), TD_OK);
    CHECK_EQ(pwrite(fd, "x", 1, 0), -1); /* sealed: for the sender as well */
    CHECK(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK_EQ(tdi_blob_open(fd, 8191, &view, &error), TD_CORRUPT);
    CHECK_EQ(tdi_blob_open(fd, 8192, &view, &error), TD_OK);
    CHECK_EQ(view.data[8191], 7);
    tdi_blob_close(&view);
    close(fd);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void what_a_dead_sender_left_is_freed_and_readers_keep_theirs(void)
{
    fixture bridge;
    uint64_t id;
    tdi_blob_view view;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *other = fixture_connect(&bridge);
    REQUIRE(other != NULL);
    answer reply;
    CHECK_EQ(ask(other, "noop", "\xC0", 1, &reply), TD_OK); /* WELCOME's fds are closed there */
    answer_free(&reply);
    const int before = open_fds_of(bridge.pid);
    for (int committed = 0; committed < 2; committed++) {
        tdi_client *client = fixture_connect(&bridge);
        REQUIRE(client != NULL);
        const int fd = granted(client, 100000, &id);
        if (committed)
            CHECK_EQ(commit(client, id), TD_OK);
        tdi_client_close(client); /* as its death looks from the bridge */
        CHECK_EQ(settles_at(bridge.pid, before), before);
        CHECK_EQ(tdi_blob_open(fd, 100000, &view, NULL), committed ? TD_OK : TD_CORRUPT);
        if (committed)
            tdi_blob_close(&view);
        close(fd);
    }
    CHECK_EQ(ask(other, "noop", "\xC0", 1, &reply), TD_OK);
    answer_free(&reply);
    tdi_client_close(other);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_reader_that_dies_with_one_costs_that_call(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    CHECK_EQ(ask(client, "noop", "\xC0", 1, &reply), TD_OK); /* WELCOME's fds are closed there */
    answer_free(&reply);
    const int before = open_fds_of(bridge.pid);
    const pid_t agent = start_agent(&bridge, "agent1", "1", "1");
    const uint32_t die = await_action(client, "agent1", "die", 1);
    size_t total;
    uint8_t *body = long_bin(LONG_BYTES, &total);
    CHECK_EQ(ask_id(client, die, (td_view){body, total}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_UNKNOWN);
    answer_free(&reply);
    waitpid(agent, NULL, 0);
    CHECK_EQ(settles_at(bridge.pid, before), before);
    /* Its share of the quota is free again: eight at a time, and here are twelve. */
    const pid_t again = start_agent(&bridge, "agent1", "1", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    for (int i = 0; i < 12; i++) {
        CHECK_EQ(ask_id(client, echo, (td_view){body, total}, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_OK);
        answer_free(&reply);
    }
    free(body);
    CHECK_EQ(end_agent(again, SIGTERM), 0);
    CHECK_EQ(settles_at(bridge.pid, before), before);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void the_bridges_death_ends_the_wait_for_one(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "1", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    kill(bridge.pid, SIGKILL);
    waitpid(bridge.pid, NULL, 0);
    size_t total;
    uint8_t *body = long_bin(LONG_BYTES, &total);
    const uint64_t from_ns = tdi_now_ns();
    CHECK_EQ(ask_id(client, echo, (td_view){body, total}, &reply), TD_ERR_CLOSED);
    CHECK(tdi_now_ns() - from_ns < TDI_NS_PER_S);
    free(body);
    tdi_client_close(client);
    CHECK_EQ(end_agent(agent, SIGTERM), 1); /* it says that the bridge has gone */
    fixture_clear(&bridge);
}

/* Frames and messages that no honest sender makes; each costs the session, and nobody else. */
typedef enum misdeed {
    NAMES_ANOTHERS,
    NAMES_NONE,
    NAMES_UNCOMMITTED,
    NAMES_TWICE,
    LIES_ABOUT_LENGTH,
    NAMES_WITHOUT_RECORD,
    NAMES_IN_PIECES,
    BODY_TOO_SHORT,
    COMMITS_ANOTHERS,
    DROPS_ANOTHERS,
    COMMITS_TWICE,
    WANTS_NOTHING,
    WANTS_BY_ID,
    SPEAKS_AS_THE_BRIDGE,
    SPEAKS_SHORT,
    SPEAKS_NONSENSE,
    MISDEEDS
} misdeed;

static void say(tdi_client *client, tdi_blob_message message, size_t bytes)
{
    uint8_t data[TDI_BLOB_MESSAGE_BYTES];
    tdi_blob_encode(&message, data);
    CHECK_EQ(tdi_channel_send(client->socket_fd, data, bytes, NULL, 0, NULL), TD_OK);
}

static void name_it(tdi_client *client, uint32_t action, uint64_t id, uint64_t bytes, misdeed how)
{
    const uint64_t record[2] = {id, bytes};
    uint8_t ext[TDI_EXT_BYTES_MAX];
    const td_view sum = {(const uint8_t *)"\0\0\0\0", how == BODY_TOO_SHORT ? 3 : 4};
    static uint32_t slot = 100;
    tdi_frame frame = {.kind = TDI_KIND_CALL,
                       .flags = TDI_FLAG_BLOB | TDI_FLAG_WANT_REPLY |
                                (how == NAMES_IN_PIECES ? TDI_FLAG_MORE : 0),
                       .body_bytes = (uint32_t)sum.bytes,
                       .call_id = tdi_call_id(slot++, 1),
                       .action_id = action,
                       .attempt = 1};
    if (how != NAMES_WITHOUT_RECORD)
        tdi_extension_add(ext, &frame.ext_units, TDI_EXT_BLOB, record, sizeof record);
    CHECK_EQ(tdi_ring_push(&client->tx, &frame, ext, &sum, 1), TD_OK);
    tdi_ring_publish(&client->tx);
    tdi_client_ring_bell(client, &client->frames_rope);
}

static void do_it(tdi_client *bad, misdeed how, uint32_t echo, uint64_t anothers)
{
    uint64_t id;
    const int fd = granted(bad, 4096, &id);
    const bool sealed = how != NAMES_UNCOMMITTED && how != COMMITS_TWICE;
    if (sealed)
        CHECK_EQ(commit(bad, id), TD_OK);
    close(fd);
    switch (how) {
    case NAMES_ANOTHERS:
        name_it(bad, echo, anothers, 4096, how);
        break;
    case NAMES_NONE:
        name_it(bad, echo, id + 1000, 4096, how);
        break;
    case NAMES_TWICE:
        name_it(bad, echo, id, 4096, how);
        name_it(bad, echo, id, 4096, how);
        break;
    case LIES_ABOUT_LENGTH:
        name_it(bad, echo, id, 4097, how);
        break;
    case NAMES_UNCOMMITTED:
    case NAMES_WITHOUT_RECORD:
    case NAMES_IN_PIECES:
    case BODY_TOO_SHORT:
        name_it(bad, echo, id, 4096, how);
        break;
    case COMMITS_ANOTHERS:
        say(bad, (tdi_blob_message){.op = TDI_BLOB_COMMIT, .id = anothers}, 32);
        break;
    case DROPS_ANOTHERS:
        say(bad, (tdi_blob_message){.op = TDI_BLOB_DROP, .id = anothers}, 32);
        break;
    case COMMITS_TWICE:
        CHECK_EQ(commit(bad, id), TD_OK);
        say(bad, (tdi_blob_message){.op = TDI_BLOB_COMMIT, .id = id}, 32);
        break;
    case WANTS_NOTHING:
        say(bad, (tdi_blob_message){.op = TDI_BLOB_WANT}, 32);
        break;
    case WANTS_BY_ID:
        say(bad, (tdi_blob_message){.op = TDI_BLOB_WANT, .id = id, .bytes = 1}, 32);
        break;
    case SPEAKS_AS_THE_BRIDGE:
        say(bad, (tdi_blob_message){.op = TDI_BLOB_PASSED, .id = id, .bytes = 1}, 32);
        break;
    case SPEAKS_SHORT:
        say(bad, (tdi_blob_message){.op = TDI_BLOB_DROP, .id = id}, 31);
        break;
    case SPEAKS_NONSENSE:
        CHECK_EQ(tdi_channel_send(bad->socket_fd, "hello", 5, NULL, 0, NULL), TD_OK);
        break;
    case MISDEEDS:
        break;
    }
}

static void whoever_breaks_the_rules_loses_the_session_alone(void)
{
    fixture bridge;
    answer reply;
    uint64_t id;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *good = fixture_connect(&bridge);
    REQUIRE(good != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "1", "1");
    const uint32_t echo = await_action(good, "agent1", "echo", 1);
    const int fd = granted(good, 4096, &id);
    CHECK_EQ(commit(good, id), TD_OK);
    close(fd);
    const int before = open_fds_of(bridge.pid);
    for (int how = 0; how < MISDEEDS; how++) {
        tdi_client *bad = fixture_connect(&bridge);
        REQUIRE(bad != NULL);
        do_it(bad, (misdeed)how, echo, id);
        const uint64_t until_ns = tdi_now_ns() + 5 * TDI_NS_PER_S;
        while (!tdi_client_ended(bad) && tdi_now_ns() < until_ns)
            tdi_channel_wait(bad->socket_fd, until_ns, NULL);
        if (!tdi_client_ended(bad) || strstr(tdi_client_error(bad), "broke the rules") == NULL)
            fprintf(stderr, "misdeed %d: %s\n", how, tdi_client_error(bad));
        CHECK(tdi_client_ended(bad) && strstr(tdi_client_error(bad), "broke the rules") != NULL);
        tdi_client_close(bad);
        CHECK_EQ(settles_at(bridge.pid, before), before);
        CHECK_EQ(ask(good, "noop", "\xC0", 1, &reply), TD_OK);
        answer_free(&reply);
    }
    /* The good one's blob is still its own. */
    tdi_blob_drop(good->socket_fd, id);
    CHECK_EQ(ask_id(good, echo, (td_view){(const uint8_t *)"\xA2hi", 3}, &reply), TD_OK);
    CHECK(reply.status == TD_OK && reply.bytes == 3);
    answer_free(&reply);
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    tdi_client_close(good);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_wrong_checksum_is_corrupt_for_its_call_alone(void)
{
    fixture bridge;
    answer reply;
    uint64_t id;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "1", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    const int fd = granted(client, 4096, &id);
    CHECK_EQ(pwrite(fd, "\xC5\x0F\xFD", 3, 0), 3); /* a sound value, so that the sum alone tells */
    CHECK_EQ(commit(client, id), TD_OK);
    close(fd);
    /* A slot of the client's own, so that the answer finds its way. */
    client->slots[100].in_use = 1;
    client->slots[100].generation = 1;
    client->free_slots[client->free_total++ - 1] = 100; /* as taken: deliver() puts it back */
    client->free_total -= 2;
    const uint64_t record[2] = {id, 4096};
    uint8_t ext[TDI_EXT_BYTES_MAX];
    const td_view sum = {(const uint8_t *)"\1\2\3\4", 4};
    tdi_frame frame = {.kind = TDI_KIND_CALL,
                       .flags = TDI_FLAG_BLOB | TDI_FLAG_WANT_REPLY,
                       .body_bytes = 4,
                       .call_id = tdi_call_id(100, 1),
                       .action_id = echo,
                       .attempt = 1};
    tdi_extension_add(ext, &frame.ext_units, TDI_EXT_BLOB, record, sizeof record);
    CHECK_EQ(tdi_ring_push(&client->tx, &frame, ext, &sum, 1), TD_OK);
    tdi_ring_publish(&client->tx);
    tdi_client_ring_bell(client, &client->frames_rope);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_CORRUPT);
    answer_free(&reply);
    CHECK_EQ(ask_id(client, echo, (td_view){(const uint8_t *)"\xA2hi", 3}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    answer_free(&reply);
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    agent_bridge_path = argv[1];
    agent_path = argv[2];
    RUN(a_body_that_no_ring_carries_goes_there_and_back);
    RUN(without_the_feature_such_a_body_is_too_large);
    RUN(what_the_bridge_does_itself_takes_none);
    RUN(each_quota_has_its_answer_and_room_comes_back);
    RUN(a_commit_while_it_is_mapped_is_refused_and_can_be_made_good);
    RUN(what_a_dead_sender_left_is_freed_and_readers_keep_theirs);
    RUN(a_reader_that_dies_with_one_costs_that_call);
    RUN(the_bridges_death_ends_the_wait_for_one);
    RUN(whoever_breaks_the_rules_loses_the_session_alone);
    RUN(a_wrong_checksum_is_corrupt_for_its_call_alone);
    return TEST_RESULT;
}
