"""A program of the user's in C: cached like any other, and in shadow beside a handler in Python."""

import asyncio
import importlib.resources
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.layers.native.entries import BUILT_IN

pytestmark = pytest.mark.native
WAIT_S = 20.0


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The example program, built as its README says."""
    here = Path(str(importlib.resources.files("tandem_orchestrator._native")))
    library = here / "lib" / "libtandem_agent.a"
    if shutil.which("cc") is None or not library.exists():
        pytest.skip("no C compiler, or no libtandem_agent")
    source = Path(__file__).parents[2] / "examples" / "c_agent_program" / "agent.c"
    made = tmp_path / "agent"
    compile_it = ["cc", "-std=c11", f"-I{here / 'include'}", source, library, "-pthread"]
    subprocess.run([*compile_it, "-o", made], check=True)
    return made


@contextmanager
def running(program: Path, name: str, socket: str) -> Iterator[None]:
    agent = subprocess.Popen([program, name], env={**os.environ, "TANDEM_SOCKET": socket})
    try:
        yield
    finally:
        agent.kill()
        agent.wait(WAIT_S)


async def until_offered(tandem: TandemOrchestrator, name: str) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while name not in tandem.catalogue().agents:  # another process: no clock of ours to move
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.002)


async def test_a_c_agent_is_asked_once_for_equal_work_and_anew_after_a_change(
    program: Path,
) -> None:
    step = CommandStep(agent="agent1", action="greet", payload={"name": "Ada"})
    asked = CommandSet(steps=[step])

    async def run(tandem: TandemOrchestrator) -> Any:
        result = await tandem.execute_command_set(asked)
        assert result["results"] == {"s1": "Hello, Ada!"}, result
        assert result["steps"]["s1"]["layer"] == "c"
        return result["steps"]["s1"]["cached"]

    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        socket = tandem.layer_health()["c"].details["socket"]
        with running(program, "agent1", socket):
            await until_offered(tandem, "agent1")
            assert [await run(tandem) for _ in range(3)] == [False, True, True]
            with running(program, "agent2", socket):
                await until_offered(tandem, "agent2")
                assert [await run(tandem) for _ in range(2)] == [False, True]
        assert tandem.get_metrics()["c_msgs_processed"] == 2


async def test_beside_a_handler_in_python_a_connected_agent_begins_in_shadow(
    program: Path, tmp_path: Path
) -> None:
    config = {"journal": {"path": str(tmp_path / "journal.db")}}
    asked = CommandSet(
        steps=[CommandStep(id="s", agent="agent1", action="greet", payload={"name": "Ada"})]
    )
    async with TandemOrchestrator(config) as tandem:

        @tandem.register_agent("agent1").action("greet", effects="none")
        async def greet(payload: Any) -> Any:
            return {"greeting": "from Python"}

        with running(program, "agent1", tandem.layer_health()["c"].details["socket"]):
            give_up_at = time.monotonic() + WAIT_S
            while True:
                entry = tandem.catalogue().action("agent1", "greet")
                found = None if entry is None else entry.implementation("c")
                if found is not None:
                    break
                assert time.monotonic() < give_up_at
                await asyncio.sleep(0.002)
            assert (found.rung, found.climbs) == ("shadow", True)
            for _ in range(20):
                result = await tandem.execute_command_set(asked)
                assert result["steps"]["s"]["implementation"] == "python"
            assert await tandem.send("agent1", "greet", {"name": "Ada"}) == {
                "greeting": "from Python"
            }


async def test_what_is_compiled_into_the_bridge_is_known_as_built_in() -> None:
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        session = tandem._messages._layers()[1].session
        assert {agent for agent, _ in session.actions} == BUILT_IN
