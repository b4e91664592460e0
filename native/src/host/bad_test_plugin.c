/* A plug-in for tests of the host: it does what plug-ins must not. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/agent.h"

static td_status crash(td_call *call)
{
    (void)call;
    volatile int *nowhere = NULL;
    *nowhere = 1;
    return TD_OK;
}

static td_status loop(td_call *call)
{
    volatile int on = 1;
    while (on)
        continue;
    return td_write_nil(td_output(call));
}

static td_status eat(td_call *call)
{
    for (;;) {
        char *memory = malloc(1 << 20);
        if (memory == NULL)
            abort();
        memset(memory, 1, 1 << 20);
    }
    return td_write_nil(td_output(call));
}

static td_status fine(td_call *call)
{
    return td_write_nil(td_output(call));
}

/* Crashes for true, and is fine for anything else. */
static td_status fussy(td_call *call)
{
    const td_view payload = td_payload(call);
    return payload.bytes == 1 && payload.data[0] == 0xC3 ? crash(call) : fine(call);
}

/* Runs until it is asked to stop, and then does. */
static td_status polite(td_call *call)
{
    while (!td_cancelled(call))
        continue;
    return TD_CANCELLED;
}

/* Logs what it is asked for: {"lines", "text"}. */
static td_status talk(td_call *call)
{
    const td_view payload = td_payload(call);
    const td_reader map = td_reader_of(payload.data, payload.bytes);
    td_reader field;
    int64_t lines;
    const char *text;
    size_t bytes;
    static char copy[8192];
    if (td_map_find(map, "lines", &field) != TD_OK || td_read_int(&field, &lines) != TD_OK ||
        td_map_find(map, "text", &field) != TD_OK || td_read_str(&field, &text, &bytes) != TD_OK ||
        bytes >= sizeof copy)
        return td_fail(call, "ValueError", "expected {lines, text}");
    memcpy(copy, text, bytes);
    copy[bytes] = 0;
    for (int64_t i = 0; i < lines; i++)
        td_log(call, 30, copy);
    return td_write_nil(td_output(call));
}

static const td_action actions[] = {
    {"bad", "crash", crash, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "loop", loop, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "eat", eat, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "fine", fine, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "fussy", fussy, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "polite", polite, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "talk", talk, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
};
TD_PLUGIN(actions);
