/* The bridge as a process: its directory, its life and end, and peers that break the rules.
 * argv[1] is agent_bridge. */
#include <dirent.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/un.h>

#include "base/test.h"
#include "client/bridge_fixture.h"
#include "client/client_state.h"
#include "wire/channel.h"
#include "wire/handshake.h"

static const uint8_t nil = 0xC0;

static int exists(const char *path)
{
    struct stat about;
    return lstat(path, &about) == 0;
}

/* Does the client learn of its session's end? */
static int is_cut_off(tdi_client *client, const char *why)
{
    struct pollfd wanted = {.fd = tdi_client_socket_fd(client), .events = POLLIN};
    answer reply;
    if (poll(&wanted, 1, 5000) != 1)
        return 0;
    const uint64_t until_ns = tdi_now_ns() + 5 * TDI_NS_PER_S;
    while (tdi_now_ns() < until_ns) {
        int more;
        reply = (answer){0};
        const td_status status = tdi_client_drain(client, 16, answer_take, &reply, &more);
        answer_free(&reply);
        if (status == TD_ERR_CLOSED) {
            if (strstr(tdi_client_error(client), why) == NULL)
                fprintf(stderr, "said: %s\n", tdi_client_error(client));
            return strstr(tdi_client_error(client), why) != NULL;
        }
    }
    return 0;
}

static int still_serves(const fixture *bridge)
{
    answer reply = {0};
    tdi_client *client = fixture_connect(bridge);
    const int fine =
        client != NULL && ask(client, "noop", &nil, 1, &reply) == TD_OK && reply.status == TD_OK;
    answer_free(&reply);
    tdi_client_close(client);
    return fine;
}

/* ---- life and end ---- */

static void sigterm_ends_it_and_leaves_nothing(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    kill(bridge.pid, SIGINT);
    kill(bridge.pid, SIGHUP);
    CHECK(still_serves(&bridge));
    kill(bridge.pid, SIGTERM);
    CHECK(is_cut_off(client, "told to stop"));
    CHECK_EQ(fixture_wait(&bridge), 0);
    CHECK(!exists(bridge.socket_path));
    tdi_client_close(client);
    bridge.parent_fd = -1;
    CHECK_EQ(rmdir(bridge.directory), 0); /* the lock file is gone, too */
}

static void a_directory_has_one_bridge(void)
{
    fixture bridge, second;
    REQUIRE(fixture_start(&bridge, NULL));
    second = bridge;
    CHECK(!fixture_spawn(&second, NULL, 0));
    CHECK_EQ(fixture_wait(&second), 3);
    CHECK(still_serves(&bridge));
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_dead_bridges_socket_is_replaced(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    kill(bridge.pid, SIGKILL);
    CHECK_EQ(fixture_wait(&bridge), 256 + SIGKILL);
    CHECK(exists(bridge.socket_path));
    REQUIRE(fixture_spawn(&bridge, NULL, 0));
    CHECK(still_serves(&bridge));
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void an_open_directory_or_a_file_in_the_way_is_refused(void)
{
    fixture bridge;
    fixture_directory(&bridge);
    chmod(bridge.directory, 0755);
    CHECK(!fixture_spawn(&bridge, NULL, 0));
    CHECK_EQ(fixture_wait(&bridge), 1);
    chmod(bridge.directory, 0700);
    close(open(bridge.socket_path, O_CREAT | O_WRONLY, 0600));
    CHECK(!fixture_spawn(&bridge, NULL, 0));
    CHECK_EQ(fixture_wait(&bridge), 1);
    CHECK(exists(bridge.socket_path));
    fixture_clear(&bridge);
}

static void a_very_long_path_is_fine(void)
{
    fixture bridge;
    char inner[256], socket_path[512];
    fixture_directory(&bridge);
    snprintf(inner, sizeof inner, "%s/%0150d", bridge.directory, 7);
    snprintf(socket_path, sizeof socket_path, "%s/bridge.sock", inner);
    const pid_t pid = fork();
    if (pid == 0) {
        execl(agent_bridge_path, agent_bridge_path, "--socket", socket_path, (char *)NULL);
        _exit(127);
    }
    const tdi_client_options options = {
        .socket_path = socket_path, .name = "t", .timeout_ns = TDI_NS_PER_S};
    tdi_client *client = NULL;
    for (int i = 0; i < 2000 && client == NULL; i++)
        if (tdi_client_connect(&options, &client) != TD_OK)
            usleep(1000);
    CHECK(client != NULL);
    tdi_client_close(client);
    bridge.pid = pid;
    kill(pid, SIGTERM);
    CHECK_EQ(fixture_wait(&bridge), 0);
    CHECK(!exists(inner)); /* the bridge made it, so it removes it */
    CHECK_EQ(rmdir(bridge.directory), 0);
}

static void a_spawned_bridge_leaves_with_its_spawner(void)
{
    fixture bridge;
    fixture_directory(&bridge);
    REQUIRE(fixture_spawn(&bridge, NULL, 1));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    uint64_t call_id;
    const uint8_t ten = 10;
    CHECK_EQ(tell(client, "sleep", &ten, 1, &call_id), TD_OK);
    close(bridge.parent_fd);
    bridge.parent_fd = -1;
    usleep(20000);
    CHECK_EQ(waitpid(bridge.pid, NULL, WNOHANG), 0); /* we are still connected */
    const uint64_t before_ns = tdi_now_ns();
    tdi_client_close(client); /* a running call does not keep it */
    CHECK_EQ(fixture_wait(&bridge), 0);
    CHECK(tdi_now_ns() - before_ns < TDI_NS_PER_S);
    CHECK(!exists(bridge.socket_path));
    fixture_clear(&bridge);
}

/* As a user's program dies: kill -9, with a call running and nobody left to close anything. */
static void a_killed_program_leaves_neither_process_nor_file(void)
{
    fixture bridge;
    int told[2];
    prctl(PR_SET_CHILD_SUBREAPER, 1); /* so that we, and not init, reap the orphan */
    fixture_directory(&bridge);
    REQUIRE(pipe(told) == 0);
    const pid_t program = fork();
    if (program == 0) {
        if (!fixture_spawn(&bridge, NULL, 1))
            _exit(1);
        tdi_client *client = fixture_connect(&bridge);
        const uint8_t sixty = 60;
        uint64_t call_id;
        if (client == NULL || tell(client, "sleep", &sixty, 1, &call_id) != TD_OK ||
            write(told[1], &bridge.pid, sizeof bridge.pid) < 0)
            _exit(2);
        pause();
    }
    REQUIRE(read(told[0], &bridge.pid, sizeof bridge.pid) == sizeof bridge.pid);
    const uint64_t before_ns = tdi_now_ns();
    kill(program, SIGKILL);
    waitpid(program, NULL, 0);
    CHECK_EQ(fixture_wait(&bridge), 0);
    CHECK(tdi_now_ns() - before_ns < 3 * TDI_NS_PER_S);
    CHECK_EQ(rmdir(bridge.directory), 0);
    close(told[0]);
    close(told[1]);
}

static void a_spawned_bridge_lingers_after_its_last_session(void)
{
    fixture bridge;
    const char *const options[] = {"--linger-ms", "150", NULL};
    fixture_directory(&bridge);
    REQUIRE(fixture_spawn(&bridge, options, 1));
    CHECK(still_serves(&bridge));
    usleep(20000);
    CHECK(still_serves(&bridge));
    const uint64_t before_ns = tdi_now_ns();
    CHECK_EQ(fixture_wait(&bridge), 0);
    const uint64_t took_ns = tdi_now_ns() - before_ns;
    CHECK(took_ns > 100 * TDI_NS_PER_MS && took_ns < 2 * TDI_NS_PER_S);
    fixture_clear(&bridge);
}

static void it_can_gain_no_privileges_and_leads_its_session(void)
{
    fixture bridge;
    char path[64], text[4096] = "";
    REQUIRE(fixture_start(&bridge, NULL));
    snprintf(path, sizeof path, "/proc/%d/status", (int)bridge.pid);
    const int fd = open(path, O_RDONLY);
    const ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    CHECK(got > 0 && strstr(text, "NoNewPrivs:\t1") != NULL);
    CHECK_EQ(getsid(bridge.pid), bridge.pid);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* ---- who may come in ---- */

static td_status connect_as(const fixture *bridge, const char *build_id, const char *name)
{
    const tdi_client_options options = {.socket_path = bridge->socket_path,
                                        .name = name,
                                        .build_id = build_id,
                                        .timeout_ns = 5 * TDI_NS_PER_S};
    tdi_client *client = NULL;
    const td_status status = tdi_client_connect(&options, &client);
    tdi_client_close(client);
    return status;
}

static void another_build_is_refused_with_a_clear_line(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    CHECK_EQ(connect_as(&bridge, "0123456789abcdef", "t"), TD_ERR_REFUSED);
    CHECK(strstr(tdi_client_error(NULL), "0123456789abcdef") != NULL);
    CHECK(strstr(tdi_client_error(NULL), "rebuild") != NULL);
    CHECK_EQ(connect_as(&bridge, NULL, "t"), TD_OK);
    CHECK_EQ(fixture_stop(&bridge), 0);
    CHECK_EQ(connect_as(&bridge, NULL, "t"), TD_ERR_CLOSED);
}

/* Send raw bytes; returns the sentence of the refusal, "" when cut off without one. */
static const char *refusal(const fixture *bridge, const void *data, size_t bytes)
{
    static tdi_error error;
    static uint8_t message[TDI_MESSAGE_BYTES_MAX];
    static char text[512];
    int fd, fds[TDI_CHANNEL_FDS];
    size_t got, fds_total = 0;
    tdi_welcome welcome;
    text[0] = '\0';
    const uint64_t until_ns = tdi_now_ns() + 5 * TDI_NS_PER_S;
    if (tdi_channel_connect(bridge->socket_path, until_ns, &fd, &error) != TD_OK)
        return "no connection";
    tdi_channel_send(fd, data, bytes, NULL, 0, &error);
    if (tdi_channel_wait(fd, until_ns, &error) == TD_OK &&
        tdi_channel_receive(fd, message, sizeof message, &got, fds, &fds_total, &error) == TD_OK &&
        tdi_welcome_decode(message, got, &welcome, &error) == TD_OK && welcome.status != TD_OK &&
        fds_total == 0)
        snprintf(text, sizeof text, "%.*s", (int)welcome.text.bytes, welcome.text.data);
    close(fd);
    return text;
}

static void malformed_and_future_hellos_are_refused(void)
{
    fixture bridge;
    static uint8_t bytes[2 * TDI_HELLO_BYTES_MAX];
    size_t total;
    const char *ours = tdi_build_id();
    tdi_hello hello = {.protocol_min = 1,
                       .protocol_max = 1,
                       .role = TDI_ROLE_ORCHESTRATOR,
                       .name = {(const uint8_t *)"t", 1},
                       .build_id = {(const uint8_t *)ours, strlen(ours)}};
    REQUIRE(fixture_start(&bridge, NULL));
    CHECK(strstr(refusal(&bridge, "hello?", 6), "magic") != NULL);
    CHECK(strstr(refusal(&bridge, bytes, sizeof bytes), "longer") != NULL);
    hello.protocol_min = 2, hello.protocol_max = 3;
    tdi_hello_encode(&hello, bytes, sizeof bytes, &total);
    CHECK(strstr(refusal(&bridge, bytes, total), "protocol 2 to 3") != NULL);
    hello.protocol_min = 1, hello.features_required = 8;
    tdi_hello_encode(&hello, bytes, sizeof bytes, &total);
    CHECK(strstr(refusal(&bridge, bytes, total), "features 0x8") != NULL);
    hello.features_required = 0, hello.role = TDI_ROLE_AGENT;
    tdi_hello_encode(&hello, bytes, sizeof bytes, &total);
    CHECK(strstr(refusal(&bridge, bytes, total), "needs a name and at least one action") != NULL);
    hello.role = TDI_ROLE_ORCHESTRATOR;
    tdi_hello_encode(&hello, bytes, sizeof bytes, &total);
    CHECK_EQ(strlen(refusal(&bridge, bytes, total)), 0); /* accepted */
    CHECK(strstr(refusal(&bridge, bytes, total - 1), "malformed") != NULL);
    CHECK(still_serves(&bridge));
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void another_uid_is_cut_off(void)
{
    if (geteuid() != 0) {
        printf("       skipped: needs root\n");
        return;
    }
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    chmod(bridge.directory, 0755); /* open the door that normally stops them */
    chmod(bridge.socket_path, 0777);
    const pid_t child = fork();
    if (child == 0) {
        if (setresuid(65534, 65534, 65534) != 0)
            _exit(9);
        /* The client itself refuses a strange bridge before it says a word … */
        if (connect_as(&bridge, NULL, "t") != TD_ERR_REFUSED)
            _exit(1);
        /* … and the bridge does not answer a client that does not care. */
        if (strlen(refusal(&bridge, "TANDEMHI", 8)) != 0)
            _exit(2);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    CHECK_EQ(status, 0);
    CHECK(still_serves(&bridge));
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_session_beyond_the_budget_is_busy(void)
{
    fixture bridge;
    tdi_client *clients[17];
    REQUIRE(fixture_start(&bridge, NULL));
    for (int i = 0; i < 17; i++)
        REQUIRE((clients[i] = fixture_connect(&bridge)) != NULL);
    CHECK(clients[0]->tx.capacity == 2 << 20 && clients[1]->tx.capacity == 128 << 10);
    CHECK_EQ(connect_as(&bridge, NULL, "t"), TD_BUSY);
    CHECK(strstr(tdi_client_error(NULL), "17") != NULL);
    tdi_client_close(clients[5]);
    clients[5] = NULL;
    td_status status = TD_BUSY;
    for (int i = 0; i < 1000 && status == TD_BUSY; i++) {
        status = connect_as(&bridge, NULL, "t");
        usleep(1000);
    }
    CHECK_EQ(status, TD_OK);
    for (int i = 0; i < 17; i++)
        tdi_client_close(clients[i]);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* ---- peers that break the rules ---- */

/* Write one frame as it is, with sound CRCs, and show it. */
static void push_raw(tdi_client *client, tdi_frame frame, const void *body)
{
    const td_view part = {body, frame.body_bytes};
    tdi_ring_push(&client->tx, &frame, NULL, &part, 1);
    tdi_ring_publish(&client->tx);
    tdi_bell_ring(&client->frames_rope, client->bell_out_fd);
}

static void break_rule(const fixture *bridge, int rule)
{
    tdi_client *client = fixture_connect(bridge);
    REQUIRE(client != NULL);
    const tdi_frame call = {.kind = TDI_KIND_CALL,
                            .body_bytes = 1,
                            .call_id = tdi_call_id(1, 1),
                            .action_id = action_id(client, "sleep")};
    tdi_frame frame = call;
    const uint8_t nine = 9;
    switch (rule) {
    case 0: /* a slot that is in use */
        push_raw(client, frame, &nine);
        frame.call_id = tdi_call_id(1, 2);
        break;
    case 1:
        frame.call_id = tdi_call_id(4096, 1);
        break; /* no such slot */
    case 2:
        frame.call_id = tdi_call_id(1, 0);
        break; /* no generation */
    case 3:
        frame.kind = TDI_KIND_COMPLETION;
        break; /* not a peer's to send */
    case 4:
        frame.kind = TDI_KIND_CONT, frame.aux = 1;
        break; /* of nothing */
    case 5:
        frame.flags = TDI_FLAG_MORE;
        break; /* without a total */
    case 6:
        frame.flags = TDI_FLAG_PROGRAM;
        break;
    case 7:
        frame.kind = TDI_KIND_REGISTER;
        break;
    }
    if (rule < 8) {
        push_raw(client, frame, &nine);
    } else if (rule == 8) { /* a tail far ahead */
        atomic_store(&client->up.control->tail, UINT64_C(1) << 40);
        tdi_bell_ring(&client->frames_rope, client->bell_out_fd);
    } else if (rule == 9) { /* a head ahead of the bridge's tail */
        atomic_store(&client->up.control->head, UINT64_C(1) << 40);
        uint8_t *big = calloc(1, 200000);
        memcpy(big, "\xC6\x00\x03\x0D\x3B", 5); /* bin32 of 199995 */
        const uint64_t until_ns = tdi_now_ns() + 5 * TDI_NS_PER_S;
        for (int sent = 0; sent < 20 && tdi_now_ns() < until_ns;) {
            uint64_t id;
            const td_status status = tell(client, "echo", big, 200000, &id);
            sent += status == TD_OK;
            if (status != TD_OK && status != TD_BUSY)
                break;
            struct pollfd ended = {.fd = tdi_client_socket_fd(client), .events = POLLIN};
            if (poll(&ended, 1, 0) == 1)
                break;
        }
        free(big);
    } else { /* a body that changes after its CRC was taken */
        push_raw(client, call, &nine);
        client->up.data[(client->tx.at - 128 + 64) & (client->tx.capacity - 1)] ^= 1;
    }
    if (rule < 10 && !is_cut_off(client, rule == 9 ? "cursor" : "broke the rules")) {
        fprintf(stderr, "rule %d\n", rule);
        CHECK(!"a broken rule was let pass");
    }
    tdi_client_close(client);
}

static void a_broken_rule_costs_the_session_and_nobody_else(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    for (int rule = 0; rule < 10; rule++)
        break_rule(&bridge, rule);
    CHECK(still_serves(&bridge));
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* Random bytes over everything a peer may write, while the bridge works on it. */
static void noise_in_the_ring_never_hurts_the_bridge(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < 60; i++) {
        tdi_client *client = fixture_connect(&bridge);
        REQUIRE(client != NULL);
        for (int k = 0; k < 200; k++) {
            uint64_t id;
            tell(client, "echo", &nil, 1, &id);
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            const size_t at = random % (k % 4 == 0 ? 512 : 8192);
            uint8_t *where = k % 4 == 0 ? (uint8_t *)client->up.control : client->up.data;
            where[at] ^= (uint8_t)(random >> 40);
            tdi_bell_ring(&client->frames_rope, client->bell_out_fd);
        }
        tdi_client_close(client);
    }
    CHECK(still_serves(&bridge));
    CHECK_EQ(fixture_stop(&bridge), 0);
}

/* ---- nothing leaks ---- */

static int entries(pid_t pid, const char *what)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
    DIR *directory = opendir(path);
    int total = 0;
    while (directory != NULL && readdir(directory) != NULL)
        total++;
    if (directory != NULL)
        closedir(directory);
    return total;
}

static int mapped_memfds(pid_t pid)
{
    char path[64], line[512];
    int total = 0;
    snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(path, "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        total += strstr(line, "memfd:tandem") != NULL &&
                 strstr(line, "memfd:tandem-statistics") == NULL; /* the bridge's own */
    if (maps != NULL)
        fclose(maps);
    return total;
}

static void three_hundred_sudden_deaths_leave_nothing_behind(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    CHECK(still_serves(&bridge));
    usleep(20000);
    const int fds_before = entries(bridge.pid, "fd"), threads = entries(bridge.pid, "task");
    for (int i = 0; i < 300; i++) {
        const pid_t child = fork();
        if (child == 0) {
            if (i % 10 == 0) { /* dies before it has said a word */
                int fd;
                tdi_channel_connect(bridge.socket_path, tdi_now_ns() + TDI_NS_PER_S, &fd, NULL);
                _exit(0);
            }
            tdi_client *client = fixture_connect(&bridge);
            const uint8_t long_time = 60;
            uint64_t id;
            if (client == NULL)
                _exit(1);
            for (int k = 0; k < i % 4; k++)
                tell(client, k % 2 ? "echo" : "sleep", &long_time, 1, &id);
            raise(SIGKILL);
        }
        int status;
        waitpid(child, &status, 0);
        CHECK(status == 0 || status == SIGKILL);
    }
    int left = 1;
    for (int i = 0; i < 200 && left; i++) {
        usleep(10000);
        left = mapped_memfds(bridge.pid);
    }
    CHECK_EQ(left, 0);
    CHECK_EQ(entries(bridge.pid, "fd"), fds_before);
    CHECK_EQ(entries(bridge.pid, "task"), threads);
    CHECK(still_serves(&bridge));
    CHECK_EQ(fixture_stop(&bridge), 0);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    agent_bridge_path = argv[1];
    RUN(sigterm_ends_it_and_leaves_nothing);
    RUN(a_directory_has_one_bridge);
    RUN(a_dead_bridges_socket_is_replaced);
    RUN(an_open_directory_or_a_file_in_the_way_is_refused);
    RUN(a_very_long_path_is_fine);
    RUN(a_spawned_bridge_leaves_with_its_spawner);
    RUN(a_killed_program_leaves_neither_process_nor_file);
    RUN(a_spawned_bridge_lingers_after_its_last_session);
    RUN(it_can_gain_no_privileges_and_leads_its_session);
    RUN(another_build_is_refused_with_a_clear_line);
    RUN(malformed_and_future_hellos_are_refused);
    RUN(another_uid_is_cut_off);
    RUN(a_session_beyond_the_budget_is_busy);
    RUN(a_broken_rule_costs_the_session_and_nobody_else);
    RUN(noise_in_the_ring_never_hurts_the_bridge);
    RUN(three_hundred_sudden_deaths_leave_nothing_behind);
    return TEST_RESULT;
}
