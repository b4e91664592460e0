"""Agents in C, seen from a program: they come at once, work, die, and come back."""

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

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    ExecutionMode,
    TandemOrchestrator,
)
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import NativeLayer
from tandem_orchestrator.model.outcomes import Outcome

pytestmark = pytest.mark.native
WAIT_S = 20.0
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))


async def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.002)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example program, built as its README says."""
    if shutil.which("cc") is None or not (NATIVE / "lib" / "libtandem_agent.a").exists():
        pytest.skip("no C compiler, or no libtandem_agent")
    made = tmp_path_factory.mktemp("agent") / "agent"
    subprocess.run(
        ["cc", "-std=c11", f"-I{NATIVE / 'include'}",
         str(ROOT / "examples" / "c_agent_program" / "agent.c"),
         str(NATIVE / "lib" / "libtandem_agent.a"), "-pthread", "-o", str(made)],
        check=True,
    )  # fmt: skip
    return made


Start = Callable[[str, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(program: Path) -> Iterator[Start]:
    """Start an agent of a name at a socket; all are gone after the test."""
    made: list[subprocess.Popen[bytes]] = []

    def begin(name: str, socket: str) -> "subprocess.Popen[bytes]":
        made.append(subprocess.Popen([program, name], env={**os.environ, "TANDEM_SOCKET": socket}))
        return made[-1]

    yield begin
    for process in made:
        process.kill()
        process.wait(WAIT_S)


@pytest.fixture
async def layer() -> AsyncIterator[NativeLayer]:
    made = NativeLayer(Ids().make(), required=True)
    await made.start()
    yield made
    await made.close()


def offers(layer: NativeLayer, agent: str) -> bool:
    return any(action.agent == agent for action in layer.actions())


async def run(layer: NativeLayer, agent: str, action: str, payload: Any) -> Report:
    work = Work("run", f"s{time.monotonic_ns()}", agent, action, "c", payload)
    return await asyncio.wait_for(layer.run(work, CancelToken()), WAIT_S)


async def test_an_agent_that_connects_is_there_at_once_and_works(
    layer: NativeLayer, start: Start
) -> None:
    assert not offers(layer, "agent1")
    process = start("agent1", layer.socket_path)
    await eventually(lambda: offers(layer, "agent1"), "agent1 is offered")
    report = await run(layer, "agent1", "greet", {"name": "Ada"})
    assert report.outcome is Outcome.SUCCEEDED
    assert report.output == "Hello, Ada!"
    refused = await run(layer, "agent1", "greet", {"name": 7})
    assert refused.failure is not None
    assert refused.failure.type == "ValueError"
    process.terminate()
    assert process.wait(WAIT_S) == 0
    await eventually(lambda: not offers(layer, "agent1"), "agent1 is gone")


async def test_the_death_of_an_agent_is_noticed_and_ends_its_calls(
    layer: NativeLayer, start: Start
) -> None:
    process = start("agent1", layer.socket_path)
    await eventually(lambda: offers(layer, "agent1"), "agent1 is offered")
    process.send_signal(signal.SIGSTOP)
    waiting = asyncio.create_task(run(layer, "agent1", "greet", {"name": "Ada"}))
    await run(layer, "system", "noop", None)
    process.kill()
    report = await waiting
    assert report.outcome is Outcome.NOT_STARTED
    await eventually(lambda: not offers(layer, "agent1"), "agent1 is gone")


async def test_an_agent_comes_back_after_the_bridges_death(start: Start, tmp_path: Path) -> None:
    directory = tmp_path / "bridge"
    socket = str(directory / "bridge.sock")

    def bridge() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([NATIVE / "bin" / "agent_bridge", "--socket", socket])

    first = bridge()
    await eventually(lambda: Path(socket).exists(), "the bridge listens")
    events: list[str] = []
    layer = NativeLayer(
        Ids().make(), socket=socket, required=True, on_event=lambda kind, _: events.append(kind)
    )
    await layer.start()
    start("agent1", socket)
    await eventually(lambda: offers(layer, "agent1"), "agent1 is offered")
    first.kill()
    first.wait(WAIT_S)
    second = bridge()
    try:
        await eventually(lambda: "restarted" in events, "the layer is connected again")
        await eventually(lambda: offers(layer, "agent1"), "agent1 is back")
        report = await run(layer, "agent1", "greet", {"name": "Ada"})
        assert report.outcome is Outcome.SUCCEEDED
    finally:
        await layer.close()
        second.terminate()
        second.wait(WAIT_S)


@pytest.fixture
async def by_hand(tmp_path: Path) -> AsyncIterator[str]:
    """A bridge that was started by hand: its socket."""
    socket = tmp_path / "bridge" / "bridge.sock"
    process = subprocess.Popen([NATIVE / "bin" / "agent_bridge", "--socket", socket])
    await eventually(socket.exists, "the bridge listens")
    yield str(socket)
    process.terminate()
    process.wait(WAIT_S)


async def test_a_step_of_an_orchestrator_runs_on_the_agent(by_hand: str, start: Start) -> None:
    start("agent1", by_hand)
    tandem = TandemOrchestrator({"journal": {"path": ":memory:"}, "c_layer": {"socket": by_hand}})
    await tandem.initialize()
    try:
        await eventually(
            lambda: ("agent1", "greet") in tandem.catalogue().actions,
            "agent1 is known",
        )
        step = CommandStep(id="hello", agent="agent1", action="greet", payload={"name": "Ada"})
        result = await tandem.execute_command_set(
            CommandSet(name="greet", mode=ExecutionMode.INTELLIGENT, steps=[step])
        )
        assert result["results"] == {"hello": "Hello, Ada!"}
        assert result["steps"]["hello"]["layer"] == "c"
    finally:
        await tandem.close()


async def test_messages_reach_an_agent_that_comes_later_and_one_that_comes_back(
    by_hand: str, start: Start
) -> None:
    """Every kind of message; the sessions of blocking calls were open before."""
    config = {"journal": {"path": ":memory:"}, "c_layer": {"socket": by_hand}}
    async with TandemOrchestrator(config) as tandem:
        assert tandem.call_sync("system", "echo", 1) == 1  # its session knows no agent1
        for name in ("Ada", "Grace"):
            process = start("agent1", by_hand)
            # Another first, so that ids are not what they were.
            other = start(f"other-{name}", by_hand)
            await eventually(lambda: _knows(tandem, "agent1"), "agent1 is known")
            payload, hello = {"name": name}, f"Hello, {name}!"
            assert tandem.call_sync("agent1", "greet", payload) == hello
            for _ in range(2):
                assert await asyncio.wait_for(tandem.send("agent1", "greet", payload), WAIT_S) == (
                    hello
                )
            assert (
                await asyncio.wait_for(tandem.send_many("agent1", "greet", [payload] * 3), WAIT_S)
                == [hello] * 3
            )
            process.kill()
            process.wait(WAIT_S)
            await eventually(lambda: not _knows(tandem, "agent1"), "agent1 is gone")
            other.kill()


async def test_batches_larger_than_an_agent_takes_wait_for_room(by_hand: str, start: Start) -> None:
    """A refusal for want of room is no answer: nothing ran, and it is sent once more."""
    config = {"journal": {"path": ":memory:"}, "c_layer": {"socket": by_hand}}
    async with TandemOrchestrator(config) as tandem:
        process = start("agent1", by_hand)
        await eventually(lambda: _knows(tandem, "agent1"), "agent1 is known")
        names = [{"name": str(i)} for i in range(3000)]
        answers = await asyncio.wait_for(
            asyncio.gather(*(tandem.send_many("agent1", "greet", names) for _ in range(3))), WAIT_S
        )
        assert answers == [[f"Hello, {i}!" for i in range(3000)]] * 3
        received = await asyncio.wait_for(
            tandem.send_many("agent1", "receive", [None] * 3000), WAIT_S
        )
        assert sorted(received) == list(range(1, 3001))  # each exactly once
        process.send_signal(signal.SIGSTOP)
        late = await asyncio.wait_for(
            tandem.send_many("agent1", "greet", names, timeout=0.2), WAIT_S
        )
        assert {type(answer) for answer in late} == {TimeoutError}
        process.send_signal(signal.SIGCONT)
        again = await asyncio.wait_for(tandem.send_many("agent1", "greet", names[:1]), WAIT_S)
        assert again == ["Hello, 0!"]  # it waited for room


def _knows(tandem: TandemOrchestrator, agent: str) -> bool:
    return (agent, "greet") in tandem.catalogue().actions
