/* The client against a real bridge: argv[1] is agent_bridge. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/test.h"
#include "client/bridge_fixture.h"
#include "client/client.h"

static void an_echo_comes_back_as_it_went(void)
{
    fixture bridge;
    REQUIRE(fixture_start(&bridge, NULL));
    tdi_client *client = fixture_connect(&bridge);
    REQUIRE(client != NULL);
    const uint8_t body[] = {0x93, 0x01, 0xA2, 'h', 'i', 0xC0};
    answer reply;
    CHECK_EQ(ask(client, "echo", body, sizeof body, &reply), TD_OK);
    CHECK_EQ(reply.status, TD_OK);
    CHECK_EQ(reply.bytes, sizeof body);
    CHECK(memcmp(reply.body, body, sizeof body) == 0);
    answer_free(&reply);
    CHECK_EQ(ask(client, "noop", body, sizeof body, &reply), TD_OK);
    CHECK(reply.bytes == 1 && reply.body[0] == 0xC0);
    answer_free(&reply);
    tdi_client_close(client);
    fixture_stop(&bridge);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    agent_bridge_path = argv[1];
    RUN(an_echo_comes_back_as_it_went);
    return TEST_RESULT;
}
