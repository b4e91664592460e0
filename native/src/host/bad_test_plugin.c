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

static const td_action actions[] = {
    {"bad", "crash", crash, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "loop", loop, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "eat", eat, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
    {"bad", "fine", fine, TD_EFFECTS_NONE, TD_RUNS_SHORT, 0, 0, "1"},
};
TD_PLUGIN(actions);
