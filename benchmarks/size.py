"""What waits takes little: memory of waiting runs and steps, and the journal's bytes a step.

    python benchmarks/size.py [--runs 100000] [--output build/bench/size.json]

Waiting runs are opened by a program of its own for each kind, and what its resident memory grew by
is divided by their number: everything counts, the handles that the program keeps, the journal's
writer and what the allocator does not give back. Four kinds: held at an approval, waiting for a
signal with a time limit (a timer each), between two attempts of a step (likewise), and queued for a
place. Each has a step before or after it, and values of its own.

The journal's bytes are those of the closed file, so that they hold indices and free pages as well.
"""

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from durable import graph_figures, layered, native_diamond, python_diamond
from figure import Figure, report
from machine import this_machine

from tandem_orchestrator import CommandSet, CommandStep, Run, TandemOrchestrator
from tandem_orchestrator.model.events import AnyEvent, AttemptEnded, RunAccepted, RunHeld

AT_ONCE = 500
"""Runs that are submitted at the same time."""
WARM = 1_000
"""Runs before those that are measured: what is made once is made by then."""
OTHER_RUNS = 8_000
"""Runs of each kind beside the first: one between two attempts keeps its place, of 10,000 at most."""
RUN_BYTES_MAX = 2**30 / 100_000
"""100,000 waiting runs in 1 GiB."""
STEP_BYTES_MAX = 1_280
"""Of the journal, for a step whose payload and output are a few bytes."""
DIAMONDS, GRAPH_STEPS = 2_000, 20_000
"""Runs of ten steps, and steps of one run, whose bytes in the journal are looked at."""
FAR_S = 86_400.0
"""When the timers of what waits are due, in seconds."""
KINDS = {
    "approval": "a run that waits for an approval",
    "signal": "... for a signal, with a time limit",
    "retry": "... for its next attempt",
    "queued": "... for a place",
}

BEGINS_TO_WAIT = {
    "approval": RunHeld,
    "signal": RunHeld,
    "retry": AttemptEnded,
    "queued": RunAccepted,
}
"""The event with which a run of each kind does."""


def waiting_run(kind: str, number: int) -> CommandSet:
    """Make a command set whose run comes to wait."""
    own = {"n": number}
    work = CommandStep(id="work", agent="idle", action="no_op", payload=own)
    if kind == "queued":
        return CommandSet(steps=[work])
    if kind == "retry":
        policy = {"max_retries": 3, "initial_delay": FAR_S, "max_delay": FAR_S, "jitter": False}
        fails = CommandStep(id="fails", agent="idle", action="fail", payload=own)
        fails.retry_policy = policy
        return CommandSet(steps=[fails, work], dependencies={"work": ["fails"]})
    if kind == "signal":
        wait = CommandStep(
            id="wait", agent="system", action="wait_signal", payload={"name": "go"}, timeout=FAR_S
        )
    else:
        asked = {"prompt": f"pay {number}?"}
        wait = CommandStep(id="wait", agent="system", action="approval", payload=asked)
    return CommandSet(steps=[wait, work], dependencies={"work": ["wait"]})


def resident_bytes() -> int:
    """Give the resident memory of this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def open_runs(kind: str, runs: int, folder: Path) -> None:
    """Open runs that wait, print what one took and what the program takes (bytes), and leave."""
    places = 10_000 if kind == "retry" else 64
    config = {
        "journal": {"path": str(folder / "journal.db")},
        "orchestrator": {
            "max_parallel_workflows": places,
            "max_queued_runs": runs + 2 * WARM,
            "max_held_runs": runs + 2 * WARM,
        },
    }
    tandem = TandemOrchestrator(config)
    await tandem.initialize()
    idle = tandem.register_agent("idle")

    @idle.action("no_op", effects="none")
    async def no_op(payload: Any) -> Any:
        return payload

    @idle.action("fail", effects="none")
    async def fail(payload: Any) -> Any:
        raise ValueError("not now")

    @idle.action("block", effects="none")
    async def block(payload: Any) -> Any:
        await asyncio.Event().wait()

    opened: list[Run] = []
    waiting, all_wait = 0, asyncio.Event()

    def count(run_id: str, event: AnyEvent) -> None:
        nonlocal waiting
        waiting += isinstance(event, BEGINS_TO_WAIT[kind])
        if waiting >= len(opened) + AT_ONCE:
            all_wait.set()

    async def open_more(wanted: int) -> None:
        for _ in range(wanted // AT_ONCE):
            first = len(opened)
            all_wait.clear()
            sets = [waiting_run(kind, first + k) for k in range(AT_ONCE)]
            runs = await asyncio.gather(*map(tandem.submit, sets))
            await all_wait.wait()
            opened.extend(runs)

    if kind == "queued":  # These take every place, and keep it.
        blocking = CommandStep(id="block", agent="idle", action="block")
        for _ in range(places):
            await tandem.submit(CommandSet(steps=[blocking]))
    async with tandem.listening(count):
        await open_more(WARM)
        gc.collect()
        before = resident_bytes()
        await open_more(runs)
        gc.collect()
        after = resident_bytes()
    print((after - before) / (len(opened) - WARM), after, flush=True)
    # Nobody waits for the runs, and to cancel them one by one would take long.
    os._exit(0)


def in_a_program(kind: str, runs: int) -> tuple[float, float]:
    """Give what a waiting run took, and what the whole program took, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--open", kind, "--runs", str(runs), "--at", folder]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    a_run, whole = done.stdout.split()
    return float(a_run), float(whole)


def runs_figures(runs: int) -> list[Figure]:
    """Measure waiting runs of each kind."""
    figures = []
    for kind, name in KINDS.items():
        opened = runs if kind == "approval" else max(AT_ONCE, min(runs, OTHER_RUNS))
        a_run, whole = in_a_program(kind, opened)
        figures.append(Figure(f"{name}, of {opened:,}", "bytes", float(RUN_BYTES_MAX), (a_run,)))
        if kind == "approval":
            bar = 1024.0 if runs <= 100_000 else None
            figures.append(Figure("... the whole program", "MiB", bar, (whole / 2**20,)))
    return figures


async def journal_figures(folder: Path) -> list[Figure]:
    """Measure the bytes that a step takes in the journal, once it is closed."""

    async def bytes_a_step(name: str, sets: Iterable[CommandSet]) -> float:
        path = folder / f"{name}.db"
        config = {"journal": {"path": str(path)}, "python_layer": {"cache_size": 0}}
        async with TandemOrchestrator(config) as tandem:
            idle = tandem.register_agent("idle")

            @idle.action("no_op", effects="none")
            async def no_op(payload: Any) -> Any:
                return payload

            @idle.action("gated", effects="none")
            async def gated(payload: Any) -> Any:
                return payload

            empty, steps = path.stat().st_size, 0
            for asked in sets:
                result = await tandem.execute_command_set(asked)
                assert result["status"] == "completed", result["error"]
                steps += len(asked.steps)
        return (path.stat().st_size - empty) / steps

    kinds = {
        "the journal, a step of a diamond in Python": (
            python_diamond(n, "group") for n in range(DIAMONDS)
        ),
        "... of a diamond in C": (native_diamond(n, "group") for n in range(DIAMONDS)),
        f"... of a graph of {GRAPH_STEPS:,} in Python": [layered(GRAPH_STEPS)],
    }
    return [
        Figure(name, "bytes", float(STEP_BYTES_MAX), (await bytes_a_step(f"j{n}", sets),))
        for n, (name, sets) in enumerate(kinds.items())
    ]


async def steps_figures(folder: Path) -> list[Figure]:
    """Measure large graphs, as ``durable.py`` does."""
    gate, reached = asyncio.Event(), asyncio.Event()
    config = {"journal": {"path": str(folder / "graph.db")}, "python_layer": {"cache_size": 0}}
    async with TandemOrchestrator(config) as tandem:

        @tandem.register_agent("idle").action("gated", effects="none")
        async def gated(payload: Any) -> Any:
            reached.set()
            await gate.wait()

        return await graph_figures(tandem, gate, reached)


async def main(runs: int, output: Path) -> int:
    """Measure, report."""
    machine = this_machine()
    figures = runs_figures(runs)
    with tempfile.TemporaryDirectory() as folder:
        figures += await steps_figures(Path(folder))
        figures += await journal_figures(Path(folder))
    command = f"python benchmarks/size.py --runs {runs}"
    return report(figures, command=command, machine=machine, output=output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=Path("build/bench/size.json"))
    parser.add_argument("--open", choices=list(KINDS), help=argparse.SUPPRESS)
    parser.add_argument("--at", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.open:
        asyncio.run(open_runs(arguments.open, arguments.runs, arguments.at))
    sys.exit(asyncio.run(main(arguments.runs, arguments.output)))
