/* host.c - load one plug-in from a sealed copy, connect as its agent, run one call at a time. */
#include "host/host.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "tandem/connect.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define PLUGIN_BYTES_MAX ((off_t)256 << 20)

enum { EXIT_USAGE = 2 };

static const char usage[] =
    "usage: agent_bridge host PLUGIN.so [--socket PATH] [--grace-ms MS] [--memory-max BYTES]\n"
    "\n"
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

int tdi_host_main(int argc, char **argv)
{
    static const struct option known[] = {{"socket", required_argument, NULL, 's'},
                                          {"grace-ms", required_argument, NULL, 'g'},
                                          {"memory-max", required_argument, NULL, 'm'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    const char *socket_path = NULL;
    unsigned long long grace_ms = 2000, memory_max = 0;
    int letter, fine = 1;
    while ((letter = getopt_long(argc, argv, "", known, NULL)) != -1) {
        if (letter == 's')
            socket_path = optarg;
        else if (letter == 'g')
            fine &= number("grace-ms", optarg, 86400000, &grace_ms);
        else if (letter == 'm')
            fine &= number("memory-max", optarg, 1ull << 46, &memory_max);
        else if (letter == 'h')
            return fputs(usage, stdout) < 0;
        else
            fine = 0;
    }
    if (!fine || optind + 1 != argc) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core); /* payloads stay out of core files */
    const struct td_plugin *plugin = load(argv[optind]);
    if (plugin == NULL || !limit_memory(memory_max))
        return 1;
    const td_agent_options options = {.size = sizeof options,
                                      .socket_path = socket_path,
                                      .actions = plugin->actions,
                                      .actions_total = plugin->actions_total,
                                      .host = 1,
                                      .grace_ms = (uint32_t)grace_ms};
    return td_agent_main(&options);
}
