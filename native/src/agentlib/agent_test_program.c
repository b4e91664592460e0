/* An agent for tests: argv = name, socket, workers [, version [, nanoseconds of spinning]]. Its
 * actions do what tests need. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tandem/connect.h"

static td_status echo(td_call *call)
{
    const td_view payload = td_payload(call);
    return td_write_raw(td_output(call), payload.data, payload.bytes);
}

static td_status die(td_call *call)
{
    (void)call;
    kill(getpid(), SIGKILL);
    return TD_OK;
}

static td_status nap(td_call *call)
{
    td_progress(call, 3, 7);
    while (!td_cancelled(call)) {
        const struct timespec step = {.tv_nsec = 1000000};
        nanosleep(&step, NULL);
    }
    return TD_CANCELLED;
}

static td_status refuse(td_call *call)
{
    return td_fail(call, "ValueError", "not today");
}

static td_status pid(td_call *call)
{
    return td_write_int(td_output(call), getpid());
}

/* n: n bytes, each the low byte of its place. */
static td_status make(td_call *call)
{
    const td_view body = td_payload(call);
    td_reader payload = td_reader_of(body.data, body.bytes);
    uint64_t bytes;
    if (td_read_uint(&payload, &bytes) != TD_OK)
        return td_fail(call, "TypeError", "a number of bytes expected");
    uint8_t *made = malloc(bytes + 1);
    if (made == NULL)
        return td_fail(call, "MemoryError", "no memory for the bytes");
    for (uint64_t i = 0; i < bytes; i++)
        made[i] = (uint8_t)i;
    const td_status status = td_write_bin(td_output(call), made, bytes);
    free(made);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    const char *version = argc > 4 ? argv[4] : "1";
    const td_action actions[] = {
        {argv[1], "echo", echo, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, version},
        {argv[1], "receive", echo, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, version},
        {argv[1], "die", die, TD_EFFECTS_EXTERNAL, TD_RUNS_SHORT, 0, 0, version},
        {argv[1], "nap", nap, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 0, 0, version},
        {argv[1], "refuse", refuse, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, version},
        {argv[1], "make", make, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, version},
        {argv[1], "pid", pid, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, version},
    };
    const td_agent_options options = {.size = sizeof options,
                                      .socket_path = argv[2],
                                      .actions = actions,
                                      .actions_total = 7,
                                      .workers = (uint32_t)atoi(argv[3]),
                                      .spin_ns = argc > 5 ? (uint32_t)atoi(argv[5]) : 2000};
    return td_agent_main(&options);
}
