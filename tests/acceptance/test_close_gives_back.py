"""What becomes of runs in progress when a program closes: cancelled, or given back to others."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import Agent, Closed, CommandSet, CommandStep, TandemOrchestrator

WAIT_S = 30.0


class Work:
    """An agent whose steps are slow until somebody opens the door."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.attempts: list[int] = []
        self.started, self.door = asyncio.Event(), asyncio.Event()
        self.agent = Agent("work")

        @self.agent.action("pure", effects="none")
        async def pure(payload: Any, ctx: Any) -> Any:
            await self.slowly("pure", ctx)

        @self.agent.action("pay", effects="external")
        async def pay(payload: Any, ctx: Any) -> Any:
            await self.slowly("pay", ctx)

        @self.agent.action("last", effects="none")
        async def last(payload: Any) -> Any:
            self.ran.append("last")

    async def slowly(self, name: str, ctx: Any) -> None:
        self.started.set()
        await self.door.wait()
        self.ran.append(name)
        self.attempts.append(ctx.attempt)


def asked(*actions: str, **fields: Any) -> CommandSet:
    steps = [CommandStep(id=name, agent="work", action=name) for name in actions]
    return CommandSet(name="long", type="sequence", steps=steps, **fields)


def orchestrator(journal: Path | str, work: Work, **settings: Any) -> TandemOrchestrator:
    config = {
        "journal": {"path": str(journal)},
        "c_layer": {"enabled": False},
        "orchestrator": settings,
    }
    tandem = TandemOrchestrator(config)
    tandem.add_agent(work.agent)
    return tandem


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


async def until_status(tandem: TandemOrchestrator, status: str) -> Any:
    give_up_at = time.monotonic() + WAIT_S
    while True:
        (row,) = await tandem.runs()
        if row.status == status:
            return row
        assert time.monotonic() < give_up_at, row
        await asyncio.sleep(0.02)


async def test_its_own_runs_are_cancelled_unless_somebody_says_otherwise(journal: Path) -> None:
    one = Work()
    async with orchestrator(journal, one) as tandem:
        run = await tandem.submit(asked("pure", "last"))
        await one.started.wait()
    assert (await run.result())["status"] == "cancelled"


async def test_a_run_that_was_given_back_is_finished_by_the_next_program(journal: Path) -> None:
    one, other = Work(), Work()
    tandem = orchestrator(journal, one)
    await tandem.initialize()
    run = await tandem.submit(asked("pure", "last"))
    await one.started.wait()
    waiter = asyncio.create_task(run.result())
    await asyncio.sleep(0)
    await tandem.close(give_back=True)
    with pytest.raises(Closed, match="given back"):
        await waiter
    assert one.ran == []
    other.door.set()
    async with orchestrator(journal, other) as tandem, asyncio.timeout(WAIT_S):
        result = await tandem.run(run.id).result()
    assert result["status"] == "completed", result["error"]
    assert (other.ran, other.attempts) == (["pure", "last"], [2])


async def test_between_programs_it_is_interrupted(journal: Path) -> None:
    one = Work()
    tandem = orchestrator(journal, one)
    await tandem.initialize()
    await tandem.submit(asked("pure", "last"))
    await one.started.wait()
    await tandem.close(give_back=True)
    reader = TandemOrchestrator({"journal": {"path": str(journal), "recover": False}})
    async with reader:
        (row,) = await reader.runs()
    assert row.status == "interrupted"


async def test_work_with_effects_outside_is_let_finish_first(journal: Path) -> None:
    one, other = Work(), Work()
    tandem = orchestrator(journal, one)
    await tandem.initialize()
    run = await tandem.submit(asked("pay", "last"))
    await one.started.wait()

    def heard(run_id: str, event: Any) -> None:
        if type(event).__name__ == "RunPaused":
            one.door.set()

    async with tandem.listening(heard):
        await tandem.close(give_back=True)
    assert one.ran == ["pay"], "it finished, and nothing started after it"
    async with orchestrator(journal, other) as tandem, asyncio.timeout(WAIT_S):
        result = await tandem.run(run.id).result()
    assert result["status"] == "completed", result["error"]
    assert other.ran == ["last"]


async def test_work_with_effects_outside_that_does_not_finish_is_held_by_the_next(
    journal: Path,
) -> None:
    one, other = Work(), Work()
    tandem = orchestrator(journal, one, close_timeout_s=0.2)
    await tandem.initialize()
    await tandem.submit(asked("pay", "last"))
    await one.started.wait()
    await tandem.close(give_back=True)
    async with orchestrator(journal, other) as tandem:
        await until_status(tandem, "held")
    assert other.ran == []


async def test_a_run_that_was_taken_over_is_given_back_without_being_asked(journal: Path) -> None:
    one, two, three = Work(), Work(), Work()
    tandem = orchestrator(journal, one)
    await tandem.initialize()
    run = await tandem.submit(asked("pure", "last"))
    await one.started.wait()
    await tandem.close(give_back=True)
    tandem = orchestrator(journal, two)
    await tandem.initialize()
    async with asyncio.timeout(WAIT_S):
        await two.started.wait()
    await tandem.close()
    three.door.set()
    async with orchestrator(journal, three) as tandem, asyncio.timeout(WAIT_S):
        result = await tandem.run(run.id).result()
    assert result["status"] == "completed", result["error"]
    assert three.attempts == [3]


async def test_however_often_it_is_given_back_it_is_not_taken_for_poison(journal: Path) -> None:
    work = Work()
    tandem = orchestrator(journal, work)
    await tandem.initialize()
    run = await tandem.submit(asked("pure"))
    for _ in range(22):  # Deaths of its program would fail it after 20.
        async with asyncio.timeout(WAIT_S):
            await work.started.wait()
        await tandem.close(give_back=True)
        work = Work()
        tandem = orchestrator(journal, work)
        await tandem.initialize()
    work.door.set()
    async with tandem, asyncio.timeout(WAIT_S):
        assert (await tandem.run(run.id).result())["status"] == "completed"


@pytest.mark.parametrize("reason", ["memory", "durability", "lambda"])
async def test_what_nobody_could_go_on_with_is_cancelled(journal: Path, reason: str) -> None:
    work = Work()
    tandem = orchestrator(":memory:" if reason == "memory" else journal, work)
    await tandem.initialize()
    wanted = asked("pure", "last", durability="none" if reason == "durability" else "group")
    if reason == "lambda":
        wanted.steps[0].validation_fn = lambda output: True
    run = await tandem.submit(wanted)
    await work.started.wait()
    await tandem.close(give_back=True)
    assert (await run.result())["status"] == "cancelled"


async def test_a_run_that_waits_for_its_turn_is_given_back_as_it_is(journal: Path) -> None:
    one, other = Work(), Work()
    tandem = orchestrator(journal, one, max_parallel_workflows=1)
    await tandem.initialize()
    await tandem.submit(asked("pure"))
    second = await tandem.submit(asked("last"))
    await one.started.wait()
    await tandem.close(give_back=True)
    other.door.set()
    async with orchestrator(journal, other) as tandem, asyncio.timeout(WAIT_S):
        assert (await tandem.run(second.id).result())["status"] == "completed"
    assert sorted(other.ran) == ["last", "pure"]
