/* echo_agent.c - the far side of benchmarks/messages.py: a program that answers what it gets. */
#include <tandem/connect.h>
#include <tandem/message.h>

static td_status echo(td_call *call)
{
    const td_view payload = td_payload(call);
    return td_write_raw(td_output(call), payload.data, payload.bytes);
}

int main(void)
{
    const td_action actions[] = {
        {"bench", "echo", echo, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"}};
    const td_agent_options options = {
        .size = sizeof options, .actions = actions, .actions_total = 1, .spin_ns = 2000};
    return td_agent_main(&options);
}
