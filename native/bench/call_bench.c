/* call_bench.c - calls of system.echo to a real bridge: one at a time, and many in flight.
 *
 * usage: call_bench AGENT_BRIDGE [BODY_BYTES [CALLS [SPIN_NS]]] */
#include "client/bridge_fixture.h"

typedef struct tally {
    uint64_t seen, wrong;
} tally;

static void count(void *context, const tdi_completion *completion)
{
    tally *all = context;
    all->seen++;
    all->wrong += completion->status != TD_OK;
}

static int ascending(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static int poll_one(tdi_client *client, tally *all)
{
    const uint64_t wanted = all->seen + 1;
    int more;
    while (all->seen < wanted) {
        if (tdi_client_poll(client, 64, count, all, &more) != TD_OK)
            return 0;
        if (all->seen < wanted && tdi_client_wait(client, TDI_NS_PER_S) != TD_OK)
            return 0;
    }
    return 1;
}

/* With a rest of `rest_us` after each, in which both sides fall asleep. */
static int one_at_a_time(tdi_client *client, const tdi_call_request *request, const char *name,
                         uint64_t calls, unsigned rest_us)
{
    uint64_t *took_ns = malloc(calls * sizeof *took_ns);
    tally all = {0};
    for (uint64_t i = 0; took_ns != NULL && i < calls; i++) {
        uint64_t call_id;
        const uint64_t before_ns = tdi_now_ns();
        if (tdi_client_call(client, request, &call_id) != TD_OK || !poll_one(client, &all))
            return 0;
        took_ns[i] = tdi_now_ns() - before_ns;
        if (rest_us > 0)
            usleep(rest_us);
    }
    qsort(took_ns, calls, sizeof *took_ns, ascending);
    printf("{\"benchmark\": \"%s\", \"calls\": %llu, \"p50_us\": %.2f, \"p99_us\": %.2f, "
           "\"p999_us\": %.2f}\n",
           name, (unsigned long long)calls, (double)took_ns[calls / 2] / 1e3,
           (double)took_ns[calls * 99 / 100] / 1e3, (double)took_ns[calls * 999 / 1000] / 1e3);
    free(took_ns);
    return all.wrong == 0;
}

static int many_in_flight(tdi_client *client, const tdi_call_request *request, uint64_t calls)
{
    tally all = {0};
    uint64_t sent = 0, call_id;
    int more;
    const uint64_t before_ns = tdi_now_ns();
    while (all.seen < calls) {
        td_status status = TD_OK;
        for (int i = 0; i < 64 && sent < calls && status == TD_OK; i++) {
            status = tdi_client_call(client, request, &call_id);
            sent += status == TD_OK;
        }
        const uint64_t before = all.seen;
        if (tdi_client_poll(client, 1024, count, &all, &more) != TD_OK)
            return 0;
        if (all.seen == before && (status == TD_BUSY || sent == calls) &&
            tdi_client_wait(client, TDI_NS_PER_S) != TD_OK)
            return 0;
    }
    const double seconds = (double)(tdi_now_ns() - before_ns) / 1e9;
    tdi_client_stats stats;
    tdi_client_stats_read(client, &stats);
    printf("{\"benchmark\": \"calls\", \"calls\": %llu, \"calls_per_s\": %.0f, "
           "\"rescues\": %llu}\n",
           (unsigned long long)calls, (double)calls / seconds, (unsigned long long)stats.rescues);
    return all.wrong == 0;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    agent_bridge_path = argv[1];
    const size_t bytes = argc > 2 ? (size_t)atoi(argv[2]) : 100;
    const uint64_t calls = argc > 3 ? strtoull(argv[3], NULL, 10) : 1000000;
    uint8_t *body = calloc(1, bytes + 3);
    if (body == NULL || bytes < 2 || bytes > 257)
        return 2;
    body[0] = 0xC4; /* bin8 */
    body[1] = (uint8_t)(bytes - 2);
    fixture bridge;
    const char *const options[] = {"--spin-ns", argc > 4 ? argv[4] : "2000", NULL};
    fixture_spin_ns = (uint32_t)atoi(options[1]);
    if (!fixture_start(&bridge, options))
        return 1;
    tdi_client *client = fixture_connect(&bridge);
    int fine = client != NULL;
    if (fine) {
        const tdi_call_request request = {.action_id = action_id(client, "echo"),
                                          .body = {body, bytes}};
        fine = one_at_a_time(client, &request, "round_trip", calls / 10, 0) &&
               one_at_a_time(client, &request, "round_trip_asleep", 2000, 200) &&
               many_in_flight(client, &request, calls);
    }
    tdi_client_close(client);
    fixture_stop(&bridge);
    free(body);
    return fine ? 0 : 1;
}
