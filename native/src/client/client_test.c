/* The client against a real bridge: calls, long bodies, credits, stopping, and the bridge's
 * death. argv[1] is agent_bridge. */
#include <poll.h>

#include "base/test.h"
#include "client/bridge_fixture.h"
#include "client/client_state.h"

static const uint8_t nil = 0xC0;

static void an_echo_comes_back_as_it_went(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    CHECK_EQ(tdi_client_bridge_pid(client), bridge.pid);
    const uint8_t body[] = {0x93, 0x01, 0xA2, 'h', 'i', 0xC0};
    answer reply;
    CHECK_EQ(ask(client, "echo", body, sizeof body, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    CHECK(reply.bytes == sizeof body && memcmp(reply.body, body, sizeof body) == 0);
    CHECK(reply.started_ns > 0 && reply.started_ns <= tdi_now_ns());
    answer_free(&reply);
    CHECK_EQ(ask(client, "noop", body, sizeof body, &reply), TD_OK);
    CHECK(reply.bytes == 1 && reply.body[0] == 0xC0);
    answer_free(&reply);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void what_cannot_be_done_has_a_status(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    answer reply;
    CHECK_EQ(ask(client, "missing", &nil, 1, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_NO_AGENT);
    const uint8_t twice[] = {0x82, 0xA1, 'a', 1, 0xA1, 'a', 2}; /* a duplicate key */
    CHECK_EQ(ask(client, "echo", twice, sizeof twice, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_CORRUPT);
    CHECK_EQ(ask(client, "sleep", twice, sizeof twice, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_CORRUPT);
    CHECK_EQ(ask(client, "echo", NULL, 0, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_CORRUPT);
    const uint8_t minus = 0xFF;
    CHECK_EQ(ask(client, "sleep", &minus, 1, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_FAILED);
    CHECK(memmem(reply.body, reply.bytes, "ValueError", 10) != NULL);
    answer_free(&reply);
    CHECK_EQ(ask(client, "sleep", &nil, 1, &reply), TD_OK);
    CHECK(reply.status == TD_FAILED && memmem(reply.body, reply.bytes, "TypeError", 9) != NULL);
    answer_free(&reply);
    const uint8_t map[] = {0x81, 0xA7, 's', 'e', 'c', 'o', 'n', 'd', 's', 0};
    CHECK_EQ(ask(client, "sleep", map, sizeof map, &reply), TD_OK);
    CHECK(reply.status == TD_OK && reply.bytes == 1 && reply.body[0] == 0xC0);
    answer_free(&reply);
    CHECK_EQ(tdi_client_cancel(client, 12345), TD_ERR_ARGUMENT);
    CHECK_EQ(tdi_client_fate(client, 12345), TD_ERR_ARGUMENT);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void inputs_travel_beside_the_payload(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint8_t payload[] = {0x91, 0x05}, inputs[] = {0x81, 0xA2, 's', '1', 0xC3};
    const tdi_call_request request = {.action_id = action_id(client, "echo"),
                                      .attempt = 1,
                                      .body = {payload, 2},
                                      .inputs = {inputs, 5},
                                      .idempotency_key = {(const uint8_t *)"key", 3}};
    uint64_t call_id;
    answer reply;
    CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK(reply.call_id == call_id && reply.status == TD_OK);
    CHECK(reply.bytes == 2 && memcmp(reply.body, payload, 2) == 0);
    answer_free(&reply);
    tdi_call_request wrong = request;
    wrong.inputs = (td_view){payload, 2}; /* not a map */
    CHECK_EQ(tdi_client_call(client, &wrong, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_CORRUPT);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* ---- long bodies ---- */

/* bin32 of bytes - 5. */
static uint8_t *long_body(size_t bytes)
{
    uint8_t *body = malloc(bytes);
    body[0] = 0xC6;
    for (int i = 0; i < 4; i++)
        body[1 + i] = (uint8_t)((bytes - 5) >> (24 - 8 * i));
    for (size_t i = 5; i < bytes; i++)
        body[i] = (uint8_t)(i * 2654435761u >> 13);
    return body;
}

static void long_bodies_travel_in_fragments(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    /* Around one frame, several, more than a ring, and the maximum. */
    static const size_t sizes[] = {262080, 262081, 262079, 1 << 20, 5000001, 64 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        uint8_t *body = long_body(sizes[i]);
        answer reply;
        CHECK_EQ(ask(client, "echo", body, sizes[i], &reply), TD_OK);
        CHECK_EQ(reply.status, TD_OK);
        CHECK(reply.bytes == sizes[i] && memcmp(reply.body, body, sizes[i]) == 0);
        answer_free(&reply);
        free(body);
    }
    uint8_t *body = long_body((64 << 20) + 1);
    uint64_t call_id;
    CHECK_EQ(tell(client, "echo", body, (64 << 20) + 1, &call_id), TD_TOO_LARGE);
    const tdi_call_request request = {
        .action_id = action_id(client, "echo"), .body = {body, 64 << 20}, .inputs = {&nil, 1}};
    CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_TOO_LARGE);
    free(body);
    CHECK_EQ(client->bytes_used, 0);
    CHECK_EQ(client->stats.rescues, 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void long_bodies_pass_through_the_smallest_rings(void)
{
    fixture bridge;
    const char *const options[] = {"--buffer-size", "2097152", NULL};
    REQUIRE(fixture_start(&bridge, options));
    tdi_client *first = fixture_connect(&bridge), *client = fixture_connect(&bridge);
    REQUIRE(first != NULL && client != NULL);
    CHECK_EQ(client->tx.capacity, 16384);
    for (size_t bytes = 65541; bytes < 4000000; bytes = bytes * 3 + 1) {
        uint8_t *body = long_body(bytes);
        answer reply;
        CHECK_EQ(ask(client, "echo", body, bytes, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_OK);
        CHECK(reply.bytes == bytes && memcmp(reply.body, body, bytes) == 0);
        answer_free(&reply);
        free(body);
    }
    CHECK_EQ(client->stats.rescues, 0);
    tdi_client_close(first);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_reply_over_its_maximum_is_too_large(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    uint8_t *body = long_body(70000);
    tdi_call_request request = {
        .action_id = action_id(client, "echo"), .body = {body, 70000}, .reply_bytes_max = 69999};
    uint64_t call_id;
    answer reply;
    CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_TOO_LARGE);
    request.reply_bytes_max = 70000;
    CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    answer_free(&reply);
    free(body);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

typedef struct chain {
    tdi_client *client;
    uint32_t left, seen;
    td_status nested;
} chain;

static void call_again(void *context, const tdi_completion *completion)
{
    chain *all = context;
    uint64_t call_id;
    int more;
    all->seen += completion->status == TD_OK;
    if (all->left > 0 && tell(all->client, "echo", &nil, 1, &call_id) == TD_OK)
        all->left--;
    all->nested = tdi_client_drain(all->client, 1, call_again, context, &more);
}

static void a_completion_may_call_again_but_not_drain(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    chain all = {.client = client, .left = 50};
    uint64_t call_id;
    CHECK_EQ(tell(client, "echo", &nil, 1, &call_id), TD_OK);
    for (int i = 0; i < 2000 && all.seen < 51; i++) {
        int more;
        CHECK_EQ(tdi_client_drain(client, 10, call_again, &all, &more), TD_OK);
        if (!more && all.seen < 51)
            tdi_client_wait(client, TDI_NS_PER_S);
    }
    CHECK_EQ(all.seen, 51);
    CHECK_EQ(all.nested, TD_ERR_ARGUMENT);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* ---- credits ---- */

typedef struct tally {
    uint32_t seen, wrong;
    size_t bytes;
} tally;

static void count(void *context, const tdi_completion *completion)
{
    tally *all = context;
    all->seen++;
    if (completion->status != TD_OK || completion->body.bytes != all->bytes)
        all->wrong++;
}

static void drain_until(tdi_client *client, tally *all, uint32_t wanted)
{
    const uint64_t until_ns = tdi_now_ns() + 30 * TDI_NS_PER_S;
    while (all->seen < wanted && tdi_now_ns() < until_ns) {
        int more = 0;
        if (tdi_client_drain(client, 100, count, all, &more) != TD_OK)
            return;
        if (!more)
            tdi_client_wait(client, TDI_NS_PER_S);
    }
}

static void slots_run_out_as_busy_and_come_back(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    uint64_t call_id;
    kill(bridge.pid, SIGSTOP);
    uint32_t sent = 0;
    while (tell(client, "echo", &nil, 1, &call_id) == TD_OK)
        sent++;
    CHECK_EQ(sent, 4096);
    CHECK_EQ(tell(client, "echo", &nil, 1, &call_id), TD_BUSY);
    kill(bridge.pid, SIGCONT);
    tally all = {.bytes = 1};
    drain_until(client, &all, sent);
    CHECK(all.seen == sent && all.wrong == 0);
    CHECK_EQ(tell(client, "echo", &nil, 1, &call_id), TD_OK);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* Replies that do not fit into the ring wait in the bridge, which goes on serving others. */
static void replies_nobody_reads_wait_and_none_is_lost(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *slow = fixture_connect(&bridge), *other = fixture_connect(&bridge);
    REQUIRE(slow != NULL && other != NULL);
    enum { BODY = 3000, CALLS = 3000 };
    uint8_t *body = malloc(BODY);
    memset(body, 0, BODY);
    memcpy(body, "\xC5\x0B\xB5", 3); /* bin16 of 2997 */
    uint32_t sent = 0;
    uint64_t call_id;
    for (uint64_t last_ns = tdi_now_ns(); tdi_now_ns() - last_ns < 200 * TDI_NS_PER_MS;) {
        if (sent == CALLS || tell(slow, "echo", body, BODY, &call_id) != TD_OK)
            continue; /* until nothing moves: the bridge has stopped reading us */
        sent++;
        last_ns = tdi_now_ns();
    }
    CHECK(sent > 600);
    CHECK(sent < 2 * (2 << 20) / BODY + 1); /* what the two rings hold, and no more */
    answer reply;
    CHECK_EQ(ask(other, "echo", body, BODY, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    answer_free(&reply);
    tally all = {.bytes = BODY};
    drain_until(slow, &all, sent);
    CHECK(all.seen == sent && all.wrong == 0);
    CHECK_EQ(slow->stats.rescues, 0);
    free(body);
    tdi_client_close(slow);
    tdi_client_close(other);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void bytes_run_out_as_busy(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint8_t one = 1;
    const tdi_call_request request = {
        .action_id = action_id(client, "sleep"), .body = {&one, 1}, .reply_bytes_max = 64 << 20};
    uint64_t call_id;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_OK);
    CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_BUSY);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* ---- stopping ---- */

static void a_cancelled_sleep_ends_at_once_running_or_waiting(void)
{
    fixture bridge;
    const char *const options[] = {"--workers", "1", NULL};
    REQUIRE(fixture_start(&bridge, options));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint8_t ten = 10;
    uint64_t running, waiting;
    answer reply;
    CHECK_EQ(tell(client, "sleep", &ten, 1, &running), TD_OK);
    CHECK_EQ(tell(client, "sleep", &ten, 1, &waiting), TD_OK);
    const uint64_t before_ns = tdi_now_ns();
    CHECK_EQ(tdi_client_cancel(client, waiting), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK(reply.call_id == waiting && reply.status == TD_CANCELLED);
    CHECK_EQ(tdi_client_cancel(client, running), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK(reply.call_id == running && reply.status == TD_CANCELLED);
    CHECK(tdi_now_ns() - before_ns < TDI_NS_PER_S);
    /* The slot's next call is not touched by the old wish. */
    CHECK_EQ(ask(client, "echo", &nil, 1, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    answer_free(&reply);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_deadline_ends_running_waiting_and_late_calls(void)
{
    fixture bridge;
    const char *const options[] = {"--workers", "1", NULL};
    REQUIRE(fixture_start(&bridge, options));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint8_t ten = 10;
    const uint64_t before_ns = tdi_now_ns();
    const tdi_call_request request = {.action_id = action_id(client, "sleep"),
                                      .body = {&ten, 1},
                                      .deadline_ns = before_ns + 100 * TDI_NS_PER_MS};
    uint64_t call_id;
    answer reply;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_OK);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(hear(client, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_TIMED_OUT);
    }
    const uint64_t took_ns = tdi_now_ns() - before_ns;
    CHECK(took_ns >= 100 * TDI_NS_PER_MS && took_ns < TDI_NS_PER_S);
    tdi_call_request late = request;
    late.action_id = action_id(client, "echo");
    CHECK_EQ(tdi_client_call(client, &late, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_TIMED_OUT);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void sleepers_never_stop_an_echo(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint8_t ten = 10;
    uint64_t call_id;
    answer reply;
    for (int i = 0; i < 20; i++)
        CHECK_EQ(tell(client, "sleep", &ten, 1, &call_id), TD_OK);
    const uint64_t before_ns = tdi_now_ns();
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(ask(client, "echo", &nil, 1, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_OK);
        answer_free(&reply);
    }
    CHECK(tdi_now_ns() - before_ns < 2 * TDI_NS_PER_S);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_wait_ends_in_time(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint64_t before_ns = tdi_now_ns();
    CHECK_EQ(tdi_client_wait(client, 30 * TDI_NS_PER_MS), TD_TIMED_OUT);
    const uint64_t took_ns = tdi_now_ns() - before_ns;
    CHECK(took_ns >= 30 * TDI_NS_PER_MS && took_ns < TDI_NS_PER_S);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* The event loop's way: nothing but the fd says when to drain. */
static void the_fd_alone_is_enough_to_wait_for(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    tally all = {.bytes = 1};
    int more;
    CHECK_EQ(tdi_client_drain(client, 100, count, &all, &more), TD_OK);
    for (uint32_t i = 1; i <= 2000; i++) {
        uint64_t call_id;
        CHECK_EQ(tell(client, "echo", &nil, 1, &call_id), TD_OK);
        while (all.seen < i) {
            struct pollfd wanted = {.fd = tdi_client_fd(client), .events = POLLIN};
            REQUIRE(poll(&wanted, 1, 10000) == 1);
            CHECK_EQ(tdi_client_drain(client, 100, count, &all, &more), TD_OK);
        }
    }
    CHECK_EQ(all.wrong, 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* One client of the crowd: echoes of many sizes, sleeps, and wishes to stop them. */
static int one_of_a_crowd(const fixture *bridge, uint32_t seed)
{
    tdi_client *client = fixture_connect(bridge);
    if (client == NULL)
        return 2;
    for (uint32_t i = 0; i < 300; i++) {
        seed = seed * 1664525 + 1013904223;
        const size_t bytes = 65541 + seed % 100000;
        answer reply = {0};
        uint64_t call_id;
        const uint8_t sixty = 60;
        if (i % 10 == 0) {
            uint8_t *body = long_body(bytes);
            if (ask(client, "echo", body, bytes, &reply) != TD_OK || reply.status != TD_OK ||
                reply.bytes != bytes || memcmp(reply.body, body, bytes) != 0)
                return 3;
            free(body);
        } else if (i % 10 == 1) {
            if (tell(client, "sleep", &sixty, 1, &call_id) != TD_OK ||
                tdi_client_cancel(client, call_id) != TD_OK || hear(client, &reply) != TD_OK ||
                reply.status != TD_CANCELLED)
                return 4;
        } else if (ask(client, "echo", &sixty, 1, &reply) != TD_OK || reply.bytes != 1) {
            return 5;
        }
        answer_free(&reply);
    }
    tdi_client_stats stats;
    tdi_client_stats_read(client, &stats);
    tdi_client_close(client);
    return stats.rescues == 0 && stats.in_flight == 0 ? 0 : 6;
}

static void a_crowd_is_served_without_a_mistake(void)
{
    fixture bridge;
    pid_t children[8];
    REQUIRE(fixture_start(&bridge, NULL));
    for (uint32_t i = 0; i < 8; i++)
        if ((children[i] = fork()) == 0)
            _exit(one_of_a_crowd(&bridge, i));
    for (int i = 0; i < 8; i++) {
        int status = -1;
        waitpid(children[i], &status, 0);
        CHECK_EQ(status, 0);
    }
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* ---- the bridge's death ---- */

static void a_death_tells_popped_from_never_popped(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint8_t ten = 10;
    uint64_t taken, done, never;
    CHECK_EQ(tell(client, "sleep", &ten, 1, &taken), TD_OK);
    const uint64_t until_ns = tdi_now_ns() + 5 * TDI_NS_PER_S;
    while (tdi_client_fate(client, taken) == TD_NOT_STARTED && tdi_now_ns() < until_ns)
        usleep(100);
    CHECK_EQ(tdi_client_fate(client, taken), TD_UNKNOWN); /* by itself: nothing came after it */
    CHECK_EQ(tell(client, "echo", &nil, 1, &done), TD_OK);
    CHECK_EQ(tdi_client_wait(client, 5 * TDI_NS_PER_S), TD_OK); /* the echo's answer is there */
    kill(bridge.pid, SIGSTOP);
    CHECK_EQ(tell(client, "echo", &nil, 1, &never), TD_OK);
    kill(bridge.pid, SIGKILL);
    CHECK_EQ(fixture_wait(&bridge), 256 + SIGKILL);
    answer reply;
    CHECK_EQ(hear(client, &reply), TD_OK); /* what is there is still handed out */
    CHECK(reply.call_id == done && reply.status == TD_OK);
    answer_free(&reply);
    CHECK_EQ(hear(client, &reply), TD_ERR_CLOSED);
    CHECK(strstr(tdi_client_error(client), "died") != NULL);
    CHECK_EQ(tdi_client_fate(client, taken), TD_UNKNOWN);
    CHECK_EQ(tdi_client_fate(client, never), TD_NOT_STARTED);
    uint64_t call_id;
    CHECK_EQ(tell(client, "echo", &nil, 1, &call_id), TD_ERR_CLOSED);
    CHECK_EQ(tdi_client_wait(client, TDI_NS_PER_S), TD_ERR_CLOSED);
    tdi_client_close(client);
    bridge.parent_fd = -1;
    fixture_clear(&bridge);
}

static void a_long_body_cut_off_by_death_never_started(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    kill(bridge.pid, SIGSTOP);
    uint8_t *body = long_body(8 << 20);
    uint64_t call_id;
    CHECK_EQ(tell(client, "echo", body, 8 << 20, &call_id), TD_OK);
    uint64_t other;
    CHECK_EQ(tell(client, "echo", &nil, 1, &other), TD_BUSY);
    kill(bridge.pid, SIGKILL);
    fixture_wait(&bridge);
    answer reply;
    CHECK_EQ(hear(client, &reply), TD_ERR_CLOSED);
    CHECK_EQ(tdi_client_fate(client, call_id), TD_NOT_STARTED);
    free(body);
    tdi_client_close(client);
    bridge.parent_fd = -1;
    fixture_clear(&bridge);
}

static void a_death_wakes_a_waiter(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t killer = fork();
    if (killer == 0) {
        usleep(50000);
        kill(bridge.pid, SIGKILL);
        _exit(0);
    }
    const uint64_t before_ns = tdi_now_ns();
    CHECK_EQ(tdi_client_wait(client, 10 * TDI_NS_PER_S), TD_ERR_CLOSED);
    CHECK(tdi_now_ns() - before_ns < 2 * TDI_NS_PER_S);
    waitpid(killer, NULL, 0);
    fixture_wait(&bridge);
    tdi_client_close(client);
    bridge.parent_fd = -1;
    fixture_clear(&bridge);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    agent_bridge_path = argv[1];
    RUN(an_echo_comes_back_as_it_went);
    RUN(what_cannot_be_done_has_a_status);
    RUN(inputs_travel_beside_the_payload);
    RUN(long_bodies_travel_in_fragments);
    RUN(long_bodies_pass_through_the_smallest_rings);
    RUN(a_completion_may_call_again_but_not_drain);
    RUN(a_reply_over_its_maximum_is_too_large);
    RUN(slots_run_out_as_busy_and_come_back);
    RUN(replies_nobody_reads_wait_and_none_is_lost);
    RUN(bytes_run_out_as_busy);
    RUN(a_cancelled_sleep_ends_at_once_running_or_waiting);
    RUN(a_deadline_ends_running_waiting_and_late_calls);
    RUN(sleepers_never_stop_an_echo);
    RUN(a_wait_ends_in_time);
    RUN(the_fd_alone_is_enough_to_wait_for);
    RUN(a_crowd_is_served_without_a_mistake);
    RUN(a_death_tells_popped_from_never_popped);
    RUN(a_long_body_cut_off_by_death_never_started);
    RUN(a_death_wakes_a_waiter);
    return TEST_RESULT;
}
