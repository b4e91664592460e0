/* A plug-in whose calls leave a trace outside: {"path", "run", "step", "n"} appends one line to the
 * file, with the call's idempotency key, and gives 2n. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <tandem/agent.h>
#include <tandem/message.h>

static bool text_of(const td_reader map, const char *key, char *out, size_t room)
{
    td_reader value;
    const char *text;
    size_t bytes;
    if (td_map_find(map, key, &value) != TD_OK || td_read_str(&value, &text, &bytes) != TD_OK ||
        bytes >= room)
        return false;
    memcpy(out, text, bytes);
    out[bytes] = '\0';
    return true;
}

static void rest(uint64_t n)
{
    const struct timespec some = {0, (long)(n % 7) * 1500000};
    nanosleep(&some, NULL);
}

static td_status note(td_call *call)
{
    const td_view payload = td_payload(call), key = td_idempotency_key(call);
    const td_reader map = td_reader_of(payload.data, payload.bytes);
    char path[512], run[128], step[64], line[512];
    td_reader value;
    uint64_t n;
    if (!text_of(map, "path", path, sizeof path) || !text_of(map, "run", run, sizeof run) ||
        !text_of(map, "step", step, sizeof step) || td_map_find(map, "n", &value) != TD_OK ||
        td_read_uint(&value, &n) != TD_OK)
        return td_fail(call, "ValueError", "path, run, step and n are needed");
    rest(n);
    const int bytes = snprintf(line, sizeof line, "%.*s %s %s\n", (int)key.bytes,
                               (const char *)key.data, run, step);
    const int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || write(file, line, (size_t)bytes) != bytes)
        return td_fail(call, "OSError", "the ledger cannot be written");
    close(file);
    rest(n + 3);
    return td_write_uint(td_output(call), 2 * n);
}

static td_status twice(td_call *call)
{
    const td_view payload = td_payload(call);
    td_reader value = td_reader_of(payload.data, payload.bytes);
    uint64_t n;
    if (td_read_uint(&value, &n) != TD_OK)
        return td_fail(call, "ValueError", "a number is needed");
    rest(n);
    return td_write_uint(td_output(call), 2 * n);
}

static const td_action actions[] = {
    {"ledger", "note", note, TD_EFFECTS_EXTERNAL, TD_RUNS_BLOCKING, 1, 0, "1"},
    {"ledger", "twice", twice, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, "1"},
};
TD_PLUGIN(actions);
