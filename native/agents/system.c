/* system.c - the built-in agent `system`: noop, echo, sleep. Twins of the Python ones. */
#include <time.h>

#include "base/clock.h"
#include "bridge/registry.h"
#include "tandem/agent.h"
#include "tandem/message.h"

#define SLEEP_SECONDS_MAX 86400.0
#define LOOK_NS           (5 * TDI_NS_PER_MS)

static td_status run_noop(td_call *call)
{
    return td_write_nil(td_output(call));
}

static td_status run_echo(td_call *call)
{
    const td_view payload = td_payload(call);
    return td_write_raw(td_output(call), payload.data, payload.bytes);
}

/* The payload is a number, or a map with the number under "seconds". */
static td_status seconds_of(td_call *call, double *seconds)
{
    const td_view payload = td_payload(call);
    td_reader reader = td_reader_of(payload.data, payload.bytes);
    td_type type;
    if (td_peek_type(&reader, &type) == TD_OK && type == TD_TYPE_MAP) {
        td_reader value;
        if (td_map_find(reader, "seconds", &value) != TD_OK)
            return td_fail(call, "ValueError", "seconds is missing");
        reader = value;
    }
    if (td_read_number(&reader, seconds) != TD_OK)
        return td_fail(call, "TypeError", "seconds must be a number");
    if (!(*seconds >= 0 && *seconds <= SLEEP_SECONDS_MAX)) /* NaN fails, too */
        return td_fail(call, "ValueError", "seconds must be from 0 to 86400");
    return TD_OK;
}

static td_status run_sleep(td_call *call)
{
    double seconds = 0;
    const td_status status = seconds_of(call, &seconds);
    if (status != TD_OK)
        return status;
    const uint64_t until_ns = tdi_now_ns() + (uint64_t)(seconds * 1e9);
    for (uint64_t now_ns = tdi_now_ns(); now_ns < until_ns; now_ns = tdi_now_ns()) {
        if (td_cancelled(call))
            return TD_CANCELLED;
        const uint64_t left = until_ns - now_ns;
        const struct timespec step = {.tv_nsec = (long)(left < LOOK_NS ? left : LOOK_NS)};
        nanosleep(&step, NULL);
    }
    return td_write_nil(td_output(call));
}

const td_action tdi_system_actions[] = {
    {"system", "noop", run_noop, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"system", "echo", run_echo, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    {"system", "sleep", run_sleep, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, "1"},
};
const size_t tdi_system_actions_count = sizeof tdi_system_actions / sizeof *tdi_system_actions;
