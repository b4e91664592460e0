/* main.c - agent_bridge: the C layer's home. Options, set-up, serve, leave. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/crc32c.h"
#include "bridge/blob.h"
#include "bridge/confine.h"
#include "host/host.h"
#include "supervise/supervise.h"
#include "topology/cpuid_tell.h"
#include "wire/channel.h"

enum { EXIT_USAGE = 2, EXIT_HELD = 3 };

static const char usage[] =
    "usage: agent_bridge [--socket PATH] [options]\n"
    "       agent_bridge host PLUGIN.so [options]   (host --help)\n"
    "       agent_bridge supervise [options]        (supervise --help)\n"
    "       agent_bridge --version | --cpuid\n"
    "\n"
    "  --socket PATH        absolute; its directory is made with mode 700 if it is missing\n"
    "                       ($TANDEM_SOCKET, else default/bridge.sock in the runtime directory)\n"
    "  --buffer-size BYTES  ring memory of all sessions together (16777216)\n"
    "  --max-agents N       agent sessions that the budget is cut for (32)\n"
    "  --workers N          threads for blocking actions (4)\n"
    "  --spawned-by-fd FD   leave when this is at its end and no session is left\n"
    "  --linger-ms MS       spawned: leave so long after the last session (2000)\n"
    "  --ready-fd FD        write \"ready\\n\" here once the socket listens, and close it\n"
    "  --spin-ns NS         look so long for more work before sleeping (2000)\n"
    "  --late-ms MS         answer for an agent that is silent so long after a deadline (1000)\n"
    "  --cpus LIST          run on these CPUs, as 0-3,8, where a call wishes for no others\n"
    "  --blobs N            sealed blobs that a session may have at a time (8); 0: none at all\n"
    "  --blob-bytes BYTES   their bytes, and so the longest body (1073741824)\n"
    "  --blob-bytes-total BYTES  of all sessions together (2147483648)\n"
    "  --blob-broadcast-bytes BYTES  a message that long goes to many agents as one (1048576)\n"
    "  --huge-pages         for rings of 2 MiB and more\n"
    "  --lock-memory        keep rings from being swapped out\n"
    "  --realtime           SCHED_RR for the thread that moves frames\n"
    "                       (what the system refuses of these four is done without)\n"
    "  --build-id HEX       stand in for the compiled build id (tests)\n"
    "\n"
    "Exit: 0 told to leave, or nobody left; 1 cannot serve; 2 usage; 3 another bridge holds the\n"
    "directory. SIGTERM: leave. SIGINT and SIGHUP are ignored.\n";

static int number(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || value < least ||
        value > most) {
        fprintf(stderr, "agent_bridge: --%s %s: must be a number from %llu to %llu\n", name, text,
                (unsigned long long)least, (unsigned long long)most);
        return 0;
    }
    *out = value;
    return 1;
}

/* Returns -1 to go on, or an exit code. */
static int read_options(int argc, char **argv, tdi_bridge_options *options)
{
    static const struct option known[] = {
        {"socket", required_argument, NULL, 's'},
        {"buffer-size", required_argument, NULL, 'b'},
        {"max-agents", required_argument, NULL, 'a'},
        {"workers", required_argument, NULL, 'w'},
        {"linger-ms", required_argument, NULL, 'l'},
        {"spawned-by-fd", required_argument, NULL, 'p'},
        {"ready-fd", required_argument, NULL, 'r'},
        {"spin-ns", required_argument, NULL, 'n'},
        {"late-ms", required_argument, NULL, 't'},
        {"build-id", required_argument, NULL, 'i'},
        {"cpus", required_argument, NULL, 'c'},
        {"blobs", required_argument, NULL, 'o'},
        {"blob-bytes", required_argument, NULL, 'O'},
        {"blob-bytes-total", required_argument, NULL, 'T'},
        {"blob-broadcast-bytes", required_argument, NULL, 'B'},
        {"huge-pages", no_argument, NULL, 'H'},
        {"lock-memory", no_argument, NULL, 'L'},
        {"realtime", no_argument, NULL, 'R'},
        {"cpuid", no_argument, NULL, 'q'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    uint64_t agents = 32, workers = 4, linger_ms = 2000, parent = UINT64_MAX, ready = UINT64_MAX;
    uint64_t spin_ns = 2000, late_ms = 1000;
    char flags[TDI_CPU_TEXT_BYTES_MAX];
    int letter, at, fine = 1;
    while ((letter = getopt_long(argc, argv, "", known, &at)) != -1) {
        switch (letter) {
        case 's':
            options->socket_path = optarg;
            break;
        case 'i':
            options->build_id = optarg;
            break;
        case 'b':
            fine &= number("buffer-size", optarg, 1, UINT64_C(1) << 40, &options->buffer_bytes);
            break;
        case 'a':
            fine &= number("max-agents", optarg, 1, TDI_AGENTS_MAX, &agents);
            break;
        case 'w':
            fine &= number("workers", optarg, 1, TDI_POOL_THREADS_MAX, &workers);
            break;
        case 'l':
            fine &= number("linger-ms", optarg, 0, 86400000, &linger_ms);
            break;
        case 'p':
            fine &= number("spawned-by-fd", optarg, 3, INT_MAX, &parent);
            break;
        case 'r':
            fine &= number("ready-fd", optarg, 1, INT_MAX, &ready);
            break;
        case 'n':
            fine &= number("spin-ns", optarg, 0, 1000000000, &spin_ns);
            break;
        case 't':
            fine &= number("late-ms", optarg, 1, 100000000, &late_ms);
            break;
        case 'c':
            options->cpus = optarg;
            break;
        case 'o':
            fine &= number("blobs", optarg, 0, TDI_BLOBS_SESSION_MAX, &options->blobs);
            break;
        case 'O':
            fine &= number("blob-bytes", optarg, 1, UINT32_MAX, &options->blob_bytes);
            break;
        case 'T':
            fine &= number("blob-bytes-total", optarg, 1, UINT64_C(1) << 40,
                           &options->blob_bytes_total);
            break;
        case 'B':
            fine &= number("blob-broadcast-bytes", optarg, 1, UINT32_MAX,
                           &options->blob_broadcast_bytes);
            break;
        case 'H':
            options->huge_pages = true;
            break;
        case 'L':
            options->locked = true;
            break;
        case 'R':
            options->realtime = true;
            break;
        case 'q':
            tdi_cpuid_tell_here(stdout);
            return 0;
        case 'v':
            printf("agent_bridge %s build %s protocol %d\n", tdi_version(), tdi_build_id(),
                   TDI_PROTOCOL);
            printf("simd: %s; crc32c: %s\n", tdi_cpu_flags_text(tdi_cpu_flags(), flags),
                   tdi_crc32c_path());
            return 0;
        case 'h':
            fputs(usage, stdout);
            return 0;
        default:
            fine = 0;
        }
    }
    if (optind < argc)
        fprintf(stderr, "agent_bridge: '%s' is no option\n", argv[optind]);
    if (!fine || optind < argc) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (options->socket_path == NULL) {
        static char path[PATH_MAX];
        tdi_default_socket(path, sizeof path);
        options->socket_path = path;
        fprintf(stderr, "agent_bridge: listening at %s\n", path);
    }
    options->agents_max = (uint32_t)agents;
    options->workers = (uint32_t)workers;
    options->linger_ns = linger_ms * TDI_NS_PER_MS;
    options->spin_ns = spin_ns;
    options->late_ns = late_ms * TDI_NS_PER_MS;
    options->spawned_by_fd = parent == UINT64_MAX ? -1 : (int)parent;
    options->ready_fd = ready == UINT64_MAX ? -1 : (int)ready;
    return -1;
}

/* What the spawner left open by accident is not ours to keep alive. */
static void close_strangers(const tdi_bridge_options *options)
{
    int keep[2] = {options->spawned_by_fd, options->ready_fd};
    if (keep[0] > keep[1]) {
        const int swap = keep[0];
        keep[0] = keep[1];
        keep[1] = swap;
    }
    unsigned from = 3;
    for (int i = 0; i < 2; i++) {
        if (keep[i] < 3)
            continue;
        if ((unsigned)keep[i] > from)
            syscall(SYS_close_range, from, (unsigned)keep[i] - 1, 0);
        from = (unsigned)keep[i] + 1;
    }
    syscall(SYS_close_range, from, ~0U, 0);
}

static void become_a_service(const tdi_bridge_options *options)
{
    close_strangers(options);
    umask(077);
    setsid(); /* fails in a process group's leader, whose spawner has done it then */
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static td_status watch_in(tdi_bridge *bridge, int epoll_fd, int fd, tdi_source *source,
                          tdi_source_kind kind, const char *what, tdi_error *error)
{
    *source = (tdi_source){kind, bridge};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "%s (fd %d): %s", what, fd, strerror(errno));
    return TD_OK;
}

static td_status watch(tdi_bridge *bridge, int fd, tdi_source *source, tdi_source_kind kind,
                       const char *what, tdi_error *error)
{
    return watch_in(bridge, bridge->epoll_fd, fd, source, kind, what, error);
}

static td_status set_up(tdi_bridge *bridge, tdi_error *error)
{
    sigset_t leave;
    sigemptyset(&leave);
    sigaddset(&leave, SIGTERM);
    sigprocmask(SIG_BLOCK, &leave, NULL);
    bridge->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    bridge->signal_fd = signalfd(-1, &leave, SFD_CLOEXEC | SFD_NONBLOCK);
    bridge->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    bridge->door_fd = epoll_create1(EPOLL_CLOEXEC);
    if (bridge->epoll_fd < 0 || bridge->door_fd < 0 || bridge->signal_fd < 0)
        return tdi_fail(error, TD_ERR_SYSTEM, "epoll or signalfd: %s", strerror(errno));
    for (int i = 0; i < TDI_GUESTS_MAX; i++)
        bridge->guests[i].fd = -1;
    /* The longest frame of the largest ring. */
    for (int kind = 0; kind < 3; kind++)
        if (bridge->scratch_bytes < tdi_ring_span_max(bridge->budget.ring_bytes[kind]))
            bridge->scratch_bytes = tdi_ring_span_max(bridge->budget.ring_bytes[kind]);
    bridge->scratch = malloc(bridge->scratch_bytes);
    if (bridge->scratch == NULL)
        return tdi_fail(error, TD_ERR_MEMORY, "no memory for a frame");
    if (tdi_confine(error) != TD_OK)
        tdi_note(&bridge->notes, "%s", error->text);
    td_status status = tdi_statistics_create((uint64_t)getpid(), tdi_now_ns(),
                                             &bridge->statistics_fd, &bridge->statistics, error);
    if (status == TD_OK)
        status = tdi_registry_add_built_in(&bridge->registry, error);
    if (status == TD_OK)
        status =
            tdi_pool_create(bridge->options.workers, TDI_JOBS_QUEUED_MAX, &bridge->pool, error);
    if (status == TD_OK)
        status = watch(bridge, tdi_pool_fd(bridge->pool), &bridge->pool_source, TDI_SOURCE_POOL,
                       "worker pool", error);
    if (status == TD_OK)
        status =
            watch(bridge, bridge->signal_fd, &bridge->signal, TDI_SOURCE_SIGNAL, "signals", error);
    if (status == TD_OK && bridge->options.spawned_by_fd >= 0)
        status = watch(bridge, bridge->options.spawned_by_fd, &bridge->parent, TDI_SOURCE_PARENT,
                       "--spawned-by-fd", error);
    if (status == TD_OK)
        status = tdi_channel_listen(bridge->options.socket_path, &bridge->listener_fd, error);
    if (status == TD_OK)
        status = watch_in(bridge, bridge->door_fd, bridge->listener_fd, &bridge->listener,
                          TDI_SOURCE_LISTENER, "socket", error);
    if (status == TD_OK)
        status = watch(bridge, bridge->door_fd, &bridge->door, TDI_SOURCE_DOOR, "door", error);
    return status;
}

static void say_ready(int fd)
{
    static const char ready[] = "ready\n";
    if (fd < 0)
        return;
    if (write(fd, ready, sizeof ready - 1) < 0)
        fprintf(stderr, "agent_bridge: --ready-fd: %s\n", strerror(errno));
    close(fd);
}

int main(int argc, char **argv)
{
    static tdi_bridge bridge = {.options = {.buffer_bytes = 16 << 20,
                                            .blobs = TDI_BLOBS_DEFAULT,
                                            .blob_bytes = TDI_BLOB_BYTES_DEFAULT,
                                            .blob_bytes_total = TDI_BLOB_BYTES_TOTAL,
                                            .blob_broadcast_bytes = TDI_BLOB_BROADCAST_BYTES},
                                .lock_fd = -1,
                                .listener_fd = -1,
                                .epoll_fd = -1,
                                .door_fd = -1,
                                .spare_fd = -1,
                                .signal_fd = -1};
    tdi_error error = {""};
    if (argc > 1 && strcmp(argv[1], "host") == 0)
        return tdi_host_main(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "supervise") == 0)
        return tdi_supervise_main(argc - 1, argv + 1);
    const int done = read_options(argc, argv, &bridge.options);
    if (done >= 0)
        return done;
    become_a_service(&bridge.options);
    if (bridge.options.cpus != NULL && !tdi_wish_cpus(bridge.options.cpus, &bridge.notes)) {
        fprintf(stderr, "agent_bridge: --cpus %s: must be a list of CPUs such as 0-3,8\n",
                bridge.options.cpus);
        return EXIT_USAGE;
    }
    tdi_cpus_init(&bridge.cpus);
    td_status status = tdi_budget_init(&bridge.budget, bridge.options.buffer_bytes,
                                       bridge.options.agents_max, &error);
    if (status == TD_OK)
        status = tdi_runtime_dir_take(bridge.options.socket_path, &bridge.lock_fd, &error);
    if (status != TD_OK) {
        fprintf(stderr, "agent_bridge: %s\n", error.text);
        return status == TD_BUSY ? EXIT_HELD : status == TD_ERR_ARGUMENT ? EXIT_USAGE : 1;
    }
    status = set_up(&bridge, &error);
    if (status != TD_OK) {
        fprintf(stderr, "agent_bridge: %s\n", error.text);
        tdi_runtime_dir_leave(bridge.options.socket_path, bridge.lock_fd);
        return 1;
    }
    /* Last, so that what was made before is ordinary, and noted before anybody is welcomed. */
    if (bridge.options.realtime)
        tdi_wish_realtime(&bridge.notes);
    if (bridge.notes.bytes > 0)
        fprintf(stderr, "agent_bridge: %s\n", bridge.notes.text);
    say_ready(bridge.options.ready_fd);
    const int clean = tdi_bridge_serve(&bridge);
    tdi_runtime_dir_leave(bridge.options.socket_path, bridge.lock_fd);
    if (!clean) /* an action does not return; the process's end is what stops it */
        _exit(0);
    tdi_close_all(&bridge.listener_fd, 1);
    tdi_close_all(&bridge.epoll_fd, 1);
    tdi_close_all(&bridge.door_fd, 1);
    tdi_close_all(&bridge.spare_fd, 1);
    tdi_close_all(&bridge.signal_fd, 1);
    free(bridge.short_run.output.start);
    free(bridge.scratch);
    tdi_registry_free(&bridge.registry);
    return 0;
}
