"""A bridge program that ends at once: how often it is tried, and what a run makes of it.

The programs are real, the clock is not: waits between starts pass when the test says so.
"""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    LayerUnavailable,
    StandardWorkflows,
    TandemOrchestrator,
)
from tandem_orchestrator.layers.native import NativeFiles, find_native_files
from tandem_orchestrator.layers.native.launch import launch_bridge
from tandem_orchestrator.testing import FakeClock

pytestmark = pytest.mark.native

WAIT_S = 20.0
FIRST_S, DEATHS_MAX, COOLDOWN_S = 1.0, 3, 60.0
DYING = """#!/bin/sh
echo $$ >> "$0.started"
echo "out of luck" >&2
exit 7
"""


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process: there is no clock of ours to move."""
    give_up_at = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
        await asyncio.sleep(0.001)


class Program:
    """The file that is started as the bridge."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tried = 0
        """Starts that began, whatever came of them."""
        shutil.copy2(find_native_files().bridge_path, path)

    def spoil(self) -> None:
        """Let it end at once from now on; one that runs is not touched."""
        dying = self.path.with_name("dying")
        dying.write_text(DYING)
        dying.chmod(0o755)
        dying.replace(self.path)

    def mend(self) -> None:
        """Put the real program there again."""
        good = self.path.with_name("good")
        shutil.copy2(find_native_files().bridge_path, good)
        good.replace(self.path)

    @property
    def starts(self) -> int:
        """How often it was started since it was spoilt."""
        log = Path(f"{self.path}.started")
        return len(log.read_text().split()) if log.exists() else 0


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    program = Program(tmp_path / "agent_bridge")
    monkeypatch.setattr(
        "tandem_orchestrator.layers.native.layer.find_native_files",
        lambda: NativeFiles(str(program.path), ""),
    )

    async def launch(*arguments: Any, **named: Any) -> Any:
        program.tried += 1
        return await launch_bridge(*arguments, **named)

    monkeypatch.setattr("tandem_orchestrator.layers.native.layer.launch_bridge", launch)
    return program


# Any: settings of any kind.
def open_with(clock: FakeClock | None, **c_layer: Any) -> TandemOrchestrator:
    return TandemOrchestrator({"journal": {"path": ":memory:"}, "c_layer": c_layer}, clock=clock)


# Any: figures of health.
def details(tandem: TandemOrchestrator) -> dict[str, Any]:
    return dict(tandem.layer_health()["c"].details)


@pytest.fixture
async def dying(program: Program) -> AsyncIterator[tuple[TandemOrchestrator, FakeClock]]:
    program.spoil()
    clock = FakeClock()
    tandem = open_with(
        clock,
        restart_delay_s=FIRST_S,
        restart_delay_max_s=8.0,
        deaths_max=DEATHS_MAX,
        deaths_window_s=1000.0,
        cooldown_s=COOLDOWN_S,
    )
    # The clock stands still: starting may not wait for a restart, or it would never return.
    await asyncio.wait_for(tandem.initialize(), WAIT_S)
    yield tandem, clock
    await asyncio.wait_for(tandem.close(), WAIT_S)


async def test_it_is_started_again_with_growing_pauses_up_to_the_cap_and_then_after_each_cool_down(
    dying: tuple[TandemOrchestrator, FakeClock], program: Program
) -> None:
    tandem, clock = dying

    async def deaths_are(number: int) -> None:
        await until(lambda: details(tandem)["deaths"] == number, f"{number} deaths")
        await until(lambda: clock.armed > 0, "the next pause has begun")
        assert program.tried == program.starts == number

    await deaths_are(1)
    for number, pause_s in ((2, FIRST_S), (3, 2 * FIRST_S), (4, 4 * FIRST_S)):
        assert not details(tandem)["breaker_open"]
        await clock.advance(pause_s * 0.9)
        assert program.tried == number - 1
        await clock.advance(pause_s * 0.1)
        await deaths_are(number)
    assert details(tandem)["breaker_open"]
    for number in (5, 6):
        await clock.advance(COOLDOWN_S * 0.9)
        assert program.tried == number - 1
        await clock.advance(COOLDOWN_S * 0.1)
        await deaths_are(number)
        assert details(tandem)["breaker_open"]
    assert details(tandem)["starts"] == 0
    health = tandem.layer_health()["c"]
    assert (bool(health), health.reason) == (
        False,
        f"{program.path}: exit status 7: out of luck",
    )


async def test_meanwhile_runs_are_done_in_python_or_refused_and_nobody_waits(
    dying: tuple[TandemOrchestrator, FakeClock], program: Program
) -> None:
    tandem, clock = dying
    echo = CommandStep(id="a", agent="system", action="echo", payload=1)
    # The clock stands still here too: an attempt that waited for a restart would wait for ever.
    async with asyncio.timeout(WAIT_S):
        result = await tandem.execute_command_set(CommandSet(steps=[echo]))
        assert (result["status"], result["steps"]["a"]["layer"]) == ("completed", "python")
        reason = f"{program.path}: exit status 7: out of luck"
        assert any(reason in note for note in result["notes"])
        assert reason in result["steps"]["a"]["reason"]
        for mode in ("SPEED_CRITICAL", "REDUNDANT", "CONSENSUS"):
            with pytest.raises(LayerUnavailable) as caught:
                await tandem.execute_command_set(CommandSet(mode=mode, steps=[echo]))
            assert str(caught.value) == f"mode {mode} needs the c layer, which is away: {reason}"
        assert len(await tandem.runs()) == 1
        assert await tandem.send("system", "echo", 2) == 2
        with pytest.raises(LayerUnavailable, match="out of luck"):
            await tandem.send("system", "echo", 2, implementation="c")
        with pytest.raises(LayerUnavailable, match="C layer: "):
            tandem.call_sync("system", "echo", 2, implementation="c")

        # What was refused is asked anew when the layer is there.
        program.mend()
        await clock.advance(FIRST_S)
        await until(lambda: bool(tandem.layer_health()["c"]), "the bridge is there")
        assert await tandem.send("system", "echo", 3, implementation="c", timeout=None) == 3
        in_c = tandem.get_metrics()["c_msgs_processed"]
        assert await tandem.send("system", "echo", 4, timeout=None) == 4
        assert tandem.get_metrics()["c_msgs_processed"] == in_c + 1
        result = await tandem.execute_command_set(CommandSet(mode="REDUNDANT", steps=[echo]))
        assert (result["consensus_achieved"], result["notes"]) == (True, [])


async def test_a_bridge_whose_program_was_replaced_dies_for_good_and_python_takes_over(
    program: Program, tmp_path: Path
) -> None:
    tree = tmp_path / "src"
    tree.mkdir()
    for n in range(12):
        (tree / f"m{n}.py").write_text(f'"""Module {n}."""\n\nVALUE = {n}\n')

    def document(name: str) -> CommandSet:
        return StandardWorkflows.create_document_generation_workflow(
            path=tree, output=tmp_path / name
        )

    tandem = open_with(None, restart_delay_s=0.01, deaths_max=2, cooldown_s=3600.0)
    async with tandem:
        in_c = await tandem.execute_command_set(document("c"))
        assert (in_c["status"], in_c["steps"]["scan"]["layer"]) == ("completed", "c")
        program.spoil()
        os.kill(details(tandem)["pid"], signal.SIGKILL)
        await until(lambda: details(tandem)["breaker_open"], "nothing is tried any more")
        assert (details(tandem)["starts"], details(tandem)["deaths"]) == (1, 3)
        assert program.starts == 2  # the third death was the good bridge's

        in_python = await asyncio.wait_for(tandem.execute_command_set(document("python")), WAIT_S)
        assert (in_python["status"], in_python["steps"]["scan"]["layer"]) == ("completed", "python")
        assert in_python["results"]["scan"] == in_c["results"]["scan"]
        assert any("exit status 7: out of luck" in note for note in in_python["notes"])
        assert not tandem.layer_health()["c"]

    def pages(name: str) -> dict[str, bytes]:
        found = [path for path in (tmp_path / name).rglob("*.md") if path.is_file()]
        return {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in found}

    assert pages("c") == pages("python") and pages("c")
