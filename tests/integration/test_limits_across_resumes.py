"""Limits of agents and actions, and ageing, hold for runs that another program began."""

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.clock import SystemClock

WAIT_S = 20.0
HOUR_NS = 3600 * 10**9


class Shifted(SystemClock):
    """A clock whose wall is some hours behind."""

    def __init__(self, hours_ago: int = 0) -> None:
        super().__init__()
        self.hours_ago = hours_ago

    def wall_ns(self) -> int:
        return super().wall_ns() - self.hours_ago * HOUR_NS


class Work:
    """An agent with limits; in the first program its steps never end."""

    def __init__(self, *, ends: bool, **limits: Any) -> None:
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.together = 0
        self.door = asyncio.Event()
        self.starts: list[float] = []
        self.order: list[str] = []
        self.agent = Agent("work")

        @self.agent.action("do", effects="none", **limits)
        async def do(payload: Any) -> None:
            self.starts.append(time.monotonic())
            self.order.append(payload["k"])
            if not ends:
                await asyncio.Event().wait()
            self.running[payload["k"]] += 1
            self.most[payload["k"]] = max(self.most[payload["k"]], self.running[payload["k"]])
            self.together = max(self.together, self.running.total())
            await self.door.wait()
            self.running[payload["k"]] -= 1


def orchestrator(
    journal: Path, work: Work, clock: SystemClock | None = None, **settings: Any
) -> TandemOrchestrator:
    config = {
        "journal": {"path": str(journal)},
        "c_layer": {"enabled": False},
        "orchestrator": settings,
    }
    tandem = TandemOrchestrator(config, clock=clock)
    tandem.add_agent(work.agent)
    return tandem


def asked(key: str, **fields: Any) -> CommandSet:
    return CommandSet(
        steps=[CommandStep(id="s", agent="work", action="do", payload={"k": key})], **fields
    )


async def left_behind(journal: Path, keys: list[str], **limits: Any) -> list[str]:
    """Have runs in the journal that their program gave back."""
    tandem = orchestrator(journal, Work(ends=False, **limits))
    await tandem.initialize()
    runs = [await tandem.submit(asked(key)) for key in keys]
    await tandem.close(give_back=True)
    return [run.id for run in runs]


async def until_waiting(tandem: TandemOrchestrator, attempts: int) -> None:
    """Wait until so many attempts wait for their turn: whoever may start has."""
    assert tandem._parts is not None
    async with asyncio.timeout(WAIT_S):
        while tandem._parts.engine.gates.waiting != attempts:
            await asyncio.sleep(0.01)


async def ended(tandem: TandemOrchestrator, ids: list[str]) -> None:
    async with asyncio.timeout(WAIT_S):
        for run_id in ids:
            assert (await tandem.run(run_id).result())["status"] == "completed"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def test_a_limit_by_key_holds_for_runs_that_are_taken_over(journal: Path) -> None:
    limits = {"max_concurrency": 1, "concurrency_key": "k"}
    ids = await left_behind(journal, ["a", "a", "a", "b", "b", "b"], **limits)
    work = Work(ends=True, **limits)
    async with orchestrator(journal, work) as tandem:
        more = await tandem.submit(asked("a"))  # Beside those that are taken over.
        await until_waiting(tandem, 5)
        work.door.set()
        await ended(tandem, [*ids, more.id])
    assert work.most == {"a": 1, "b": 1}
    assert sorted(work.order) == ["a"] * 4 + ["b"] * 3


async def test_a_limit_of_the_action_holds_for_runs_that_are_taken_over(journal: Path) -> None:
    ids = await left_behind(journal, ["a", "b", "c", "d", "e"], max_concurrency=2)
    work = Work(ends=True, max_concurrency=2)
    async with orchestrator(journal, work) as tandem:
        await until_waiting(tandem, 3)
        work.door.set()
        await ended(tandem, ids)
    assert work.together == 2
    assert len(work.order) == 5


async def test_a_rate_holds_for_runs_that_are_taken_over(journal: Path) -> None:
    ids = await left_behind(journal, ["a", "b", "c", "d"], rate_per_s=10)
    work = Work(ends=True, rate_per_s=10)
    work.door.set()
    began = time.monotonic()
    async with orchestrator(journal, work) as tandem:
        await ended(tandem, ids)
    # Each starts at least a tenth of a second after the one before; none before it was looked for.
    assert all(start - began >= i / 10 for i, start in enumerate(sorted(work.starts)))


@pytest.mark.parametrize(("ageing_s", "order"), [(60.0, ["old", "new"]), (0.0, ["new", "old"])])
async def test_what_a_run_waited_before_its_program_ended_counts(
    journal: Path, ageing_s: float, order: list[str]
) -> None:
    settings = {"max_parallel_workflows": 1, "ageing_s": ageing_s}
    clock = Shifted(hours_ago=5)
    tandem = orchestrator(journal, Work(ends=False), clock, **settings)
    await tandem.initialize()
    ids = [(await tandem.submit(asked("first"))).id]
    ids.append((await tandem.submit(asked("old", priority="background"))).id)
    clock.hours_ago = 0
    ids.append((await tandem.submit(asked("new", priority="critical"))).id)
    await tandem.close(give_back=True)
    work = Work(ends=True)
    work.door.set()
    async with orchestrator(journal, work, Shifted(), **settings) as tandem:
        await ended(tandem, ids)
    assert [key for key in work.order if key != "first"] == order
