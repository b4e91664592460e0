/* echo_agent.c - the far side of benchmarks/messages.py and blobs.py: a program that answers what
 * it gets, or takes it in silence. argv[1]: its name, "bench" without. */
#include <tandem/connect.h>
#include <tandem/message.h>

static td_status echo(td_call *call)
{
    const td_view payload = td_payload(call);
    return td_write_raw(td_output(call), payload.data, payload.bytes);
}

static td_status receive(td_call *call)
{
    return td_write_nil(td_output(call));
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "bench";
    const td_action actions[] = {
        {name, "echo", echo, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
        {name, "receive", receive, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"}};
    const td_agent_options options = {
        .size = sizeof options, .actions = actions, .actions_total = 2, .spin_ns = 2000};
    return td_agent_main(&options);
}
