/* One caller -> bridge -> agent and back, three processes: round trips one by one, spinning and
 * asleep, and a stream with a full window; then the same by router.route_messages, where one call
 * carries all messages and the bridge sends each as the agent's credits allow.
 * argv: agent_bridge, agent_test_program [, pinned]. */
#include <sched.h>
#include <stdlib.h>

#include "client/bridge_fixture.h"
#include "tandem/message.h"

enum { WINDOW = 256, BATCH = 64, TRIPS = 20000, STREAM = 1000000, RUNS = 5 };
enum { ROUTED = 20000, ROUTED_CALLS = 20, BODY_BYTES = 100 };

static uint32_t id_of(const tdi_client *client, const char *agent, const char *name)
{
    const tdi_client_action *actions;
    const size_t total = tdi_client_actions(client, &actions);
    for (size_t i = 0; i < total; i++)
        if (strcmp(actions[i].agent, agent) == 0 && strcmp(actions[i].name, name) == 0)
            return actions[i].id;
    return 0;
}

static void pin(pid_t pid, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(pid, sizeof set, &set) != 0)
        perror("sched_setaffinity");
}

static uint64_t answered, busy;

static void count(void *context, const tdi_completion *completion)
{
    (void)context;
    answered++;
    busy += completion->status != TD_OK;
}

static uint64_t delivered;

static void count_delivered(void *context, const tdi_completion *completion)
{
    td_reader value;
    uint64_t number = 0;
    count(context, completion);
    if (completion->status == TD_OK &&
        td_map_find(td_reader_of(completion->body.data, completion->body.bytes), "delivered",
                    &value) == TD_OK &&
        td_read_uint(&value, &number) == TD_OK)
        delivered += number;
}

static int by_size(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static void round_trips(tdi_client *client, const tdi_call_request *request, const char *what,
                        int trips, unsigned rest_us)
{
    static uint64_t took[TRIPS];
    for (int i = 0; i < trips; i++) {
        uint64_t id;
        int more;
        const uint64_t before = answered, from_ns = tdi_now_ns();
        if (tdi_client_call(client, request, &id) != TD_OK)
            abort();
        while (answered == before) {
            tdi_client_poll(client, 1, count, NULL, &more);
            if (answered == before)
                tdi_client_wait(client, TDI_NS_PER_S);
        }
        took[i] = tdi_now_ns() - from_ns;
        if (rest_us > 0)
            usleep(rest_us);
    }
    qsort(took, (size_t)trips, sizeof took[0], by_size);
    printf("{\"benchmark\": \"%s\", \"trips\": %d, \"p50_us\": %.2f, \"p99_us\": %.2f}\n", what,
           trips, (double)took[trips / 2] / 1e3, (double)took[trips * 99 / 100] / 1e3);
}

/* Calls a second; each is a message to the agent, and its answer one back. */
static double stream(tdi_client *client, const tdi_call_request *request)
{
    const uint64_t from_ns = tdi_now_ns(), first = answered;
    uint64_t sent = 0;
    while (answered - first < STREAM) {
        int more;
        /* In batches, as send_many does: a call for each single answer would be shown, and the
         * bridge woken, for that one alone. */
        if (sent - (answered - first) <= WINDOW - BATCH) {
            tdi_client_hold(client);
            while (sent < STREAM && sent - (answered - first) < WINDOW) {
                uint64_t id;
                if (tdi_client_call(client, request, &id) != TD_OK)
                    break;
                sent++;
            }
            tdi_client_show(client);
        }
        const uint64_t before = answered;
        tdi_client_poll(client, WINDOW, count, NULL, &more);
        if (answered == before)
            tdi_client_wait(client, TDI_NS_PER_S);
    }
    return STREAM / ((double)(tdi_now_ns() - from_ns) / 1e9);
}

/* One call of router.route_messages with so many messages to agent1; its reply has come. */
static void route_one(tdi_client *client, uint32_t action, td_view payload)
{
    const tdi_call_request request = {.action_id = action, .attempt = 1, .body = payload};
    uint64_t id;
    int more;
    const uint64_t before = answered;
    if (tdi_client_call(client, &request, &id) != TD_OK)
        abort();
    while (answered == before) {
        tdi_client_poll(client, 1, count_delivered, NULL, &more);
        if (answered == before)
            tdi_client_wait(client, TDI_NS_PER_S);
    }
}

static void route(tdi_client *client, uint32_t action, const char *what, unsigned messages,
                  td_view body, int runs, int calls)
{
    td_heap_writer heap;
    td_heap_writer_init(&heap, 1 << 24);
    td_writer *writer = &heap.writer;
    td_write_map(writer, 2);
    td_write_text(writer, "destinations");
    td_write_array(writer, 1);
    td_write_text(writer, "agent1");
    td_write_text(writer, "messages");
    td_write_array(writer, messages);
    for (unsigned i = 0; i < messages; i++)
        td_write_raw(writer, body.data, body.bytes);
    const td_view payload = {writer->start, td_writer_bytes(writer)};
    for (int i = 0; i < runs; i++) {
        static uint64_t took[TRIPS];
        const uint64_t before = delivered, from_ns = tdi_now_ns();
        for (int call = 0; call < calls; call++) {
            const uint64_t call_ns = tdi_now_ns();
            route_one(client, action, payload);
            took[call] = tdi_now_ns() - call_ns;
        }
        const double seconds = (double)(tdi_now_ns() - from_ns) / 1e9;
        if (delivered - before != (uint64_t)messages * (uint64_t)calls)
            abort();
        qsort(took, (size_t)calls, sizeof took[0], by_size);
        printf("{\"benchmark\": \"%s\", \"messages\": %u, \"messages_per_s\": %.0f, "
               "\"p50_us\": %.2f}\n",
               what, messages, (double)(delivered - before) / seconds,
               (double)took[calls / 2] / 1e3);
    }
    td_heap_writer_fini(&heap);
}

int main(int argc, char **argv)
{
    fixture bridge;
    if (argc < 3)
        return 2;
    agent_bridge_path = argv[1];
    fixture_spin_ns = 20000;
    const char *const options[] = {"--spin-ns", "20000", NULL};
    if (!fixture_start(&bridge, options))
        return 1;
    tdi_client *client = fixture_connect(&bridge);
    const bool pinned = argc > 3 && strcmp(argv[3], "pinned") == 0;
    if (pinned) {
        pin(0, 0); /* the caller, and the agent it starts */
        pin(bridge.pid, 1);
    }
    const pid_t agent = fork();
    if (agent == 0) {
        execl(argv[2], argv[2], "agent1", bridge.socket_path, "0", "1", "20000", (char *)NULL);
        _exit(127);
    }
    uint32_t echo = 0;
    while (client != NULL && (echo = id_of(client, "agent1", "echo")) == 0) {
        int more;
        if (tdi_client_drain(client, 16, count, NULL, &more) != TD_OK)
            return 1;
        tdi_client_wait(client, 10 * TDI_NS_PER_MS);
    }
    if (client == NULL)
        return 1;
    uint8_t body[BODY_BYTES];
    td_writer writer;
    td_writer_fixed(&writer, body, sizeof body);
    uint8_t blob[BODY_BYTES - 2] = {0};
    td_write_bin(&writer, blob, sizeof blob);
    const tdi_call_request request = {
        .action_id = echo, .attempt = 1, .body = {body, td_writer_bytes(&writer)}};
    round_trips(client, &request, "agent_round_trip_spinning", TRIPS, 0);
    round_trips(client, &request, "agent_round_trip_asleep", 2000, 200);
    busy = 0;
    for (int i = 0; i < RUNS; i++)
        printf("{\"benchmark\": \"agent_stream\", \"window\": %d, \"pinned\": %s, "
               "\"messages_per_s\": %.0f, \"refused\": %llu}\n",
               WINDOW, pinned ? "true" : "false", 2 * stream(client, &request),
               (unsigned long long)busy);
    const uint32_t router = id_of(client, "router", "route_messages");
    route(client, router, "route_one", 1, request.body, 1, TRIPS);
    route(client, router, "route_stream", ROUTED, request.body, RUNS, ROUTED_CALLS);
    kill(agent, SIGTERM);
    waitpid(agent, NULL, 0);
    tdi_client_close(client);
    return fixture_stop(&bridge) == 0 && busy == 0 ? 0 : 1;
}
