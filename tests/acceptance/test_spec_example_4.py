"""SPEC.md's Example 4, as written, with three agents in C connected; and with none."""

import asyncio
import importlib.resources
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    ExecutionMode,
    HardwareAffinity,
    TandemOrchestrator,
)

pytestmark = pytest.mark.native
WAIT_S = 20.0
ROOT = Path(__file__).parents[2]
NATIVE = Path(str(importlib.resources.files("tandem_orchestrator._native")))


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[str]:
    """A bridge that was started by hand, as the troubleshooting page does: its socket."""
    path = tmp_path / "bridge" / "bridge.sock"
    process = subprocess.Popen([NATIVE / "bin" / "agent_bridge", "--socket", path])
    give_up_at = time.monotonic() + WAIT_S
    while not path.exists():
        assert time.monotonic() < give_up_at
    yield str(path)
    process.terminate()
    process.wait(WAIT_S)


@pytest.fixture
def connect(tmp_path: Path, socket: str) -> Iterator[Callable[[str], None]]:
    """Start the example program as an agent of a name; all are gone after the test."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    program = tmp_path / "agent"
    source = ROOT / "examples" / "c_agent_program" / "agent.c"
    library = NATIVE / "lib" / "libtandem_agent.a"
    subprocess.run(
        ["cc", f"-I{NATIVE / 'include'}", source, library, "-pthread", "-o", program], check=True
    )
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str) -> None:
        environment = {**os.environ, "TANDEM_SOCKET": socket}
        running.append(subprocess.Popen([program, name], env=environment))

    yield start
    for process in running:
        process.kill()
        process.wait(WAIT_S)


async def high_speed_routing(orchestrator: TandemOrchestrator) -> dict[str, Any]:
    """Maximum speed message routing using C layer only"""
    workflow = CommandSet(
        name="Speed Critical Routing",
        mode=ExecutionMode.SPEED_CRITICAL,
        c_optimized=True,
        hardware_affinity=HardwareAffinity.P_CORE_ULTRA,
        steps=[
            CommandStep(
                agent="router",
                action="route_messages",
                payload={
                    "batch_size": 10000,
                    "destinations": ["agent1", "agent2", "agent3"],
                },
            )
        ],
    )
    return await orchestrator.execute_command_set(workflow)


async def test_messages_reach_three_agents_and_without_them_the_refusal_says_who_is_missing(
    socket: str, connect: Callable[[str], None]
) -> None:
    config = {"journal": {"path": ":memory:"}, "c_layer": {"socket": socket}}
    async with TandemOrchestrator(config) as orchestrator:
        refused = await high_speed_routing(orchestrator)
        assert refused["status"] == "failed"
        assert refused["error_detail"]["type"] == "unknown_agent"
        assert "agent1" in refused["error"]
        for name in ("agent1", "agent2", "agent3"):
            connect(name)
        offered: set[str] = set()
        give_up_at = time.monotonic() + WAIT_S
        while not {"agent1", "agent2", "agent3"} <= offered:
            assert time.monotonic() < give_up_at, offered
            await asyncio.sleep(0.002)  # other processes: no clock of ours to move
            offered = {agent for agent, _ in orchestrator.catalogue().actions}
        result = await high_speed_routing(orchestrator)
    assert result["status"] == "completed", result["error"]
    (output,) = result["results"].values()
    assert output == {
        "delivered": 10000,
        "refused": 0,
        "destinations": {
            "agent1": {"delivered": 3334, "refused": 0},
            "agent2": {"delivered": 3333, "refused": 0},
            "agent3": {"delivered": 3333, "refused": 0},
        },
    }
