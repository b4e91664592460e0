/* A program that is an agent: `AGENT_NAME.receive` counts, `AGENT_NAME.greet` answers.
 * The name is the first argument ("agent1" without one). */
#include <stdio.h>
#include <string.h>

#include <tandem/connect.h>
#include <tandem/message.h>

static uint64_t received; /* actions run on one thread here */

static td_status receive(td_call *call)
{
    return td_write_uint(td_output(call), ++received);
}

static td_status greet(td_call *call)
{
    const td_view payload = td_payload(call);
    td_reader name;
    const char *text;
    size_t bytes;
    if (td_map_find(td_reader_of(payload.data, payload.bytes), "name", &name) != TD_OK ||
        td_read_str(&name, &text, &bytes) != TD_OK || bytes > 200)
        return td_fail(call, "ValueError", "name must be a text of at most 200 bytes");
    char line[256];
    const int written = snprintf(line, sizeof line, "Hello, %.*s!", (int)bytes, text);
    return td_write_str(td_output(call), line, (size_t)written);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "agent1";
    const td_action actions[] = {
        {name, "receive", receive, TD_EFFECTS_IDEMPOTENT, TD_RUNS_SHORT, 0, 0, "1"},
        {name, "greet", greet, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
    };
    const td_agent_options options = {
        .size = sizeof options, .actions = actions, .actions_total = 2, .reconnect = 1};
    return td_agent_main(&options);
}
