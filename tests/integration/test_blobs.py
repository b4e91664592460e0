"""Bodies that no ring carries, from a program to an agent in C and back."""

import asyncio
import importlib.resources
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.errors import ActionFailed, Busy, CommandError

pytestmark = pytest.mark.native
WAIT_S = 60.0
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))
CONFIG = {"journal": {"path": ":memory:"}, "orchestrator": {"entry_points": False}}
LONG = 66 << 20
SOURCE = r"""
#include <stdlib.h>
#include <string.h>
#include <tandem/connect.h>
#include <tandem/message.h>

static td_status echo(td_call *call)
{
    const td_view payload = td_payload(call);
    return td_write_raw(td_output(call), payload.data, payload.bytes);
}

static td_status count(td_call *call)
{
    const td_view payload = td_payload(call);
    return td_write_uint(td_output(call), payload.bytes);
}

static td_status make(td_call *call)
{
    const td_view body = td_payload(call);
    td_reader payload = td_reader_of(body.data, body.bytes);
    uint64_t bytes;
    if (td_read_uint(&payload, &bytes) != TD_OK)
        return td_fail(call, "TypeError", "a number expected");
    uint8_t *made = malloc(bytes);
    memset(made, 7, bytes);
    const td_status status = td_write_bin(td_output(call), made, bytes);
    free(made);
    return status;
}

int main(void)
{
    const td_action actions[] = {
        {"long", "echo", echo, TD_EFFECTS_NONE, TD_RUNS_SHORT, 1, 0, "1"},
        {"long", "count", count, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, "1"},
        {"long", "make", make, TD_EFFECTS_NONE, TD_RUNS_BLOCKING, 1, 0, "1"}};
    return td_agent_main(&(td_agent_options){.size = sizeof(td_agent_options),
        .actions = actions, .actions_total = 3, .workers = 1});
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None or not (NATIVE / "lib" / "libtandem_agent.a").exists():
        pytest.skip("no C compiler, or no libtandem_agent")
    folder = tmp_path_factory.mktemp("agent")
    (folder / "agent.c").write_text(SOURCE)
    subprocess.run(
        ["cc", "-std=c11", "-O1", f"-I{NATIVE / 'include'}", str(folder / "agent.c"),
         str(NATIVE / "lib" / "libtandem_agent.a"), "-pthread", "-o", str(folder / "agent")],
        check=True,
    )  # fmt: skip
    return folder / "agent"


Start = Callable[[TandemOrchestrator], Any]


@pytest.fixture
def join(program: Path) -> Iterator[Start]:
    """Start the agent at an orchestrator's bridge, and wait until it is offered."""
    made: list[subprocess.Popen[bytes]] = []

    async def begin(tandem: TandemOrchestrator) -> "subprocess.Popen[bytes]":
        socket = tandem.layer_health()["c"].details["socket"]
        made.append(subprocess.Popen([program], env={**os.environ, "TANDEM_SOCKET": socket}))
        give_up_at = time.monotonic() + WAIT_S
        while ("long", "echo") not in tandem.catalogue().actions:
            assert time.monotonic() < give_up_at
            await asyncio.sleep(0.002)
        return made[-1]

    yield begin
    for process in made:
        process.kill()
        process.wait(WAIT_S)


@pytest.fixture
async def tandem(join: Start) -> AsyncIterator[TandemOrchestrator]:
    async with TandemOrchestrator(CONFIG) as made:
        await join(made)
        yield made


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, WAIT_S)


async def test_a_message_over_64_mib_arrives_and_comes_back(tandem: TandemOrchestrator):
    payload = os.urandom(1 << 20) * 66
    assert len(payload) == LONG
    assert await within(tandem.send("long", "echo", payload, timeout=None)) == payload
    assert await within(tandem.send("long", "count", payload)) == LONG + 5
    assert await within(tandem.send("long", "make", LONG)) == b"\7" * LONG


async def test_call_sync_has_such_bodies_as_well(tandem: TandemOrchestrator):
    answer = await asyncio.to_thread(tandem.call_sync, "long", "echo", bytes(LONG), timeout=WAIT_S)
    assert answer == bytes(LONG)


async def test_a_step_gives_one_where_its_limit_allows(join: Start):
    limits = {"output_bytes_max": 100 << 20}
    async with TandemOrchestrator({**CONFIG, "limits": limits}) as tandem:
        await join(tandem)
        step = CommandStep(id="one", agent="long", action="make", payload=LONG)
        result = await within(tandem.execute_command_set(CommandSet(steps=[step])))
        assert result["results"]["one"] == b"\7" * LONG


async def test_many_more_than_the_quota_holds_go_one_after_the_other(tandem: TandemOrchestrator):
    for _ in range(12):
        assert await within(tandem.send("long", "count", bytes(LONG))) == LONG + 5


async def test_send_many_waits_for_room_where_send_says_busy(join: Start):
    payload = msgspec.msgpack.encode(bytes(300 << 20))  # three of them fit into 1 GiB
    async with TandemOrchestrator(CONFIG) as tandem:
        process = await join(tandem)
        answers = await within(
            tandem.send_many("long", "count", [payload] * 7, encoded=True, timeout=None)
        )
        assert [msgspec.msgpack.decode(each) for each in answers] == [len(payload)] * 7
        process.send_signal(signal.SIGSTOP)
        held = [tandem.send("long", "count", payload, encoded=True) for _ in range(3)]
        with pytest.raises(Busy):
            tandem.send("long", "count", payload, encoded=True)
        process.send_signal(signal.SIGCONT)
        await within(asyncio.gather(*held))


async def test_the_setting_bounds_them_and_0_is_none(join: Start):
    for blob_bytes, longest in ((70 << 20, 69 << 20), (0, 60 << 20)):
        config = {**CONFIG, "c_layer": {"blob_bytes": blob_bytes}}
        async with TandemOrchestrator(config) as tandem:
            await join(tandem)
            assert await within(tandem.send("long", "count", bytes(longest))) == longest + 5
            with pytest.raises(CommandError, match="at most"):
                tandem.send("long", "count", bytes(71 << 20))
            with pytest.raises(ActionFailed) as caught:
                await within(tandem.send("long", "make", 71 << 20))
            assert caught.value.type == "TooLarge"


async def test_what_the_bridge_does_itself_takes_64_mib_at_most(tandem: TandemOrchestrator):
    with pytest.raises(CommandError, match="67108864"):
        tandem.send("system", "echo", bytes(LONG), implementation="c")
