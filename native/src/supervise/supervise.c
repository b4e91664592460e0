/* supervise.c - start a bridge and a host for each plug-in; restart what dies, with back-off. */
#include "supervise/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bridge/bridge.h"

#define CHILDREN_MAX   65
#define BACK_OFF_FIRST (100 * TDI_NS_PER_MS)
#define BACK_OFF_MAX   (30 * TDI_NS_PER_S)
#define STEADY_NS      (10 * TDI_NS_PER_S) /* up so long: earlier deaths are forgotten */
#define GRACE_NS       (3 * TDI_NS_PER_S)

enum { EXIT_USAGE = 2, EXIT_HELD = 3 };

static const char usage[] =
    "usage: agent_bridge supervise [--socket PATH] [--plugin FILE.so]... [--config FILE]\n"
    "                              [options of the bridge or of a host]\n"
    "\n"
    "The bridge is handed --buffer-size, --max-agents, --workers, --spin-ns, --cpus, --blobs,\n"
    "--blob-bytes, --blob-bytes-total, --blob-broadcast-bytes, --huge-pages, --lock-memory and\n"
    "--realtime (agent_bridge --help); each host --grace-ms and --memory-max (agent_bridge host\n"
    "--help).\n"
    "A configuration file has lines `key = value` and # comments; keys: socket, plugin (may\n"
    "come again), and those options with _ for -, the last three of the bridge's as true or\n"
    "false. It must be yours, and nobody else may be able to write it. Options win over the\n"
    "file. SIGTERM and SIGINT end all.\n";

/* What is handed on, to the bridge or to each host. */
static const struct passed {
    const char *key, *option;
    bool to_hosts, is_flag;
} passed[] = {
    {"buffer_size", "--buffer-size", false, false},
    {"max_agents", "--max-agents", false, false},
    {"workers", "--workers", false, false},
    {"spin_ns", "--spin-ns", false, false},
    {"cpus", "--cpus", false, false},
    {"blobs", "--blobs", false, false},
    {"blob_bytes", "--blob-bytes", false, false},
    {"blob_bytes_total", "--blob-bytes-total", false, false},
    {"blob_broadcast_bytes", "--blob-broadcast-bytes", false, false},
    {"huge_pages", "--huge-pages", false, true},
    {"lock_memory", "--lock-memory", false, true},
    {"realtime", "--realtime", false, true},
    {"grace_ms", "--grace-ms", true, false},
    {"memory_max", "--memory-max", true, false},
};
enum { PASSED_TOTAL = sizeof passed / sizeof passed[0] };

typedef struct child {
    const char *plugin; /* NULL: the bridge */
    pid_t pid;          /* 0: not running */
    uint64_t started_ns, next_ns, back_off_ns;
} child;

typedef struct plan {
    char program[PATH_MAX], socket[PATH_MAX];
    char *values[PASSED_TOTAL];   /* by `passed`; a flag's is "true" or "false" */
    bool by_option[PASSED_TOTAL]; /* the file does not change it */
    child children[CHILDREN_MAX];
    int total;
} plan;

static int add_plugin(plan *wish, const char *path)
{
    if (wish->total == CHILDREN_MAX) {
        fprintf(stderr, "supervise: more than %d plug-ins\n", CHILDREN_MAX - 1);
        return 0;
    }
    wish->children[wish->total++] = (child){.plugin = strdup(path)};
    return 1;
}

static void set(plan *wish, int at, const char *value)
{
    free(wish->values[at]);
    wish->values[at] = strdup(value);
}

static int take(plan *wish, const char *key, const char *value, const char *file, int line)
{
    if (strcmp(key, "plugin") == 0)
        return add_plugin(wish, value);
    if (strcmp(key, "socket") == 0) {
        if (wish->socket[0] == '\0')
            snprintf(wish->socket, sizeof wish->socket, "%s", value);
        return 1;
    }
    for (int i = 0; i < PASSED_TOTAL; i++)
        if (strcmp(key, passed[i].key) == 0) {
            if (passed[i].is_flag && strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
                fprintf(stderr, "supervise: %s:%d: %s must be true or false, not '%s'\n", file,
                        line, key, value);
                return 0;
            }
            if (!wish->by_option[i])
                set(wish, i, value);
            return 1;
        }
    fprintf(stderr, "supervise: %s:%d: unknown key '%s'\n", file, line, key);
    return 0;
}

static char *trimmed(char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    size_t bytes = strlen(text);
    while (bytes > 0 && strchr(" \t\r\n", text[bytes - 1]) != NULL)
        text[--bytes] = '\0';
    return text;
}

static int read_config(plan *wish, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0) {
        fprintf(stderr, "supervise: '%s': %s\n", path, strerror(errno));
        return 0;
    }
    if (about.st_uid != geteuid() || (about.st_mode & 022) != 0 || !S_ISREG(about.st_mode)) {
        fprintf(stderr, "supervise: '%s': must be yours and writable by nobody else\n", path);
        close(fd);
        return 0;
    }
    FILE *file = fdopen(fd, "r");
    char line[PATH_MAX + 64];
    int fine = file != NULL, at = 0;
    while (fine && fgets(line, sizeof line, file) != NULL) {
        at++;
        char *text = trimmed(line), *equals = strchr(text, '=');
        if (*text == '\0' || *text == '#')
            continue;
        if (equals == NULL) {
            fprintf(stderr, "supervise: %s:%d: not 'key = value'\n", path, at);
            fine = 0;
            break;
        }
        *equals = '\0';
        fine = take(wish, trimmed(text), trimmed(equals + 1), path, at);
    }
    if (file != NULL)
        fclose(file);
    return fine;
}

static void start(plan *wish, child *one)
{
    const char *argv[24] = {wish->program};
    int at = 1;
    if (one->plugin != NULL) {
        argv[at++] = "host";
        argv[at++] = one->plugin;
    }
    argv[at++] = "--socket";
    argv[at++] = wish->socket;
    for (int i = 0; i < PASSED_TOTAL; i++) {
        const char *value = wish->values[i];
        if (value == NULL || passed[i].to_hosts != (one->plugin != NULL))
            continue;
        if (passed[i].is_flag && strcmp(value, "true") != 0)
            continue;
        argv[at++] = passed[i].option;
        if (!passed[i].is_flag)
            argv[at++] = value;
    }
    const pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
            _exit(1);
        execv(wish->program, (char **)(uintptr_t)argv);
        _exit(127);
    }
    one->pid = pid > 0 ? pid : 0;
    one->started_ns = tdi_now_ns();
    if (pid < 0) {
        fprintf(stderr, "supervise: fork: %s\n", strerror(errno));
        one->next_ns = one->started_ns + BACK_OFF_MAX;
    }
}

static const char *name_of(const child *one)
{
    return one->plugin != NULL ? one->plugin : "bridge";
}

/* Note the dead. Returns 0 when going on makes no sense. */
static int reap(plan *wish, int stopping)
{
    for (int i = 0; i < wish->total; i++) {
        child *one = &wish->children[i];
        int status;
        if (one->pid == 0 || waitpid(one->pid, &status, WNOHANG) != one->pid)
            continue;
        one->pid = 0;
        if (stopping)
            continue;
        const uint64_t now_ns = tdi_now_ns();
        if (one->back_off_ns == 0 || now_ns - one->started_ns >= STEADY_NS)
            one->back_off_ns = BACK_OFF_FIRST;
        else
            one->back_off_ns =
                one->back_off_ns * 2 < BACK_OFF_MAX ? one->back_off_ns * 2 : BACK_OFF_MAX;
        one->next_ns = now_ns + one->back_off_ns;
        if (WIFSIGNALED(status))
            fprintf(stderr, "supervise: %s was killed by SIG%s; again in %llu ms\n", name_of(one),
                    sigabbrev_np(WTERMSIG(status)),
                    (unsigned long long)(one->back_off_ns / TDI_NS_PER_MS));
        else
            fprintf(stderr, "supervise: %s ended with %d; again in %llu ms\n", name_of(one),
                    WEXITSTATUS(status), (unsigned long long)(one->back_off_ns / TDI_NS_PER_MS));
        if (one->plugin == NULL && WIFEXITED(status) &&
            (WEXITSTATUS(status) == EXIT_HELD || WEXITSTATUS(status) == EXIT_USAGE))
            return 0; /* another bridge is there, or the options are wrong: no use in repeating */
    }
    return 1;
}

static int alive(const plan *wish)
{
    int total = 0;
    for (int i = 0; i < wish->total; i++)
        total += wish->children[i].pid != 0;
    return total;
}

static void signal_all(const plan *wish, int number)
{
    for (int i = wish->total - 1; i >= 0; i--) /* hosts before the bridge; none is reaped yet */
        if (wish->children[i].pid != 0)
            kill(wish->children[i].pid, number);
}

static void stop(plan *wish, int signals)
{
    const uint64_t until_ns = tdi_now_ns() + GRACE_NS;
    signal_all(wish, SIGTERM);
    while (alive(wish) > 0) {
        struct pollfd wanted = {.fd = signals, .events = POLLIN};
        struct signalfd_siginfo about;
        poll(&wanted, 1, 50);
        if (read(signals, &about, sizeof about) < 0 && errno != EAGAIN)
            break;
        if (tdi_now_ns() >= until_ns)
            signal_all(wish, SIGKILL);
        reap(wish, 1);
    }
}

static int serve(plan *wish, int signals)
{
    for (;;) {
        const uint64_t now_ns = tdi_now_ns();
        uint64_t next_ns = now_ns + 60 * TDI_NS_PER_S;
        for (int i = 0; i < wish->total; i++) {
            child *one = &wish->children[i];
            if (one->pid == 0 && one->next_ns <= now_ns)
                start(wish, one);
            if (one->pid == 0 && one->next_ns < next_ns)
                next_ns = one->next_ns;
        }
        struct pollfd wanted = {.fd = signals, .events = POLLIN};
        poll(&wanted, 1, (int)((next_ns - now_ns) / TDI_NS_PER_MS + 1));
        struct signalfd_siginfo about;
        int told = 0;
        while (read(signals, &about, sizeof about) == (ssize_t)sizeof about)
            told |= about.ssi_signo != SIGCHLD;
        if (told) {
            stop(wish, signals);
            return 0;
        }
        if (!reap(wish, 0)) {
            stop(wish, signals);
            return 1;
        }
    }
}

int tdi_supervise_main(int argc, char **argv)
{
    enum { FIRST_PASSED = 256 }; /* above every letter */
    struct option known[PASSED_TOTAL + 5] = {{"socket", required_argument, NULL, 's'},
                                             {"plugin", required_argument, NULL, 'p'},
                                             {"config", required_argument, NULL, 'c'},
                                             {"help", no_argument, NULL, 'h'}};
    for (int i = 0; i < PASSED_TOTAL; i++)
        known[4 + i] = (struct option){passed[i].option + 2,
                                       passed[i].is_flag ? no_argument : required_argument, NULL,
                                       FIRST_PASSED + i};
    static plan wish = {.total = 1}; /* children[0] is the bridge */
    const char *config = NULL;
    int letter, fine = 1;
    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 's')
            snprintf(wish.socket, sizeof wish.socket, "%s", optarg);
        else if (letter == 'p')
            fine &= add_plugin(&wish, optarg);
        else if (letter == 'c')
            config = optarg;
        else if (letter == 'h')
            return fputs(usage, stdout) < 0;
        else if (letter >= FIRST_PASSED) {
            const int at = letter - FIRST_PASSED;
            set(&wish, at, passed[at].is_flag ? "true" : optarg);
            wish.by_option[at] = true;
        } else
            fine = 0;
    }
    if (!fine || optind != argc) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (config != NULL && !read_config(&wish, config))
        return EXIT_USAGE;
    if (wish.socket[0] == '\0')
        tdi_default_socket(wish.socket, sizeof wish.socket);
    const ssize_t bytes = readlink("/proc/self/exe", wish.program, sizeof wish.program - 1);
    if (bytes <= 0) {
        fprintf(stderr, "supervise: /proc/self/exe: %s\n", strerror(errno));
        return 1;
    }
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    const int signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        fprintf(stderr, "supervise: signalfd: %s\n", strerror(errno));
        return 1;
    }
    return serve(&wish, signals);
}
