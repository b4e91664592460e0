/* Programs whose steps agents do, over a real bridge. argv[1] is agent_bridge, argv[2] the agent.
 */
#include "base/test.h"
#include "client/agent_fixture.h"
#include "program/made.h"
#include "wire/frame.h"

enum { STEPS = 8 };

/* STEPS independent steps of one action, loaded and begun. */
static td_status begin(tdi_client *client, uint32_t action, uint64_t *call_id)
{
    static _Alignas(8) made_program made;
    uint32_t ids[STEPS], flags[STEPS] = {0};
    for (int i = 0; i < STEPS; i++)
        ids[i] = action;
    const size_t bytes = make_steps(&made, STEPS, ids, flags, 0);
    const tdi_call_request load = {
        .kind = TDI_KIND_LOAD, .attempt = 1, .body = {(const uint8_t *)&made, bytes}};
    answer reply;
    uint64_t program = 0;
    td_status status = tdi_client_call(client, &load, call_id);
    if (status == TD_OK)
        status = hear(client, &reply);
    if (status != TD_OK || reply.status != TD_OK)
        return TD_FAILED;
    td_reader reader = td_reader_of(reply.body, reply.bytes);
    status = td_read_uint(&reader, &program);
    answer_free(&reply);
    size_t body_bytes;
    uint8_t *body = make_body(&body_bytes);
    const tdi_call_request run = {.kind = TDI_KIND_RUN,
                                  .attempt = 1,
                                  .action_id = (uint32_t)program,
                                  .body = {body, body_bytes}};
    if (status == TD_OK)
        status = tdi_client_call(client, &run, call_id);
    free(body);
    return status;
}

/* Every step's outcome is `code`. */
static void check_outcomes(const answer *reply, uint64_t code)
{
    size_t members = 0, rows = 0;
    uint64_t number = 99;
    td_reader reader = td_reader_of(reply->body, reply->bytes);
    CHECK_EQ(reply->status, TD_OK);
    td_read_array(&reader, &members);
    for (int i = 0; i < 3; i++)
        td_skip(&reader);
    CHECK_EQ(td_read_array(&reader, &rows), TD_OK);
    CHECK_EQ(rows, STEPS);
    for (size_t i = 0; i < rows; i++) {
        td_read_array(&reader, &members);
        CHECK_EQ(td_read_uint(&reader, &number), TD_OK);
        CHECK_EQ(number, code);
        for (size_t k = 1; k < members; k++)
            td_skip(&reader);
    }
}

static void steps_are_done_by_the_agent_and_die_with_it(void)
{
    fixture bridge;
    answer reply;
    uint64_t call_id;
    int status;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "2", "1");
    const uint32_t echo = await_action(client, "agent1", "echo", 1),
                   nap = await_action(client, "agent1", "nap", 1);
    REQUIRE(echo != 0 && nap != 0);
    CHECK_EQ(begin(client, echo, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    check_outcomes(&reply, TDI_OUTCOME_SUCCEEDED);
    answer_free(&reply);
    kill(agent, SIGSTOP);
    waitpid(agent, &status, WUNTRACED);
    CHECK_EQ(begin(client, nap, &call_id), TD_OK);
    usleep(20000);
    kill(agent, SIGKILL);
    waitpid(agent, &status, 0);
    CHECK_EQ(hear(client, &reply), TD_OK);
    check_outcomes(&reply, TDI_OUTCOME_NOT_STARTED);
    answer_free(&reply);
    tdi_client_close(client);
    CHECK_EQ(fixture_stop(&bridge), 0);
}

static void a_caller_that_leaves_takes_its_program_along(void)
{
    fixture bridge;
    answer reply;
    uint64_t call_id;
    int status;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const pid_t agent = start_agent(&bridge, "agent1", "2", "1");
    const uint32_t nap = await_action(client, "agent1", "nap", 1);
    REQUIRE(nap != 0);
    kill(agent, SIGSTOP); /* it cannot answer: nobody may wait for it */
    waitpid(agent, &status, WUNTRACED);
    CHECK_EQ(begin(client, nap, &call_id), TD_OK);
    usleep(20000);
    tdi_client_close(client);
    kill(agent, SIGCONT);
    client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint32_t echo = await_action(client, "agent1", "echo", 1);
    CHECK_EQ(begin(client, echo, &call_id), TD_OK);
    CHECK_EQ(hear(client, &reply), TD_OK);
    check_outcomes(&reply, TDI_OUTCOME_SUCCEEDED);
    answer_free(&reply);
    CHECK_EQ(begin(client, nap, &call_id), TD_OK);
    CHECK_EQ(fixture_stop(&bridge), 0); /* and a bridge that is told to stop does */
    tdi_client_close(client);
    kill(agent, SIGKILL);
    waitpid(agent, &status, 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    agent_bridge_path = argv[1];
    agent_path = argv[2];
    RUN(steps_are_done_by_the_agent_and_die_with_it);
    RUN(a_caller_that_leaves_takes_its_program_along);
    return TEST_RESULT;
}
