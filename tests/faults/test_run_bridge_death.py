"""kill -9 of the bridge under a run: the result is the one of an undisturbed run, and the death is told.

The layer's own tests say what becomes of a call; here a whole orchestrator is at work, with a
journal on disk, and what counts is what its user sees: result, events, ``tandem runs show``.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.layers.native import NativeFiles, find_native_files
from tandem_orchestrator.model.events import AnyEvent, AttemptEnded, StepEnded

pytestmark = pytest.mark.native

WAIT_S = 20.0
"""Longest wait for something that is certain to come; only a broken test needs it."""
BIG_BYTES = 192 * 2**20
"""A sparse file of this size keeps the native scan busy for a third of a second and more."""
CLI = "import tandem_orchestrator.cli as c; raise SystemExit(c.main())"


class Watched:
    """An orchestrator, what happened in it, and its bridge's life in the test's hands."""

    def __init__(self, tandem: TandemOrchestrator, journal: Path) -> None:
        self.tandem, self.journal = tandem, journal
        self.program = Path()
        """Its bridge's program, where that is the test's own copy."""
        self.events: list[AnyEvent] = []
        self._news = asyncio.Event()

    def note(self, run_id: str, event: AnyEvent) -> None:
        """Keep an event; the orchestrator calls this."""
        self.events.append(event)
        self._news.set()

    async def seen(self, condition: Callable[[AnyEvent], bool], times: int = 1) -> None:
        """Wait until so many events of a kind have happened."""
        async with asyncio.timeout(WAIT_S):
            while sum(map(condition, self.events)) < times:
                self._news.clear()
                await self._news.wait()

    async def step_ended(self, step: str) -> None:
        """Wait for the end of a step."""
        await self.seen(lambda event: isinstance(event, StepEnded) and event.step == step)

    def ends(self, step: str) -> list[str]:
        """Give the outcomes of a step's attempts, in order."""
        return [e.outcome for e in self.events if isinstance(e, AttemptEnded) and e.step == step]

    # Any: figures of health.
    @property
    def bridge(self) -> dict[str, Any]:
        """What the C layer says of itself."""
        return dict(self.tandem.layer_health()["c"].details)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for another process: there is no clock of ours to move."""
        give_up_at = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < give_up_at, f"not within {WAIT_S} s: {what}"
            await asyncio.sleep(0.001)

    async def taken(self, calls: int) -> None:
        """Wait until the bridge has taken so many calls and answers none of them yet."""
        await self.until(lambda: self.bridge["in_flight"] == calls, f"{calls} calls in flight")
        # The ring keeps the order: what came before an answered call was taken.
        probe = CommandSet(mode="SPEED_CRITICAL", steps=[echo("probe", None)])
        result = await self.tandem.execute_command_set(probe)
        assert result["status"] == "completed"
        assert self.bridge["in_flight"] == calls, "they end too soon for this test"

    def signal(self, number: signal.Signals) -> int:
        """Send a signal to the bridge; it is our child, so its number is still its own."""
        pid = self.bridge["pid"]
        os.kill(pid, number)
        return pid

    async def kill(self) -> int:
        """Kill the bridge and wait until that is known."""
        deaths = self.bridge["deaths"]
        pid = self.signal(signal.SIGKILL)
        await self.until(lambda: self.bridge["deaths"] > deaths, "the death is counted")
        return pid

    async def back(self) -> None:
        """Wait until a bridge is there again."""
        await self.until(lambda: bool(self.tandem.layer_health()["c"]), "the bridge is back")


# Any: settings of any kind.
async def watch(journal: Path, **c_layer: Any) -> AsyncIterator[Watched]:
    settings = {"journal": {"path": str(journal)}, "c_layer": c_layer}
    async with TandemOrchestrator(settings) as tandem:
        watched = Watched(tandem, journal)
        async with tandem.listening(watched.note):
            yield watched


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    async for one in watch(tmp_path / "j.db", deaths_max=20):
        yield one


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A code base that the native scan needs a third of a second for."""
    folder = tmp_path / "tree"
    (folder / "package").mkdir(parents=True)
    for n in range(50):
        (folder / "package" / f"m{n}.py").write_text(f"VALUE = {n}\n" * n)
    with (folder / "big.py").open("wb") as big:
        big.truncate(BIG_BYTES)
    return folder


def scan(tree: Path, **fields: Any) -> CommandStep:
    payload = {"path": str(tree), "extensions": [".py"]}
    return CommandStep(id="scan", agent="docgen", action="scan_codebase", payload=payload, **fields)


def sleep(step: str, seconds: float, **fields: Any) -> CommandStep:
    payload = {"seconds": seconds}
    return CommandStep(id=step, agent="system", action="sleep", payload=payload, **fields)


def echo(step: str, payload: Any, **fields: Any) -> CommandStep:
    return CommandStep(id=step, agent="system", action="echo", payload=payload, **fields)


def both_in_flight(tree: Path, mode: str, on_failure: str = "drain") -> CommandSet:
    """A sleep and a scan side by side in C, and a step that needs both.

    Each is a call of its own, since branches that go on are no segment; with ``stop`` they are one.
    """
    return CommandSet(
        on_failure=on_failure,
        name="disturbed",
        mode=mode,
        steps=[
            sleep("wait", 0.5),
            scan(tree),
            echo("end", {"files": Ref("scan", "files"), "slept": Ref("wait")}),
        ],
        dependencies={"end": ["wait", "scan"]},
    )


# Any: a result as API pins it.
def essence(result: dict[str, Any]) -> dict[str, Any]:
    """Give what may not depend on a disturbance."""
    kept = {key: result[key] for key in ("status", "results", "error", "error_detail", "mode")}
    steps = result["steps"].items()
    kept["steps"] = {i: (s["outcome"], s["layer"], s["stopped"], s["error"]) for i, s in steps}
    return kept


# Any: JSON of ``tandem``.
async def cli(journal: Path, *arguments: str) -> Any:
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", CLI, *arguments, "--json", "--journal", str(journal),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(program.communicate(), WAIT_S)
    assert program.returncode == 0
    return json.loads(out)


@pytest.mark.parametrize("mode", ["INTELLIGENT", "SPEED_CRITICAL"])
async def test_a_kill_with_a_sleep_and_a_scan_in_flight_changes_no_result_and_is_journaled(
    watched: Watched, tree: Path, mode: str
) -> None:
    tandem = watched.tandem
    undisturbed = await tandem.execute_command_set(both_in_flight(tree, mode))
    assert undisturbed["status"] == "completed" and undisturbed["notes"] == []
    watched.events.clear()
    counted = tandem.get_metrics()["c_msgs_processed"]

    run = await tandem.submit(both_in_flight(tree, mode))
    await watched.taken(2)
    pid = await watched.kill()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert essence(result) == essence(undisturbed)
    assert watched.ends("wait") == watched.ends("scan") == ["unknown", "succeeded"]
    attempts = {step: shown["attempts"] for step, shown in result["steps"].items()}
    assert attempts == {"wait": 2, "scan": 2, "end": 1}
    # Five attempts of this run, and the probe of ``taken``.
    assert tandem.get_metrics()["c_msgs_processed"] - counted == 6
    assert (watched.bridge["starts"], watched.bridge["deaths"]) == (2, 1)

    told = [e async for e in run.events() if e["kind"] == "layer_changed"]
    assert [(e["layer"], e["change"]) for e in told] == [("c", "died"), ("c", "restarted")]
    assert told[0]["detail"] == f"bridge {pid}: killed by SIGKILL"
    assert told[1]["detail"] == f"bridge {watched.bridge['pid']}"
    assert told[0]["at_ns"] <= told[1]["at_ns"]

    shown = await cli(watched.journal, "runs", "show", run.id)
    assert (
        shown["notes"]
        == result["notes"]
        == [
            f"the c layer died: bridge {pid}: killed by SIGKILL",
            f"the c layer restarted: bridge {watched.bridge['pid']}",
        ]
    )
    assert shown["results"] == result["results"]
    assert shown["steps"]["scan"]["attempts"] == 2


async def test_a_comparing_run_repeats_the_lost_twin_and_still_agrees(
    watched: Watched, tree: Path
) -> None:
    asked = CommandSet(mode="REDUNDANT", steps=[scan(tree)])
    run = await watched.tandem.submit(asked)
    await watched.taken(1)
    await watched.kill()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert (result["status"], result["consensus_achieved"]) == ("completed", True)
    assert result["conflicts"] == []
    assert sorted(watched.ends("scan")) == ["succeeded", "succeeded", "unknown"]


async def test_a_death_between_steps_costs_no_attempt(watched: Watched) -> None:
    agent = watched.tandem.register_agent("t")
    door = asyncio.Event()

    @agent.action("wait", effects="none")
    async def wait(payload: Any) -> str:
        await door.wait()
        return "through"

    asked = CommandSet(
        type="SEQUENCE",
        steps=[echo("a", 1), CommandStep(id="door", agent="t", action="wait"), echo("b", 2)],
    )
    run = await watched.tandem.submit(asked)
    await watched.step_ended("a")
    await watched.kill()
    door.set()  # the next native step may come before the restart: it waits for it
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert result["results"] == {"a": 1, "door": "through", "b": 2}
    assert {s["attempts"] for s in result["steps"].values()} == {1}
    assert [s["layer"] for s in result["steps"].values()] == ["c", "python", "c"]
    assert [note.split(":")[0] for note in result["notes"]] == [
        "the c layer died",
        "the c layer restarted",
    ]


async def test_a_run_that_starts_during_the_outage_waits_for_the_restart(watched: Watched) -> None:
    await watched.kill()
    result = await watched.tandem.execute_command_set(
        CommandSet(mode="SPEED_CRITICAL", steps=[echo("a", 1)])
    )
    assert (result["status"], result["steps"]["a"]["attempts"]) == ("completed", 1)


async def test_deaths_again_and_again_in_one_run_lose_nothing_of_it(watched: Watched) -> None:
    names = [f"s{n}" for n in range(4)]
    asked = CommandSet(
        type="SEQUENCE",
        mode="SPEED_CRITICAL",
        on_failure="drain",  # each step a call of its own
        steps=[step for n in names for step in (echo(f"{n}e", n), sleep(n, 0.15))],
    )
    run = await watched.tandem.submit(asked)
    killed = []
    for step in names:
        await watched.step_ended(f"{step}e")
        await watched.taken(1)
        killed.append(await watched.kill())
        await watched.back()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert (result["status"], result["error"]) == ("completed", None)
    assert [watched.ends(step) for step in names] == [["unknown", "succeeded"]] * 4
    assert {result["steps"][f"{step}e"]["attempts"] for step in names} == {1}
    told = [e async for e in run.events() if e["kind"] == "layer_changed"]
    assert [e["change"] for e in told] == ["died", "restarted"] * 4
    assert [e["detail"] for e in told[::2]] == [f"bridge {p}: killed by SIGKILL" for p in killed]


async def test_a_stream_of_steps_loses_and_doubles_no_item_however_often_the_bridge_dies(
    watched: Watched,
) -> None:
    items = 3000
    asked = CommandSet(
        mode="SPEED_CRITICAL",
        durability="none",
        steps=[echo("stream", {"n": Ref("item")}, for_each=list(range(items)))],
    )
    run = await watched.tandem.submit(asked)
    for part in (500, 1200, 2000):
        await watched.seen(lambda e: isinstance(e, AttemptEnded) and e.outcome == "succeeded", part)
        await watched.kill()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert (result["status"], result["error"]) == ("completed", None)
    assert result["results"]["stream"] == [{"n": n} for n in range(items)]
    assert len(watched.ends("stream")) > items  # some were lost, or the test kills too late
    assert watched.ends("stream").count("succeeded") == items


async def test_stopped_and_then_killed_what_was_never_taken_counts_as_not_started(
    watched: Watched, tree: Path
) -> None:
    tandem = watched.tandem
    undisturbed = await tandem.execute_command_set(both_in_flight(tree, "SPEED_CRITICAL"))
    watched.events.clear()
    pid = watched.signal(signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    await watched.until(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T", "stopped")
    counted = tandem.get_metrics()["c_msgs_processed"]
    run = await tandem.submit(both_in_flight(tree, "SPEED_CRITICAL"))
    await watched.until(lambda: watched.bridge["in_flight"] == 2, "both were sent")
    await watched.kill()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert essence(result) == essence(undisturbed)
    assert watched.ends("wait") == watched.ends("scan") == ["not_started", "succeeded"]
    assert tandem.get_metrics()["c_msgs_processed"] - counted == 3  # what never ran is not counted


async def test_stopped_in_the_middle_and_then_killed_gives_the_right_result(
    watched: Watched, tree: Path
) -> None:
    run = await watched.tandem.submit(both_in_flight(tree, "INTELLIGENT"))
    await watched.taken(2)
    watched.signal(signal.SIGSTOP)
    await watched.kill()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert (result["status"], len(result["results"]["scan"]["files"])) == ("completed", 51)
    assert watched.ends("wait") == watched.ends("scan") == ["unknown", "succeeded"]


async def test_a_step_that_the_bridge_dies_under_time_after_time_is_quarantined(
    watched: Watched,
) -> None:
    run = await watched.tandem.submit(CommandSet(mode="SPEED_CRITICAL", steps=[sleep("s", 60.0)]))
    for _ in range(6):
        await watched.back()
        await watched.taken(1)
        await watched.kill()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert (result["status"], result["steps"]["s"]["error_type"]) == ("failed", "Quarantined")
    assert "6 times" in result["error"] and result["steps"]["s"]["attempts"] == 6
    assert watched.ends("s") == ["unknown"] * 6


# --- a bridge that does not come back ------------------------------------------------------------


@pytest.fixture
async def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    """An orchestrator whose bridge program is a copy that ``test`` may take away."""
    program = tmp_path / "agent_bridge"
    shutil.copy2(find_native_files().bridge_path, program)
    monkeypatch.setattr(
        "tandem_orchestrator.layers.native.layer.find_native_files",
        lambda: NativeFiles(str(program), ""),
    )
    async for one in watch(tmp_path / "j.db", restart_delay_s=0.01, deaths_max=2, cooldown_s=0.5):
        one.program = program
        yield one


@pytest.mark.parametrize(("on_failure", "calls"), [("drain", 2), ("stop", 1)])
async def test_a_bridge_that_never_comes_back_leaves_the_rest_of_the_run_to_python(
    mortal: Watched, tree: Path, on_failure: str, calls: int
) -> None:
    asked = both_in_flight(tree, "INTELLIGENT", on_failure)
    undisturbed = await mortal.tandem.execute_command_set(asked)
    run = await mortal.tandem.submit(asked)
    await mortal.taken(calls)
    mortal.program.unlink()
    await mortal.kill()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert result["status"] == "completed"
    assert result["results"] == undisturbed["results"]
    assert {s["layer"] for s in result["steps"].values()} == {"python"}
    for step in ("wait", "scan"):
        assert result["steps"][step]["reason"].startswith("fallback to python: ")
        assert any(f"step {step!r} fell back from c to python" in n for n in result["notes"])
    assert any(n.startswith("the c layer gave up: ") for n in result["notes"])
    health = mortal.tandem.layer_health()["c"]
    assert not health and str(mortal.program) in health.reason
    kinds = [e["kind"] async for e in run.events()]
    assert "fallback_planned" in kinds


async def test_speed_critical_never_falls_back_to_python(mortal: Watched) -> None:
    asked = CommandSet(
        mode="SPEED_CRITICAL", type="SEQUENCE", steps=[sleep("s", 0.3), echo("e", 1)]
    )
    run = await mortal.tandem.submit(asked)
    await mortal.taken(1)
    mortal.program.unlink()
    await mortal.kill()
    result = await asyncio.wait_for(run.result(), WAIT_S)

    assert result["status"] == "failed"
    assert result["steps"]["s"]["error_type"] == "LayerUnavailable"
    assert result["steps"]["e"]["outcome"] == "skipped"
    assert {e.layer for e in mortal.events if isinstance(e, AttemptEnded)} == {"c"}


async def test_a_bridge_that_comes_back_after_the_cool_down_is_used_again(
    mortal: Watched,
) -> None:
    away = mortal.program.with_name("away")
    mortal.program.rename(away)
    await mortal.kill()
    await mortal.until(lambda: mortal.bridge["breaker_open"], "the breaker is open")
    degraded = await mortal.tandem.execute_command_set(CommandSet(steps=[echo("a", 1)]))
    assert degraded["steps"]["a"]["layer"] == "python"
    assert any(n.startswith("the C layer is away") for n in degraded["notes"])

    away.rename(mortal.program)
    await mortal.back()
    again = await mortal.tandem.execute_command_set(CommandSet(steps=[echo("a", 1)]))
    assert (again["steps"]["a"]["layer"], again["notes"]) == ("c", [])
