/* docgen_scan_host - run one native action by itself: the tool of the parity tests.
 *
 * stdin is the payload, a MessagePack value; stdout is the output and the exit code 0, or
 * {"type", "message"} and the exit code 1, or nothing and 3 if it was cancelled. Any other end
 * is 2 and a line on stderr.
 *
 *   --reply-bytes-max N     bound of the output; default 1 GiB
 *   --at N ACT PATH         at the N-th look at the cancel flag (from 1) do ACT: "remove" PATH,
 *                           "append" one byte to it, put a "fifo" in its place, "move" it up
 *                           beside the folder that holds it, or "cancel" (PATH is ignored)
 *   --helpers N             threads beside the first one; default: one for each other CPU,
 *                           but 0 with --at, so that the N-th look is always the same
 *   --repeat N              run N times; each run's nanoseconds go to stderr, a line each
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "docgen_scan.h"
#include "docgen_scan_grow.h"
#include "docgen_scan_team.h"

typedef struct host_call {
    td_call call; /* first: an action sees this */
    tdi_grow payload;
    td_heap_writer output, failure;
    uint64_t polls, act_at, last_done;
    const char *act, *path;
    bool cancelled;
} host_call;

static td_view payload_of(td_call *call)
{
    host_call *const host = (host_call *)call;
    return (td_view){host->payload.data, host->payload.bytes};
}

static td_view nothing(td_call *call)
{
    (void)call;
    return (td_view){NULL, 0};
}

static td_writer *output_of(td_call *call)
{
    return &((host_call *)call)->output.writer;
}

static td_status fail(td_call *call, const char *type, const char *message)
{
    td_writer *const out = &((host_call *)call)->failure.writer;
    td_write_map(out, 2);
    td_write_text(out, "type");
    td_write_text(out, type);
    td_write_text(out, "message");
    td_write_text(out, message);
    return out->status == TD_OK ? TD_FAILED : out->status;
}

/* a/b/c becomes a/c.moved. */
static int move_up(const char *path)
{
    char to[4096];
    const char *const name = strrchr(path, '/');
    size_t bytes = (size_t)(name - path);
    while (bytes > 0 && path[bytes - 1] != '/')
        bytes--;
    snprintf(to, sizeof to, "%.*s%s.moved", (int)bytes, path, name + 1);
    return rename(path, to);
}

static void act_on(host_call *host)
{
    if (strcmp(host->act, "remove") == 0) {
        if (remove(host->path) != 0)
            perror(host->path);
    } else if (strcmp(host->act, "append") == 0) {
        const int fd = open(host->path, O_WRONLY | O_APPEND | O_CLOEXEC);
        if (fd < 0 || write(fd, "x", 1) != 1)
            perror(host->path);
        close(fd);
    } else if (strcmp(host->act, "fifo") == 0) {
        if (remove(host->path) != 0 || mkfifo(host->path, 0600) != 0)
            perror(host->path);
    } else if (strcmp(host->act, "move") == 0) {
        if (move_up(host->path) != 0)
            perror(host->path);
    } else {
        host->cancelled = true;
    }
}

static bool cancelled(td_call *call)
{
    host_call *const host = (host_call *)call;
    if (++host->polls == host->act_at)
        act_on(host);
    return host->cancelled;
}

static void progress(td_call *call, uint64_t done, uint64_t total)
{
    host_call *const host = (host_call *)call;
    (void)total;
    if (done < host->last_done)
        fprintf(stderr, "progress went back from %" PRIu64 " to %" PRIu64 "\n", host->last_done,
                done);
    host->last_done = done;
}

static void log_line(td_call *call, int level, const char *message)
{
    (void)call;
    fprintf(stderr, "log %d: %s\n", level, message);
}

static uint64_t no_deadline(td_call *call)
{
    (void)call;
    return 0;
}

static uint32_t first_attempt(td_call *call)
{
    (void)call;
    return 1;
}

static const td_call_ops host_ops = {
    .size = sizeof(td_call_ops),
    .payload = payload_of,
    .inputs = nothing,
    .output = output_of,
    .fail = fail,
    .cancelled = cancelled,
    .progress = progress,
    .log = log_line,
    .deadline_ns = no_deadline,
    .attempt = first_attempt,
    .idempotency_key = nothing,
};

static bool write_all(const td_writer *writer)
{
    const uint8_t *at = writer->start;
    while (at < writer->at) {
        const ssize_t wrote = write(STDOUT_FILENO, at, (size_t)(writer->at - at));
        if (wrote < 0 && errno != EINTR)
            return false;
        at += wrote > 0 ? wrote : 0;
    }
    return true;
}

static bool read_all(tdi_grow *into)
{
    uint8_t block[4096];
    ssize_t got;
    while ((got = read(STDIN_FILENO, block, sizeof block)) > 0)
        if (!tdi_grow_add(into, block, (size_t)got))
            return false;
    return got == 0;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int run(host_call *host, long repeat)
{
    td_status status = TD_OK;
    for (long i = 0; i < repeat; i++) {
        td_heap_writer_reset(&host->output);
        td_heap_writer_reset(&host->failure);
        host->last_done = 0;
        const uint64_t start = now_ns();
        status = tdi_docgen_actions[0].run(&host->call);
        if (repeat > 1)
            fprintf(stderr, "%" PRIu64 "\n", now_ns() - start);
    }
    if (status == TD_OK && host->output.writer.status == TD_OK)
        return write_all(&host->output.writer) ? 0 : 2;
    if (status == TD_FAILED)
        return write_all(&host->failure.writer) ? 1 : 2;
    if (status == TD_CANCELLED && host->cancelled)
        return 3;
    fprintf(stderr, "docgen_scan_host: ended with status %d, output %d\n", status,
            host->output.writer.status);
    return 2;
}

int main(int argc, char **argv)
{
    host_call host = {.call.ops = &host_ops};
    long repeat = 1;
    int helpers = -1;
    size_t reply_bytes_max = 1u << 30;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--at") == 0 && i + 3 < argc) {
            host.act_at = strtoull(argv[i + 1], NULL, 10);
            host.act = argv[i + 2];
            host.path = argv[i + 3];
            i += 3;
        } else if (strcmp(argv[i], "--helpers") == 0 && i + 1 < argc) {
            helpers = (int)strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--repeat") == 0 && i + 1 < argc) {
            repeat = strtol(argv[++i], NULL, 10);
        } else if (strcmp(argv[i], "--reply-bytes-max") == 0 && i + 1 < argc) {
            reply_bytes_max = strtoull(argv[++i], NULL, 10);
        } else {
            fprintf(stderr, "docgen_scan_host: unknown argument '%s'\n", argv[i]);
            return 2;
        }
    }
    tdi_team_helpers_wanted = host.act != NULL && helpers < 0 ? 0 : helpers;
    td_heap_writer_init(&host.output, reply_bytes_max);
    td_heap_writer_init(&host.failure, 1u << 16);
    const int code = read_all(&host.payload) ? run(&host, repeat) : 2;
    td_heap_writer_fini(&host.output);
    td_heap_writer_fini(&host.failure);
    tdi_grow_fini(&host.payload);
    return code;
}
