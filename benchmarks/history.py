"""A long history: how long ``runs list`` and ``runs show`` take beside a million finished steps.

    python benchmarks/history.py [--runs 100000] [--asked 400] [--output build/bench/history.json]

The journal is made of copies of one run, a diamond of ten steps that an orchestrator has run, so that
100,000 runs are 1,000,000 finished steps in 1.9 GB; one run in a hundred failed. (``make bench`` takes
a tenth of that; the bar is the same.) Asked are, on an open journal, what ``tandem runs list`` and
``runs show`` ask: the newest hundred, those that failed, those of one name, those older than one in
the middle; a run of any age with its result. Each value is the 99th percentile of ``--asked`` questions.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from figure import Figure, report
from machine import this_machine

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.journal import Journal, sqlite_journal
from tandem_orchestrator.model.events import AnyEvent, RunAccepted, RunEnded
from tandem_orchestrator.observe import RunView

BAR_MS = 50.0
NAMES = 500
"""Different names that the runs have."""
IN_FLIGHT = 64
PARTS = 4
"""Values of a figure, each from a part of the questions."""


async def one_run(folder: Path) -> list[AnyEvent]:
    """Run the diamond once and give all that was journaled."""
    middle = [f"m{i}" for i in range(8)]

    def step(step_id: str, payload: object) -> CommandStep:
        return CommandStep(id=step_id, agent="t", action="same", payload=payload)

    steps = [step("first", {"n": 1}), *(step(name, {"from": Ref("first")}) for name in middle)]
    steps.append(step("last", [Ref(name) for name in middle]))
    config = {"journal": {"path": str(folder / "one.db")}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("t")

        @agent.action("same", effects="none")
        async def same(payload: Any) -> Any:
            return payload

        result = await tandem.execute_command_set(CommandSet(name="diamond", steps=steps))
        assert result["status"] == "completed"
        run_id = result["run_id"]
    journal = sqlite_journal(folder / "one.db")
    await journal.open(None)
    records = await journal.records(run_id)
    await journal.close()
    return [record.event for record in records]


def copied(events: list[AnyEvent], number: int) -> tuple[str, list[AnyEvent]]:
    """Give the run under another id and name, at another time; one in a hundred failed."""
    run_id = f"run-{number:08}"
    made: list[AnyEvent] = []
    for event in events:
        changes: dict[str, Any] = {"at_ns": event.at_ns + number * 1_000_000}
        if isinstance(event, RunAccepted):
            changes |= {"run_id": run_id, "name": f"name-{number % NAMES}"}
        elif isinstance(event, RunEnded) and number % 100 == 0:
            changes |= {"status": "failed", "error": "as made up"}
        made.append(msgspec.structs.replace(event, **changes))
    return run_id, made


async def fill(journal: Journal, events: list[AnyEvent], runs: int) -> float:
    """Write all runs; gives the seconds."""
    numbers = iter(range(runs))

    async def write() -> None:
        for number in numbers:
            run_id, made = copied(events, number)
            await journal.append(run_id, made, "group").durable()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(write())
    return time.perf_counter() - began


async def p99_ms(ask: Callable[[], Awaitable[object]], asked: int) -> tuple[float, ...]:
    """Ask one after the other; gives the 99th percentile of each part."""
    values = []
    for _ in range(PARTS):
        taken = []
        for _ in range(asked // PARTS):
            began = time.perf_counter()
            await ask()
            taken.append((time.perf_counter() - began) * 1e3)
        values.append(sorted(taken)[int(len(taken) * 0.99) - 1])
    return tuple(values)


async def measure(journal: Journal, runs: int, asked: int) -> list[Figure]:
    """Take every figure."""
    rng = random.Random(1)  # noqa: S311 - the same questions each time

    def any_run() -> str:
        return f"run-{rng.randrange(runs):08}"

    async def show() -> None:
        run_id = any_run()
        row = await journal.run(run_id)
        view = RunView()
        for record in await journal.records(run_id):
            view.apply(record.event)
        assert row is not None and len(view.result()["steps"]) == 10

    async def listed(**asked_for: Any) -> None:
        assert await journal.runs(limit=100, **asked_for)

    questions: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("runs list", listed),
        ("runs list --status failed", lambda: listed(status="failed")),
        ("runs of one name", lambda: listed(name=f"name-{rng.randrange(NAMES)}")),
        ("runs before one of any age", lambda: listed(before=any_run())),
        ("runs show", show),
    ]
    found = []
    for name, ask in questions:
        await ask()
        found.append(Figure(f"{name}, p99", "ms", BAR_MS, await p99_ms(ask, asked)))
    return found


async def main(runs: int, asked: int, output: Path) -> int:
    """Make the journal, open it anew, measure, report."""
    machine = this_machine()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        events = await one_run(folder)
        path = folder / "journal.db"
        journal = sqlite_journal(path)
        await journal.open("writes")
        seconds = await fill(journal, events, runs)
        await journal.close()
        await journal.open("asks")
        figures = await measure(journal, runs, asked)
        await journal.close()
        size_mb = path.stat().st_size / 1e6
    figures += [
        Figure("finished steps in the journal", "count", None, (float(runs * 10),)),
        Figure("the journal's file", "MB", None, (size_mb,)),
        Figure("bytes a step", "B", None, (size_mb * 1e6 / (runs * 10),)),
        Figure("written", "steps/s", None, (runs * 10 / seconds,), more_is_better=True),
    ]
    command = f"python benchmarks/history.py --runs {runs} --asked {asked}"
    return report(figures, command=command, machine=machine, output=output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--asked", type=int, default=400)
    parser.add_argument("--output", type=Path, default=Path("build/bench/history.json"))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.runs, arguments.asked, arguments.output)))
