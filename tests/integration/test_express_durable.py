"""Durable runs on the express way: one append, and no longer on it than a moment."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.journal import sqlite_journal
from tandem_orchestrator.orchestrator.express import Express

pytestmark = pytest.mark.native
WAIT_S = 20.0


def pair(n: Any, action: str = "echo", durability: str = "group") -> CommandSet:
    steps = [
        CommandStep(id="a", agent="system", action="echo", payload={"n": n}),
        CommandStep(id="b", agent="system", action=action, payload={"seconds": Ref("a", "n")}),
    ]
    return CommandSet(mode="SPEED_CRITICAL", durability=durability, steps=steps, name=f"pair {n}")


@pytest.fixture
async def tandem(tmp_path: Path) -> AsyncIterator[TandemOrchestrator]:
    async with TandemOrchestrator({"journal": {"path": str(tmp_path / "j.db")}}) as made:
        for action in ("echo", "sleep"):
            await made.execute_command_set(pair(0, action))  # its program is loaded then
        yield made


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    run = Express.run

    async def watched(self: Express, *arguments: Any) -> Any:
        ended = await run(self, *arguments)
        seen.append(type(ended).__name__)
        return ended

    monkeypatch.setattr(Express, "run", watched)
    return seen


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no run be late because others had the processor for a while."""
    monkeypatch.setattr("tandem_orchestrator.orchestrator.express.LATE_S", 3_600.0)


async def kinds(tandem: TandemOrchestrator, run_id: str) -> list[str]:
    return [event["kind"] async for event in tandem.run(run_id).events()]


@pytest.mark.parametrize("durability", ["sync", "group", "async"])
async def test_the_result_is_given_when_the_run_is_on_the_disk(
    patient, tandem, ways, tmp_path, durability
):
    await tandem.execute_command_set(pair(1, durability=durability))
    result = await tandem.execute_command_set(pair(2, durability=durability))
    assert ways[-1] == "dict"
    if durability != "async":
        reader = sqlite_journal(tmp_path / "j.db")
        await reader.open(None)
        records = await reader.records(result["run_id"])
        await reader.close()
        assert records[-1].kind == "run_ended"
    assert result["results"] == {"a": {"n": 2}, "b": {"seconds": 2}}
    assert await tandem.run(result["run_id"]).result() == result
    assert await kinds(tandem, result["run_id"]) == [
        "run_accepted", "run_started", "segment_started", "segment_ended", "run_ended",
    ]  # fmt: skip


async def test_it_can_be_retried_and_forked(patient, tandem, ways):
    result = await tandem.execute_command_set(pair(2))
    assert ways == ["dict"]
    run = tandem.run(result["run_id"])
    await run.retry("b")
    assert (await run.result())["results"] == result["results"]
    fork = await run.fork("a", {"n": 3})
    assert (await fork.result())["results"]["b"] == {"seconds": 3}


async def test_a_long_one_is_in_the_journal_while_it_goes_on(tandem, ways):
    going = asyncio.create_task(tandem.execute_command_set(pair(0.5, "sleep")))
    async with asyncio.timeout(WAIT_S):
        while not (rows := await tandem.runs(status="running")):
            await asyncio.sleep(0)
    result = await asyncio.wait_for(going, WAIT_S)
    assert ways == ["SegmentBegun"]
    assert result["status"] == "completed"
    assert result["run_id"] == rows[0].run_id
    assert result["steps"]["b"]["seconds"] >= 0.5
    assert result["duration"] < 1.0 + result["steps"]["b"]["seconds"], "it ran once"
    assert (await kinds(tandem, result["run_id"])).count("segment_started") == 1


async def test_a_long_one_that_is_cancelled_stops_in_c(tandem, ways):
    going = asyncio.create_task(tandem.execute_command_set(pair(600, "sleep")))
    async with asyncio.timeout(WAIT_S):
        while not (rows := await tandem.runs(status="running")):
            await asyncio.sleep(0)
    answer = await tandem.run(rows[0].run_id).cancel(wait_s=WAIT_S)
    result = await asyncio.wait_for(going, WAIT_S)
    assert ways == ["SegmentBegun"]
    assert answer.stopped
    assert result["status"] == "cancelled"
    assert result["steps"]["a"]["outcome"] == "succeeded"


async def test_a_caller_who_goes_stops_it(tandem, ways):
    going = asyncio.create_task(tandem.execute_command_set(pair(600, "sleep")))
    async with asyncio.timeout(WAIT_S):
        while not await tandem.runs(status="running"):
            await asyncio.sleep(0)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    async with asyncio.timeout(WAIT_S):
        while not await tandem.runs(status="cancelled"):
            await asyncio.sleep(0)
