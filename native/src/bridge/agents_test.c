/* Agents over a real bridge: they come, are called, die, and the router sends to them.
 * argv[1] is agent_bridge, argv[2] the test agent. */
#include "base/test.h"
#include "client/agent_fixture.h"
#include "ring/ring.h"
#include "shm/region.h"
#include "tandem/message.h"
#include "wire/channel.h"
#include "wire/handshake.h"

static const uint8_t nil = 0xC0;

static void an_agent_is_seen_at_once_called_and_gone(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "0", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    REQUIRE(echo != 0);
    CHECK_EQ(ask_id(client, echo, (td_view){(const uint8_t *)"\xA2hi", 3}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    CHECK(reply.bytes == 3 && memcmp(reply.body, "\xA2hi", 3) == 0);
    answer_free(&reply);
    CHECK_EQ(ask_id(client, id_of(client, "agent1", "refuse"), (td_view){&nil, 1}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_FAILED);
    CHECK(reply.bytes > 0 && memmem(reply.body, reply.bytes, "not today", 9) != NULL);
    answer_free(&reply);
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    CHECK(await_action(client, "agent1", "echo", 0));
    CHECK_EQ(ask_id(client, echo, (td_view){&nil, 1}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_NO_AGENT);
    /* The same action again has the same id, a changed one another. */
    const pid_t again = start_agent(&bridge, "agent1", "0", "1");
    CHECK_EQ(await_action(client, "agent1", "echo", 1), echo);
    CHECK_EQ(end_agent(again, SIGTERM), 0);
    CHECK(await_action(client, "agent1", "echo", 0));
    const pid_t changed = start_agent(&bridge, "agent1", "0", "2");
    const uint32_t other = await_action(client, "agent1", "echo", 1);
    CHECK(other != 0 && other != echo);
    CHECK_EQ(end_agent(changed, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void long_bodies_travel_both_ways(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "0", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    REQUIRE(echo != 0);
    static const size_t sizes[] = {20 << 10, 300 << 10, 5 << 20};
    for (int i = 0; i < 3; i++) {
        td_heap_writer heap;
        td_heap_writer_init(&heap, 16 << 20);
        uint8_t *blob = malloc(sizes[i]);
        REQUIRE(blob != NULL);
        for (size_t k = 0; k < sizes[i]; k++)
            blob[k] = (uint8_t)(k * 31 + k / 251);
        td_write_bin(&heap.writer, blob, sizes[i]);
        const size_t bytes = td_writer_bytes(&heap.writer);
        CHECK_EQ(ask_id(client, echo, (td_view){heap.writer.start, bytes}, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_OK);
        CHECK(reply.bytes == bytes && memcmp(reply.body, heap.writer.start, bytes) == 0);
        answer_free(&reply);
        free(blob);
        td_heap_writer_fini(&heap);
    }
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* One thread: the call that kills is popped, those behind it are not. */
static void a_death_tells_popped_from_never_popped(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "0", "1");
    REQUIRE(await_action(client, "agent1", "die", 1));
    kill(agent, SIGSTOP);
    uint64_t ids[3];
    CHECK_EQ(call_id_of(client, id_of(client, "agent1", "die"), (td_view){&nil, 1}, &ids[0]),
             TD_OK);
    CHECK_EQ(call_id_of(client, id_of(client, "agent1", "echo"), (td_view){&nil, 1}, &ids[1]),
             TD_OK);
    CHECK_EQ(call_id_of(client, id_of(client, "agent1", "echo"), (td_view){&nil, 1}, &ids[2]),
             TD_OK);
    answer reply;
    CHECK_EQ(ask(client, "noop", &nil, 1, &reply), TD_OK); /* the bridge has routed them */
    answer_free(&reply);
    kill(agent, SIGCONT);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(hear(client, &reply), TD_OK);
        CHECK_EQ(reply.status, reply.call_id == ids[0] ? TD_UNKNOWN : TD_NOT_STARTED);
        if (reply.call_id == ids[0])
            CHECK(reply.bytes > 0 && memmem(reply.body, reply.bytes, "agent1", 6) != NULL);
        answer_free(&reply);
    }
    waitpid(agent, NULL, 0);
    CHECK_EQ(ask(client, "noop", &nil, 1, &reply), TD_OK);
    answer_free(&reply);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_full_agent_is_busy_and_stops_nobody(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t stuck = start_agent(&bridge, "agent1", "0", "1");
    const pid_t fine = start_agent(&bridge, "agent2", "0", "1");
    REQUIRE(await_action(client, "agent1", "echo", 1));
    REQUIRE(await_action(client, "agent2", "echo", 1));
    kill(stuck, SIGSTOP);
    uint64_t call_id;
    for (int i = 0; i < 256; i++)
        CHECK_EQ(call_id_of(client, id_of(client, "agent1", "echo"), (td_view){&nil, 1}, &call_id),
                 TD_OK);
    CHECK_EQ(ask_id(client, id_of(client, "agent1", "echo"), (td_view){&nil, 1}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_BUSY);
    CHECK_EQ(ask_id(client, id_of(client, "agent2", "echo"), (td_view){&nil, 1}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    answer_free(&reply);
    kill(stuck, SIGCONT);
    for (int i = 0; i < 256; i++) {
        CHECK_EQ(hear(client, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_OK);
        answer_free(&reply);
    }
    CHECK_EQ(end_agent(stuck, SIGTERM), 0);
    CHECK_EQ(end_agent(fine, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void cancel_and_progress_pass_through(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    for (int workers = 0; workers < 2; workers++) {
        const pid_t agent = start_agent(&bridge, "agent1", workers ? "2" : "0", "1");
        const uint32_t nap = await_action(client, "agent1", "nap", 1);
        REQUIRE(nap != 0);
        uint64_t call_id, done = 0, total = 0;
        answer reply;
        CHECK_EQ(call_id_of(client, nap, (td_view){&nil, 1}, &call_id), TD_OK);
        for (int i = 0; i < 2000 && done == 0; i++) {
            tdi_client_progress(client, call_id, &done, &total);
            usleep(1000);
        }
        CHECK_EQ(done, 3);
        CHECK_EQ(total, 7);
        if (workers) { /* a short action is not stopped by a blocking one */
            CHECK_EQ(ask_id(client, id_of(client, "agent1", "echo"), (td_view){&nil, 1}, &reply),
                     TD_OK);
            CHECK_EQ(reply.status, TD_OK);
            answer_free(&reply);
        }
        CHECK_EQ(tdi_client_cancel(client, call_id), TD_OK);
        CHECK_EQ(hear(client, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_CANCELLED);
        answer_free(&reply);
        CHECK_EQ(end_agent(agent, SIGTERM), 0);
        CHECK(await_action(client, "agent1", "nap", 0));
    }
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void instances_share_and_an_unequal_one_is_refused(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t one = start_agent(&bridge, "agent1", "0", "1");
    const uint32_t pid = await_action(client, "agent1", "pid", 1);
    REQUIRE(pid != 0);
    const pid_t two = start_agent(&bridge, "agent1", "0", "1");
    int seen_one = 0, seen_two = 0;
    for (int i = 0; i < 2000 && !(seen_one && seen_two); i++) {
        CHECK_EQ(ask_id(client, pid, (td_view){&nil, 1}, &reply), TD_OK);
        td_reader reader = td_reader_of(reply.body, reply.bytes);
        int64_t said = 0;
        CHECK_EQ(td_read_int(&reader, &said), TD_OK);
        seen_one |= said == one;
        seen_two |= said == two;
        answer_free(&reply);
        usleep(500);
    }
    CHECK(seen_one && seen_two);
    const pid_t unequal = start_agent(&bridge, "agent1", "0", "2");
    int status;
    waitpid(unequal, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    const pid_t built_in = start_agent(&bridge, "system", "0", "1");
    waitpid(built_in, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK_EQ(end_agent(one, SIGKILL), 256 + SIGKILL);
    CHECK_EQ(ask_id(client, pid, (td_view){&nil, 1}, &reply), TD_OK);
    answer_free(&reply);
    CHECK_EQ(end_agent(two, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* {"batch_size": size, "destinations": ["agent1", "agent2", "agent3"], "policy": policy} */
static size_t route_payload(uint8_t *memory, size_t bytes_max, uint64_t size, const char *policy)
{
    td_writer writer;
    td_writer_fixed(&writer, memory, bytes_max);
    td_write_map(&writer, 3);
    td_write_text(&writer, "batch_size");
    td_write_uint(&writer, size);
    td_write_text(&writer, "destinations");
    td_write_array(&writer, 3);
    td_write_text(&writer, "agent1");
    td_write_text(&writer, "agent2");
    td_write_text(&writer, "agent3");
    td_write_text(&writer, "policy");
    td_write_text(&writer, policy);
    return td_writer_bytes(&writer);
}

static uint64_t number_at(const answer *reply, const char *key)
{
    td_reader value;
    uint64_t number = UINT64_MAX;
    if (td_map_find(td_reader_of(reply->body, reply->bytes), key, &value) == TD_OK)
        td_read_uint(&value, &number);
    return number;
}

static void the_router_delivers_and_waits_for_the_full(void)
{
    fixture bridge;
    answer reply;
    uint8_t payload[256];
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint32_t route = id_of(client, "router", "route_messages");
    REQUIRE(route != 0);
    size_t bytes = route_payload(payload, sizeof payload, 10000, "round_robin");
    CHECK_EQ(ask_id(client, route, (td_view){payload, bytes}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_FAILED);
    CHECK(reply.bytes > 0 && memmem(reply.body, reply.bytes, "unknown_agent", 13) != NULL);
    answer_free(&reply);
    pid_t agents[3];
    static const char *const names[] = {"agent1", "agent2", "agent3"};
    for (int i = 0; i < 3; i++) {
        agents[i] = start_agent(&bridge, names[i], "0", "1");
        REQUIRE(await_action(client, names[i], "receive", 1));
    }
    static const struct {
        const char *policy;
        uint64_t delivered;
    } cases[] = {{"round_robin", 10000}, {"hash", 10000}, {"broadcast", 30000}};
    for (int i = 0; i < 3; i++) {
        bytes = route_payload(payload, sizeof payload, 10000, cases[i].policy);
        CHECK_EQ(ask_id(client, route, (td_view){payload, bytes}, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_OK);
        CHECK_EQ(number_at(&reply, "delivered"), cases[i].delivered);
        CHECK_EQ(number_at(&reply, "refused"), 0);
        answer_free(&reply);
    }
    /* One is stopped for a while: nothing is lost. */
    kill(agents[0], SIGSTOP);
    uint64_t call_id;
    bytes = route_payload(payload, sizeof payload, 10000, "round_robin");
    CHECK_EQ(call_id_of(client, route, (td_view){payload, bytes}, &call_id), TD_OK);
    CHECK_EQ(tdi_client_wait(client, 200 * TDI_NS_PER_MS), TD_TIMED_OUT);
    kill(agents[0], SIGCONT);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK_EQ(number_at(&reply, "delivered"), 10000);
    answer_free(&reply);
    /* One dies on the way: its messages are refused, the others' arrive. */
    kill(agents[0], SIGSTOP);
    CHECK_EQ(call_id_of(client, route, (td_view){payload, bytes}, &call_id), TD_OK);
    CHECK_EQ(tdi_client_wait(client, 100 * TDI_NS_PER_MS), TD_TIMED_OUT);
    CHECK_EQ(end_agent(agents[0], SIGKILL), 256 + SIGKILL);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    CHECK_EQ(number_at(&reply, "delivered"), 6666);
    CHECK_EQ(number_at(&reply, "refused"), 3334);
    answer_free(&reply);
    CHECK_EQ(end_agent(agents[1], SIGTERM), 0);
    CHECK_EQ(end_agent(agents[2], SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_caller_that_dies_leaves_the_agent_free(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *first = fixture_connect(&bridge), *second = fixture_connect(&bridge);
    REQUIRE(first != NULL && second != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "0", "1");
    const uint32_t nap = await_action(first, "agent1", "nap", 1);
    REQUIRE(nap != 0);
    uint64_t call_id;
    CHECK_EQ(call_id_of(first, nap, (td_view){&nil, 1}, &call_id), TD_OK);
    tdi_client_close(first);
    const uint32_t echo = await_action(second, "agent1", "echo", 1);
    CHECK_EQ(ask_id(second, echo, (td_view){&nil, 1}, &reply), TD_OK); /* the nap was cancelled */
    CHECK_EQ(reply.status, TD_OK);
    answer_free(&reply);
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    tdi_client_close(second);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_silent_agent_is_given_up_after_the_deadline(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "0", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    REQUIRE(echo != 0);
    kill(agent, SIGSTOP);
    tdi_call_request request = {.action_id = echo, .attempt = 1, .body = {&nil, 1}};
    request.deadline_ns = tdi_now_ns() + 50 * TDI_NS_PER_MS;
    uint64_t call_id;
    CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_TIMED_OUT);
    kill(agent, SIGCONT); /* its late answer meets nobody */
    CHECK_EQ(ask_id(client, echo, (td_view){&nil, 1}, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    answer_free(&reply);
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void an_action_hears_of_the_bridges_death(void)
{
    for (int workers = 0; workers < 2; workers++) {
        fixture bridge;
        REQUIRE(fixture_start(&bridge, NULL));
        tdi_client *client = fixture_connect(&bridge);
        REQUIRE(client != NULL);
        const pid_t agent = start_agent(&bridge, "agent1", workers ? "2" : "0", "1");
        const uint32_t nap = await_action(client, "agent1", "nap", 1);
        REQUIRE(nap != 0);
        uint64_t call_id, done = 0, total = 0;
        CHECK_EQ(call_id_of(client, nap, (td_view){&nil, 1}, &call_id), TD_OK);
        for (int i = 0; i < 2000 && done == 0; i++) {
            tdi_client_progress(client, call_id, &done, &total);
            usleep(1000);
        }
        kill(bridge.pid, SIGKILL);
        CHECK_EQ(fixture_wait(&bridge), 256 + SIGKILL);
        int status = 0;
        pid_t ended = 0;
        for (int i = 0; i < 5000 && ended == 0; i++) {
            ended = waitpid(agent, &status, WNOHANG);
            usleep(1000);
        }
        CHECK_EQ(ended, agent);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        if (ended == 0)
            end_agent(agent, SIGKILL);
        tdi_client_close(client);
        fixture_clear(&bridge);
    }
}

static void a_reply_over_its_limit_is_too_large(void)
{
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "0", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    REQUIRE(echo != 0);
    static const uint32_t limits[] = {3, 2};
    for (int i = 0; i < 2; i++) {
        const tdi_call_request request = {.action_id = echo,
                                          .attempt = 1,
                                          .reply_bytes_max = limits[i],
                                          .body = {(const uint8_t *)"\xA2hi", 3}};
        uint64_t call_id;
        CHECK_EQ(tdi_client_call(client, &request, &call_id), TD_OK);
        CHECK_EQ(hear(client, &reply), TD_OK);
        CHECK_EQ(reply.status, i == 0 ? TD_OK : TD_TOO_LARGE);
        answer_free(&reply);
    }
    CHECK_EQ(end_agent(agent, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void more_agents_than_allowed_are_refused(void)
{
    fixture bridge;
    const char *const two[] = {"--max-agents", "2", NULL};
    REQUIRE(fixture_start(&bridge, two));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t one = start_agent(&bridge, "agent1", "0", "1");
    const pid_t other = start_agent(&bridge, "agent2", "0", "1");
    REQUIRE(await_action(client, "agent1", "echo", 1));
    REQUIRE(await_action(client, "agent2", "echo", 1));
    int status;
    const pid_t third = start_agent(&bridge, "agent3", "0", "1");
    waitpid(third, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    CHECK_EQ(id_of(client, "agent3", "echo"), 0);
    CHECK_EQ(end_agent(one, SIGTERM), 0);
    CHECK_EQ(end_agent(other, SIGTERM), 0);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* ---- an agent that breaks the rules ---- */

typedef struct hostile {
    int socket_fd;
    tdi_region down, up;
    tdi_ring_tx tx;
    tdi_ring_rx rx;
    int fds[TDI_CHANNEL_FDS];
} hostile;

static int hostile_connect(hostile *peer, const fixture *bridge)
{
    static uint8_t message[TDI_MESSAGE_BYTES_MAX];
    uint8_t table[256];
    size_t bytes, table_bytes = 0, fds_total = 0;
    const char *ours = tdi_build_id();
    const td_view name = {(const uint8_t *)"bad", 3}, one = {(const uint8_t *)"1", 1};
    const tdi_action_row row = {.agent = name, .name = one, .version = one};
    if (tdi_action_encode(&row, table, sizeof table, &table_bytes) != TD_OK)
        return 0;
    const tdi_hello hello = {.protocol_min = 1,
                             .protocol_max = 1,
                             .role = TDI_ROLE_AGENT,
                             .name = name,
                             .build_id = {(const uint8_t *)ours, strlen(ours)},
                             .actions_total = 1,
                             .actions = {table, table_bytes}};
    tdi_welcome welcome;
    const uint64_t until_ns = tdi_now_ns() + 5 * TDI_NS_PER_S;
    if (tdi_hello_encode(&hello, message, sizeof message, &bytes) != TD_OK ||
        tdi_channel_connect(bridge->socket_path, until_ns, &peer->socket_fd, NULL) != TD_OK ||
        tdi_channel_send(peer->socket_fd, message, bytes, NULL, 0, NULL) != TD_OK ||
        tdi_channel_wait(peer->socket_fd, until_ns, NULL) != TD_OK ||
        tdi_channel_receive(peer->socket_fd, message, sizeof message, &bytes, peer->fds, &fds_total,
                            NULL) != TD_OK ||
        tdi_welcome_decode(message, bytes, &welcome, NULL) != TD_OK || fds_total != 4 ||
        tdi_region_attach(TDI_REGION_AGENT_DOWN, peer->fds[0], welcome.ring_bytes, welcome.slots,
                          &peer->down, NULL) != TD_OK ||
        tdi_region_attach(TDI_REGION_AGENT_UP, peer->fds[1], welcome.ring_bytes, welcome.slots,
                          &peer->up, NULL) != TD_OK)
        return 0;
    tdi_ring_tx_init(&peer->tx, peer->up.data, welcome.ring_bytes, &peer->up.control->tail,
                     &peer->down.control->head);
    tdi_ring_rx_init(&peer->rx, peer->down.data, welcome.ring_bytes, &peer->down.control->tail,
                     &peer->up.control->head);
    return 1;
}

static void hostile_close(hostile *peer)
{
    tdi_close_all(peer->fds, TDI_SESSION_FDS);
    tdi_close_all(&peer->socket_fd, 1);
    tdi_region_unmap(&peer->down);
    tdi_region_unmap(&peer->up);
}

/* What it sends, and whether a call is in its hands then. */
static void an_agent_that_breaks_the_rules_is_cut_off(void)
{
    static const tdi_frame wrong[] = {
        {.kind = TDI_KIND_COMPLETION, .call_id = 1},           /* a call it never got */
        {.kind = TDI_KIND_COMPLETION, .call_id = UINT64_MAX},  /* a slot that is none */
        {.kind = TDI_KIND_COMPLETION, .aux = 77},              /* a status that is none */
        {.kind = TDI_KIND_CALL, .call_id = 1},                 /* not an agent's to send */
        {.kind = TDI_KIND_CONT, .call_id = 1, .aux = 1},       /* of nothing */
        {.kind = TDI_KIND_COMPLETION, .flags = TDI_FLAG_MORE}, /* without its length */
        {.kind = TDI_KIND_REGISTER},
        {.kind = TDI_KIND_RUN},
    };
    fixture bridge;
    answer reply;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        hostile peer = {.socket_fd = -1, .fds = {-1, -1, -1, -1}};
        REQUIRE(hostile_connect(&peer, &bridge));
        const uint32_t id = await_action(client, "bad", "1", 1);
        REQUIRE(id != 0);
        uint64_t call_id;
        CHECK_EQ(call_id_of(client, id, (td_view){&nil, 1}, &call_id), TD_OK);
        tdi_frame got, frame = wrong[i];
        for (int k = 0; k < 5000 && tdi_ring_peek(&peer.rx, &got) == TD_ERR_AGAIN; k++)
            usleep(1000);
        if (frame.aux == 77 || (frame.flags & TDI_FLAG_MORE))
            frame.call_id = got.call_id;
        CHECK_EQ(tdi_ring_push(&peer.tx, &frame, NULL, NULL, 0), TD_OK);
        tdi_ring_publish(&peer.tx);
        if (write(peer.fds[3], "", 1) != 1)
            CHECK(0);
        CHECK_EQ(hear(client, &reply), TD_OK);
        CHECK_EQ(reply.status, TD_UNKNOWN); /* it lives, so nothing is certain */
        answer_free(&reply);
        CHECK(await_action(client, "bad", "1", 0));
        hostile_close(&peer);
    }
    /* A doorbell flood: it is cut off, and nobody is hurt. */
    hostile peer = {.socket_fd = -1, .fds = {-1, -1, -1, -1}};
    REQUIRE(hostile_connect(&peer, &bridge));
    for (int i = 0; i < 10000; i++)
        if (write(peer.fds[3], "", 1) != 1)
            break;
    CHECK_EQ(ask(client, "noop", &nil, 1, &reply), TD_OK);
    answer_free(&reply);
    hostile_close(&peer);
    CHECK(await_action(client, "bad", "1", 0));
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void connect_and_die_leaves_nothing(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    answer reply;
    CHECK_EQ(ask(client, "noop", &nil, 1, &reply), TD_OK); /* our own handshake is behind it */
    answer_free(&reply);
    const int before = open_fds_of(bridge.pid);
    for (int i = 0; i < 500; i++) {
        hostile peer = {.socket_fd = -1, .fds = {-1, -1, -1, -1}};
        REQUIRE(hostile_connect(&peer, &bridge));
        hostile_close(&peer);
    }
    CHECK(await_action(client, "bad", "1", 0));
    CHECK_EQ(ask(client, "noop", &nil, 1, &reply), TD_OK);
    answer_free(&reply);
    int after = 0;
    for (int i = 0; i < 1000 && (after = open_fds_of(bridge.pid)) != before; i++)
        usleep(1000);
    CHECK_EQ(after, before);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    agent_bridge_path = argv[1];
    agent_path = argv[2];
    signal(SIGPIPE, SIG_IGN); /* a flood's doorbell breaks under it */
    RUN(an_agent_is_seen_at_once_called_and_gone);
    RUN(long_bodies_travel_both_ways);
    RUN(a_death_tells_popped_from_never_popped);
    RUN(a_full_agent_is_busy_and_stops_nobody);
    RUN(cancel_and_progress_pass_through);
    RUN(instances_share_and_an_unequal_one_is_refused);
    RUN(the_router_delivers_and_waits_for_the_full);
    RUN(a_silent_agent_is_given_up_after_the_deadline);
    RUN(an_action_hears_of_the_bridges_death);
    RUN(a_reply_over_its_limit_is_too_large);
    RUN(more_agents_than_allowed_are_refused);
    RUN(an_agent_that_breaks_the_rules_is_cut_off);
    RUN(connect_and_die_leaves_nothing);
    RUN(a_caller_that_dies_leaves_the_agent_free);
    return TEST_RESULT;
}
