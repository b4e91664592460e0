"""Runs of a native diamond through the whole orchestrator: how many fit into a second.

    python benchmarks/runs.py [--runs 5] [--output build/bench/runs.json]

Ten steps: one, eight that refer to it, one that gathers them; 64 runs in flight on one loop,
``max_parallel_workflows`` is 128. Durability ``none``: prepared once, and built anew with other
values for each run. Durability ``async``: as many as the journal takes in the long run, with the
last of them on disk when the clock is stopped; and how often a run was told ``Busy`` meanwhile.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from figure import Figure, report
from flight import us_a_run
from machine import this_machine

from tandem_orchestrator import Busy, CommandSet, CommandStep, Ref, TandemOrchestrator

PREPARED, FRESH, JOURNALED = 20_000, 10_000, 2_000
"""Runs in one measurement."""


def diamond(value: int, durability: str) -> CommandSet:
    """Make ten steps of new objects."""
    middle = [f"m{i}" for i in range(8)]

    def step(step_id: str, payload: object) -> CommandStep:
        return CommandStep(id=step_id, agent="system", action="echo", payload=payload)

    steps = [step("first", {"n": value})]
    steps += [step(name, {"from": Ref("first", "n")}) for name in middle]
    steps.append(step("last", [Ref(name) for name in middle]))
    return CommandSet(mode="SPEED_CRITICAL", durability=durability, steps=steps)


async def measure(tandem: TandemOrchestrator, runs: int) -> list[Figure]:
    """Take every figure."""
    plan = await tandem.prepare(diamond(1, "none"))
    refused = 0

    async def prepared(number: int) -> None:
        result = await plan.run()
        assert result["results"]["last"][0] == {"from": 1}

    async def fresh(number: int) -> None:
        result = await tandem.execute_command_set(diamond(number, "none"))
        assert result["results"]["last"][0] == {"from": number}

    async def until_there_is_room(submit: Callable[[], Awaitable[Any]]) -> Any:
        nonlocal refused
        while True:
            try:
                return await submit()
            except Busy:
                refused += 1
                await asyncio.sleep(0.001)

    async def journaled(number: int) -> None:
        asked = diamond(number, "async")
        result = await until_there_is_room(lambda: tandem.execute_command_set(asked))
        assert result["status"] == "completed"

    async def all_journaled() -> float:
        began = time.perf_counter()
        await us_a_run(JOURNALED, journaled)
        # Durable, and with it all before it.
        await until_there_is_room(lambda: tandem.submit(diamond(0, "group")))
        return (time.perf_counter() - began) / JOURNALED * 1e6

    await us_a_run(100, prepared)
    return [
        Figure(
            "a prepared diamond, durability none",
            "us",
            20.0,
            tuple([await us_a_run(PREPARED, prepared) for _ in range(runs)]),
        ),
        Figure(
            "the same built anew each time",
            "us",
            50.0,
            tuple([await us_a_run(FRESH, fresh) for _ in range(runs)]),
        ),
        Figure(
            "built anew, durability async, until it is on disk",
            "us",
            None,
            tuple([await all_journaled() for _ in range(runs)]),
        ),
        Figure("Busy answers to these", "count", None, (float(refused),)),
    ]


async def main(runs: int, output: Path) -> int:
    """Open an orchestrator on a journal of its own, measure, report."""
    machine = this_machine()
    with tempfile.TemporaryDirectory() as folder:
        config = {
            "journal": {"path": str(Path(folder, "journal.db"))},
            "orchestrator": {"max_parallel_workflows": 128},
            "python_layer": {"cache_size": 0},
        }
        async with TandemOrchestrator(config) as tandem:
            figures = await measure(tandem, runs)
    command = f"python benchmarks/runs.py --runs {runs}"
    return report(figures, command=command, machine=machine, output=output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("build/bench/runs.json"))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.runs, arguments.output)))
