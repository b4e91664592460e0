/* host.c - load one plug-in or library from a sealed copy, connect as its agent, run one call at
 * a time. */
#include "host/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "host/library.h"
#include "tandem/connect.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define PLUGIN_BYTES_MAX ((off_t)256 << 20)

enum { EXIT_USAGE = 2, LEAVE_S = 2 };

static const char usage[] =
    "usage: agent_bridge host PLUGIN.so [--socket PATH] [--grace-ms MS] [--memory-max BYTES]\n"
    "       agent_bridge host LIBRARY.so --library-fd FD --agent NAME\n"
    "                         (--action NAME --symbol NAME [--signature TEXT] [--effects WORD]\n"
    "                          [--version TEXT]) ... [options as above]\n"
    "\n"
    "  --library-fd FD     a sealed copy of a library that is no plug-in: its functions become\n"
    "                      the agent's actions; LIBRARY.so is its name in messages\n"
    "  --signature TEXT    as 'f64(f64 w, f64 h)'; without: td_status fn(td_call *)\n"
    "  --effects WORD      none, idempotent or external (external)\n"
    "  --lifeline FD       leave when its other end is closed\n"
    "  --socket PATH       the bridge's; else $TANDEM_SOCKET, else the runtime directory's\n"
    "  --grace-ms MS       end the process so long after a cancel or deadline that the action\n"
    "                      does not obey (2000; 0: never)\n"
    "  --memory-max BYTES  of address space beyond what the host itself uses (0: no limit)\n"
    "\n"
    "Exit: 0 told to stop (SIGTERM); 1 cannot load, connect, or the bridge has gone; 2 usage.\n";

/* The path is resolved once; what is loaded is a sealed copy, so that nobody can change it
 * between the look and the load. */
static int copy_of(const char *named, char *resolved, uint32_t *crc)
{
    if (realpath(named, resolved) == NULL) {
        fprintf(stderr, "host: '%s': %s\n", named, strerror(errno));
        return -1;
    }
    const int from = open(resolved, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat about;
    if (from < 0 || fstat(from, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size == 0 ||
        about.st_size > PLUGIN_BYTES_MAX) {
        fprintf(stderr, "host: '%s': must be a file of at most 256 MiB\n", resolved);
        if (from >= 0)
            close(from);
        return -1;
    }
    int copy = memfd_create("tandem-plugin", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (copy < 0 && errno == EINVAL) /* before Linux 6.3 */
        copy = memfd_create("tandem-plugin", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    static uint8_t piece[64 * 1024];
    ssize_t got = copy < 0 ? -1 : 0;
    *crc = 0;
    while (copy >= 0 && (got = read(from, piece, sizeof piece)) > 0) {
        *crc = tdi_crc32c(*crc, piece, (size_t)got);
        if (write(copy, piece, (size_t)got) != got) {
            got = -1;
            break;
        }
    }
    close(from);
    if (got != 0 ||
        fcntl(copy, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        fprintf(stderr, "host: '%s': cannot be copied: %s\n", resolved, strerror(errno));
        if (copy >= 0)
            close(copy);
        return -1;
    }
    return copy;
}

static const struct td_plugin *load(const char *named)
{
    char resolved[PATH_MAX], path[64];
    uint32_t crc;
    const int copy = copy_of(named, resolved, &crc);
    if (copy < 0)
        return NULL;
    snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char *why = library == NULL ? dlerror() : "";
    close(copy);
    if (library == NULL) {
        fprintf(stderr, "host: '%s' does not load: %s\n", resolved, why);
        return NULL;
    }
    const struct td_plugin *plugin = dlsym(library, "td_plugin");
    if (plugin == NULL) {
        fprintf(stderr, "host: '%s' exports no td_plugin: use TD_PLUGIN(actions)\n", resolved);
        return NULL;
    }
    if (plugin->abi != TD_AGENT_ABI || plugin->size < sizeof *plugin) {
        fprintf(stderr, "host: '%s': ABI %u of %u bytes, this host knows %u: build it again\n",
                resolved, plugin->abi, plugin->size, TD_AGENT_ABI);
        return NULL;
    }
    fprintf(stderr, "host: '%s' loaded, crc32c %08x\n", resolved, crc);
    return plugin; /* stays loaded as long as the process */
}

static int number(const char *name, const char *text, unsigned long long most,
                  unsigned long long *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    if (errno == 0 && end != text && *end == '\0' && text[0] != '-' && *out <= most)
        return 1;
    fprintf(stderr, "host: --%s %s: must be a number up to %llu\n", name, text, most);
    return 0;
}

/* What the process maps now, in bytes. */
static unsigned long long mapped(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL || fscanf(file, "%llu", &pages) != 1)
        pages = 0;
    if (file != NULL)
        fclose(file);
    return pages * (unsigned long long)sysconf(_SC_PAGESIZE);
}

static int limit_memory(unsigned long long bytes)
{
    if (bytes == 0)
        return 1;
    const rlim_t most = mapped() + bytes + (16u << 20); /* rings, stacks */
    const struct rlimit limit = {most, most};
    if (setrlimit(RLIMIT_AS, &limit) == 0)
        return 1;
    fprintf(stderr, "host: --memory-max: %s\n", strerror(errno));
    return 0;
}

/* Whoever started us has gone: finish as after SIGTERM, and do not wait for ever. */
static void *watch_lifeline(void *context)
{
    struct pollfd line = {.fd = (int)(intptr_t)context, .events = POLLIN};
    char byte;
    while (poll(&line, 1, -1) < 0 || recv(line.fd, &byte, 1, MSG_DONTWAIT) > 0)
        continue;
    kill(getpid(), SIGTERM);
    sleep(LEAVE_S);
    _exit(1);
}

static int follow_lifeline(int fd)
{
    pthread_t thread;
    if (fd < 0)
        return 1;
    if (pthread_create(&thread, NULL, watch_lifeline, (void *)(intptr_t)fd) != 0) {
        fprintf(stderr, "host: no thread to watch the lifeline\n");
        return 0;
    }
    pthread_detach(thread); /* ends with the process */
    return 1;
}

/* What the command line says. */
typedef struct host_options {
    const char *socket_path, *agent, *named;
    unsigned long long grace_ms, memory_max, library_fd, lifeline_fd;
    int has_library, has_lifeline;
    tdi_binding bindings[TDI_BINDINGS_MAX];
    size_t bindings_total;
} host_options;

static int effects_of(const char *word, uint8_t *out)
{
    static const char *const words[] = {"none", "idempotent", "external"};
    for (uint8_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(word, words[i]) == 0) {
            *out = i;
            return 1;
        }
    fprintf(stderr, "host: --effects %s: must be none, idempotent or external\n", word);
    return 0;
}

/* One of the options that describe the action named last. */
static int describe(host_options *options, int letter)
{
    if (letter == 'n') {
        if (options->bindings_total == TDI_BINDINGS_MAX) {
            fprintf(stderr, "host: more than %d actions\n", TDI_BINDINGS_MAX);
            return 0;
        }
        options->bindings[options->bindings_total++] =
            (tdi_binding){.action = optarg, .version = "1", .effects = TD_EFFECTS_EXTERNAL};
        return 1;
    }
    if (options->bindings_total == 0) {
        fprintf(stderr, "host: name the --action first\n");
        return 0;
    }
    tdi_binding *binding = &options->bindings[options->bindings_total - 1];
    if (letter == 'e')
        return effects_of(optarg, &binding->effects);
    if (letter == 'v')
        binding->version = optarg;
    else if (letter == 'y')
        binding->symbol = optarg;
    else
        binding->signature = optarg;
    return 1;
}

/* 1; 0 after a sentence; -1: asked for help. */
static int parse(int argc, char **argv, host_options *options)
{
    static const struct option known[] = {{"socket", required_argument, NULL, 's'},
                                          {"grace-ms", required_argument, NULL, 'g'},
                                          {"memory-max", required_argument, NULL, 'm'},
                                          {"library-fd", required_argument, NULL, 'f'},
                                          {"lifeline", required_argument, NULL, 'l'},
                                          {"agent", required_argument, NULL, 'a'},
                                          {"action", required_argument, NULL, 'n'},
                                          {"symbol", required_argument, NULL, 'y'},
                                          {"signature", required_argument, NULL, 'i'},
                                          {"effects", required_argument, NULL, 'e'},
                                          {"version", required_argument, NULL, 'v'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    int letter, fine = 1;
    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 's')
            options->socket_path = optarg;
        else if (letter == 'a')
            options->agent = optarg;
        else if (letter == 'g')
            fine &= number("grace-ms", optarg, 86400000, &options->grace_ms);
        else if (letter == 'm')
            fine &= number("memory-max", optarg, 1ull << 46, &options->memory_max);
        else if (letter == 'f')
            fine &= options->has_library =
                number("library-fd", optarg, INT_MAX, &options->library_fd);
        else if (letter == 'l')
            fine &= options->has_lifeline =
                number("lifeline", optarg, INT_MAX, &options->lifeline_fd);
        else if (letter == 'h')
            return -1;
        else
            fine &= letter != '?' && describe(options, letter);
    }
    for (size_t i = 0; i < options->bindings_total; i++)
        fine &= options->bindings[i].symbol != NULL;
    const int described = options->agent != NULL && options->bindings_total > 0;
    const int nothing = options->agent == NULL && options->bindings_total == 0;
    options->named = argv[optind];
    return fine && optind + 1 == argc && (options->has_library ? described : nothing);
}

int tdi_host_main(int argc, char **argv)
{
    static host_options options = {.grace_ms = 2000};
    const int parsed = parse(argc, argv, &options);
    if (parsed < 0)
        return fputs(usage, stdout) < 0;
    if (parsed == 0) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core); /* payloads stay out of core files */
    td_agent_options agent = {.size = sizeof agent,
                              .socket_path = options.socket_path,
                              .host = 1,
                              .grace_ms = (uint32_t)options.grace_ms};
    if (options.has_library) {
        agent.actions = tdi_library_actions((int)options.library_fd, options.named, options.agent,
                                            options.bindings, options.bindings_total);
        agent.actions_total = options.bindings_total;
    } else {
        const struct td_plugin *plugin = load(options.named);
        agent.actions = plugin != NULL ? plugin->actions : NULL;
        agent.actions_total = plugin != NULL ? plugin->actions_total : 0;
    }
    if (agent.actions == NULL || !limit_memory(options.memory_max) ||
        !follow_lifeline(options.has_lifeline ? (int)options.lifeline_fd : -1))
        return 1;
    return td_agent_main(&agent);
}
