"""Many interrupted runs: what is registered is asked for once for each kind, not for each run."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.orchestrator import recovery

WAIT_S = 60.0
RUNS, KINDS = 120, 4


def config(journal: Path) -> dict[str, Any]:
    return {
        "journal": {"path": str(journal)},
        "c_layer": {"enabled": False},
        "orchestrator": {"max_parallel_workflows": 2},
    }


def agent(kind: int, ran: list[str] | None = None) -> Agent:
    made = Agent(f"kind{kind}")

    @made.action("do", effects="none")
    async def do(payload: Any, ctx: Any) -> None:
        if ran is None:
            await asyncio.Event().wait()
        else:
            ran.append(ctx.run_id)

    return made


@pytest.fixture
async def journal(tmp_path: Path) -> Path:
    """A journal with interrupted runs of some kinds."""
    path = tmp_path / "journal.db"
    tandem = TandemOrchestrator(config(path))
    for kind in range(KINDS):
        tandem.add_agent(agent(kind))
    await tandem.initialize()
    for i in range(RUNS):
        steps = [CommandStep(agent=f"kind{i % KINDS}", action="do")]
        await tandem.submit(CommandSet(steps=steps, durability="async"))
    await tandem.close(give_back=True)
    return path


class Counted:
    """A recovery that counts the runs it reads."""

    def __init__(self, tandem: TandemOrchestrator) -> None:
        assert tandem._parts is not None
        assert tandem._recovery is not None
        self.recovery, self.read = tandem._recovery, list[str]()
        journal = tandem._parts.journal
        records = journal.records

        async def counted(run_id: str, **given: Any) -> Any:
            self.read.append(run_id)
            return await records(run_id, **given)

        journal.records = counted  # type: ignore[method-assign]


async def test_registering_reads_each_interrupted_run_once(journal: Path) -> None:
    async with TandemOrchestrator(config(journal)) as tandem:
        assert tandem._recovery is not None
        await tandem._recovery.close()  # The looks below are the only ones.
        counted = Counted(tandem)
        await counted.recovery.look()
        for i in range(20):
            tandem.register_agent(f"other{i}")
            await counted.recovery.look()
        assert len(counted.read) == RUNS, "once, however much is registered"
        assert len(set(counted.read)) == RUNS


async def test_what_can_go_on_goes_on_when_its_agent_comes(journal: Path) -> None:
    ran: list[str] = []
    async with TandemOrchestrator(config(journal)) as tandem, asyncio.timeout(WAIT_S):
        assert tandem._recovery is not None
        await tandem._recovery.close()
        counted = Counted(tandem)
        await counted.recovery.look()
        tandem.add_agent(agent(1, ran))
        assert await counted.recovery.look() == RUNS // KINDS
        while len(ran) < RUNS // KINDS:
            await asyncio.sleep(0.01)
        # Those that go on were read once more; the others were not.
        assert len(counted.read) == RUNS + RUNS // KINDS


async def test_many_that_wait_keep_nobody_from_going_on(
    journal: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "RUNS_A_LOOK", 7)
    monkeypatch.setattr(recovery, "ROWS_A_PAGE", 11)
    ran: list[str] = []
    async with TandemOrchestrator(config(journal)) as tandem, asyncio.timeout(WAIT_S):
        assert tandem._recovery is not None
        await tandem._recovery.close()
        tandem.add_agent(agent(3, ran))
        for _ in range(3 * RUNS // 7):
            await tandem._recovery.look()
        while len(ran) < RUNS // KINDS:
            await asyncio.sleep(0.01)
            await tandem._recovery.look()
        waits = [row for row in await tandem.runs(limit=1000) if row.status == "interrupted"]
        assert len(waits) == RUNS - RUNS // KINDS
        assert {row.waiting_for for row in waits} == {("kind0.do",), ("kind1.do",), ("kind2.do",)}


async def test_a_run_that_another_program_took_is_let_go(journal: Path) -> None:
    ran: list[str] = []
    async with TandemOrchestrator(config(journal)) as tandem, asyncio.timeout(WAIT_S):
        assert tandem._recovery is not None
        await tandem._recovery.close()
        await tandem._recovery.look()
        other = TandemOrchestrator(config(journal))
        other.add_agent(agent(0, ran))
        async with other:
            while len(ran) < RUNS // KINDS:
                await asyncio.sleep(0.01)
        tandem.add_agent(agent(0, ran))
        assert await tandem._recovery.look() == 0
    assert len(ran) == len(set(ran)) == RUNS // KINDS
