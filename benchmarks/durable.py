"""Durable runs: how many a second, and what a step, a waiting step and a record cost.

    python benchmarks/durable.py [--runs 5] [--long] [--output build/bench/durable.json]

A diamond has ten steps: one, four that depend on it, four that depend on one of those each, one
that gathers them. Its handlers are Python and do nothing (``async def``, ``effects="none"``);
``max_parallel_workflows`` is 128, nothing is cached, each run is a command set built anew. The bare
loops beside them (``durable_peers.py``) run in turn with ours. A flush takes 0.1 ms where a core is
free and 4 ms where both are busy: a figure without the load beside it says little.

``--long`` adds a journal of 1,000,000 finished steps, and how long listing and showing runs take.
"""

import argparse
import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from durable_peers import GroupCommit, durable_run, plain_run
from figure import Figure, report
from flight import us_a_run
from machine import this_machine

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.journal import sqlite_journal
from tandem_orchestrator.model.events import RunAccepted, RunEnded, RunStarted, StepEnded
from tandem_orchestrator.testing.postgres_server import PostgresServer, postgres_programs

DIAMONDS, ALONE, PLAIN, NATIVE = 1_000, 300, 1_500, 4_000
"""Runs in one measurement: 64 in flight, one at a time, without a journal, in C."""
RECORDS, RECORDS_AT_ONCE, JOURNAL_RUNS = 60_000, 16, 64
"""Of the journal alone: records, records of one append, runs that append at the same time."""
DBOS, DBOS_RUNS = Path("build/dbos/bin/python"), 60
"""The Python that has DBOS (``tools/setup bench`` makes it), and its runs: it takes seconds for them."""
LONG_RUNS, LONG_STEPS = 100_000, 10
"""Runs and steps of each in the long journal."""
SMALL, LARGE = 1_000, 100_000
"""Steps of a graph."""
LOOKS = 200
"""Listings, and shown runs, in one measurement."""

FIRST = [f"a{i}" for i in range(4)]
SECOND = [f"b{i}" for i in range(4)]
GRAPH: dict[str, set[str]] = {"first": set()}
GRAPH |= {name: {"first"} for name in FIRST}
GRAPH |= {b: {a} for a, b in zip(FIRST, SECOND, strict=True)}
GRAPH["last"] = set(SECOND)


def python_diamond(number: int, durability: str) -> CommandSet:
    """Make ten steps of Python that only depend on each other."""
    steps = [CommandStep(id=name, agent="idle", action="no_op", payload=number) for name in GRAPH]
    after = {name: sorted(others) for name, others in GRAPH.items() if others}
    return CommandSet(steps=steps, dependencies=after, durability=durability)


def native_diamond(number: int, durability: str) -> CommandSet:
    """Make ten steps that run in C and nowhere else: no run of it is a try in Python."""

    def step(name: str, payload: Any) -> CommandStep:
        return CommandStep(id=name, agent="system", action="echo", payload=payload)

    steps = [step("first", {"n": number})]
    steps += [step(name, {"from": Ref("first", "n")}) for name in FIRST]
    steps += [step(b, Ref(a)) for a, b in zip(FIRST, SECOND, strict=True)]
    return CommandSet(
        mode="SPEED_CRITICAL",
        steps=[*steps, step("last", [Ref(name) for name in SECOND])],
        durability=durability,
    )


async def rate(total: int, one: Callable[[int], Awaitable[object]]) -> float:
    """Give runs a second, 64 in flight."""
    return 1e6 / await us_a_run(total, one)


def dbos_figures() -> tuple[float, float] | None:
    """Measure the same diamond in DBOS: runs a second, and p50 of one alone; None if it is not there."""
    if not DBOS.exists():
        print(f"DBOS is left out: there is no {DBOS} (tools/setup bench makes it)", file=sys.stderr)
        return None
    program = Path(__file__).with_name("durable_dbos.py")
    ran = subprocess.run(
        [DBOS, program, str(DBOS_RUNS)], capture_output=True, text=True, check=True
    )
    rate, p50_ms = map(float, ran.stdout.split()[-2:])
    return rate, p50_ms


async def runs_figures(tandem: TandemOrchestrator, folder: Path, runs: int) -> list[Figure]:
    """Measure diamonds, each kind in turn with its bare loop."""

    def ours(make: Callable[[int, str], CommandSet], durability: str) -> Any:
        async def one(number: int) -> None:
            result = await tandem.execute_command_set(make(number, durability))
            assert result["status"] == "completed", result

        return one

    async def p50_ms(one: Callable[[int], Awaitable[object]]) -> float:
        took = []
        for number in range(ALONE):
            began = time.perf_counter()
            await one(number)
            took.append((time.perf_counter() - began) * 1e3)
        return statistics.median(took)

    bare = GroupCommit(folder / "bare.db")

    async def bare_one(number: int) -> None:
        await durable_run(number, GRAPH, bare)

    async def plain_one(number: int) -> None:
        await plain_run(GRAPH)

    group, none = ours(python_diamond, "group"), ours(python_diamond, "none")
    native = ours(native_diamond, "group")
    for warm in (group, none, native, bare_one, plain_one):
        await us_a_run(100, warm)
    values: dict[str, list[float]] = {}

    def keep(name: str, value: float) -> None:
        values.setdefault(name, []).append(value)

    for _ in range(runs):
        keep("group", await rate(DIAMONDS, group))
        keep("bare", await rate(2 * DIAMONDS, bare_one))
        keep("alone", await p50_ms(group))
        keep("bare alone", await p50_ms(bare_one))
        keep("none", await rate(PLAIN, none))
        keep("plain", await rate(2 * PLAIN, plain_one))
        keep("native", await rate(NATIVE, native))
        if dbos := dbos_figures():
            keep("dbos", dbos[0])
            keep("dbos alone", dbos[1])
    bare.close()
    has_dbos = "dbos" in values
    taken = {name: tuple(each) for name, each in values.items()}
    return [
        Figure(
            "diamond in Python, durability group, 64 in flight",
            "/s",
            2_500.0,
            taken["group"],
            more_is_better=True,
            peers=(
                ("a bare loop: asyncio, graph, group commit", taken["bare"]),
                *([("DBOS, SQLite", taken["dbos"])] if has_dbos else []),
            ),
        ),
        Figure(
            "... one at a time, p50",
            "ms",
            2.0,
            taken["alone"],
            peers=(
                ("the same bare loop", taken["bare alone"]),
                *([("DBOS, SQLite", taken["dbos alone"])] if has_dbos else []),
            ),
        ),
        Figure(
            "... durability none, 64 in flight",
            "/s",
            3_500.0,
            taken["none"],
            more_is_better=True,
            peers=(("a bare loop: asyncio, graphlib", taken["plain"]),),
        ),
        Figure(
            "diamond in C, durability group, 64 in flight",
            "/s",
            8_000.0,
            taken["native"],
            more_is_better=True,
        ),
    ]


def step_record(number: int) -> StepEnded:
    """Make a record of a step whose body is about 100 bytes."""
    return StepEnded(
        step=f"s{number % 1000:03}",
        outcome="succeeded",
        output={"n": number},
        layer="python",
        implementation="python",
        attempts=1,
        seconds=0.001,
        at_ns=1_700_000_000_000_000_000 + number,
    )


def accepted(run_id: str, steps: int = 0, at_ns: int = 1_700_000_000_000_000_000) -> RunAccepted:
    """Make the record that begins a run."""
    return RunAccepted(
        at_ns=at_ns,
        run_id=run_id,
        command_set_id=run_id,
        name="benchmark",
        type="WORKFLOW",
        mode="BALANCED",
        priority="NORMAL",
        durability="group",
        steps_total=steps,
        document={},
        inputs={},
        plan={},
    )


async def journal_rate(folder: Path, number: int) -> float:
    """Give records a second of the journal alone; each append is awaited until it is flushed."""
    journal = sqlite_journal(folder / f"records-{number}.db")
    await journal.open(f"owner-{number}")

    async def work(run_id: str, appends: int) -> None:
        await journal.append(run_id, [accepted(run_id)], "group").durable()
        for n in range(appends):
            first = n * RECORDS_AT_ONCE
            events = [step_record(first + k) for k in range(RECORDS_AT_ONCE)]
            await journal.append(run_id, events, "group").durable()

    appends = RECORDS // RECORDS_AT_ONCE // JOURNAL_RUNS
    began = time.perf_counter()
    await asyncio.gather(*(work(f"r{k}", appends) for k in range(JOURNAL_RUNS)))
    seconds = time.perf_counter() - began
    await journal.close()
    return appends * RECORDS_AT_ONCE * JOURNAL_RUNS / seconds


def layered(steps: int) -> CommandSet:
    """Make a graph of ``steps`` steps in Python, 100 of them next to each other."""
    names = [f"s{i}" for i in range(steps)]
    made = [CommandStep(id=name, agent="idle", action="gated", payload=None) for name in names]
    after = {names[i]: [names[i - 100]] for i in range(100, steps)}
    return CommandSet(steps=made, dependencies=after, durability="group")


async def graph_figures(
    tandem: TandemOrchestrator, gate: asyncio.Event, reached: asyncio.Event
) -> list[Figure]:
    """Measure a step of a large graph against one of a small one, and one that waits.

    Args:
        gate: What the handler of ``gated`` waits for.
        reached: What it sets before that.
    """

    async def us_a_step(steps: int) -> float:
        asked = layered(steps)
        gc.collect()
        began = time.perf_counter()
        result = await tandem.execute_command_set(asked)
        assert result["status"] == "completed", result
        return (time.perf_counter() - began) / steps * 1e6

    gate.set()
    await us_a_step(SMALL)
    small = [await us_a_step(SMALL) for _ in range(5)]
    large = await us_a_step(LARGE)
    small += [await us_a_step(SMALL) for _ in range(5)]
    gate.clear()
    reached.clear()
    asked = layered(LARGE)
    gc.collect()
    tracemalloc.start()
    run = await tandem.submit(asked)
    await reached.wait()
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    await run.cancel()
    gate.set()
    await run.result()
    return [
        Figure(
            f"a step of a graph of {LARGE:,} / of {SMALL:,}",
            "x",
            1.5,
            (large / statistics.median(small),),
        ),
        Figure(f"... of {LARGE:,}", "us", None, (large,)),
        Figure("... memory of a step that waits", "bytes", 1024.0, (held / LARGE,)),
    ]


async def long_figures(folder: Path) -> list[Figure]:
    """Write 1,000,000 finished steps with the journal's own writer, then list and show."""
    path = folder / "long.db"
    journal = sqlite_journal(path)
    await journal.open("owner-long")
    began = time.perf_counter()
    for n in range(LONG_RUNS):
        run_id = f"run-{n:06}"
        at_ns = 1_700_000_000_000_000_000 + n
        events: list[Any] = [accepted(run_id, LONG_STEPS, at_ns), RunStarted(at_ns=at_ns)]
        events += [step_record(k) for k in range(LONG_STEPS)]
        events.append(RunEnded(status="completed", at_ns=at_ns, duration=0.01))
        ticket = journal.append(run_id, events, "group")
        if n % 500 == 499:
            await ticket.durable()
    await journal.flush()
    built_s = time.perf_counter() - began
    await journal.close()
    async with TandemOrchestrator({"journal": {"path": str(path)}}) as tandem:

        async def p99_ms(look: Callable[[int], Awaitable[object]]) -> float:
            took = []
            for k in range(LOOKS):
                began = time.perf_counter()
                assert await look(k)
                took.append((time.perf_counter() - began) * 1e3)
            return sorted(took)[LOOKS * 99 // 100]

        async def listed(k: int) -> object:
            return await tandem.runs(limit=100)

        async def listed_by_status(k: int) -> object:
            return await tandem.runs(status="completed", limit=100)

        async def shown(k: int) -> object:
            return await tandem.view(f"run-{k * (LONG_RUNS // LOOKS):06}")

        figures = [
            Figure("1,000,000 steps: runs list, p99", "ms", 50.0, (await p99_ms(listed),)),
            Figure("... of one status, p99", "ms", 50.0, (await p99_ms(listed_by_status),)),
            Figure("... runs show, p99", "ms", 50.0, (await p99_ms(shown),)),
        ]
    size = path.stat().st_size / (LONG_RUNS * LONG_STEPS)
    return [
        *figures,
        Figure("... bytes of file a step", "bytes", None, (size,)),
        Figure("... time to write them", "s", None, (built_s,)),
    ]


async def postgres_figures(runs: int) -> list[Figure]:
    """Measure diamonds whose journal is in a PostgreSQL server of our own, on this machine."""
    if postgres_programs() is None:
        print("no PostgreSQL here: its row is left out", file=sys.stderr)
        return []
    server = PostgresServer()
    server.start()
    config = {
        "journal": {"path": server.url()},
        "orchestrator": {"max_parallel_workflows": 128},
        "python_layer": {"cache_size": 0},
    }
    try:
        async with TandemOrchestrator(config) as tandem:
            idle = tandem.register_agent("idle")

            @idle.action("no_op", effects="none")
            async def no_op(payload: Any) -> Any:
                return payload

            async def one(number: int) -> None:
                result = await tandem.execute_command_set(python_diamond(number, "group"))
                assert result["status"] == "completed", result

            await us_a_run(100, one)
            rates = tuple([await rate(DIAMONDS, one) for _ in range(runs)])
    finally:
        server.remove()
    return [
        Figure(
            "diamond in Python, durability group, 64 in flight, PostgreSQL",
            "/s",
            1_000.0,
            rates,
            more_is_better=True,
        )
    ]


async def main(runs: int, output: Path, *, is_long: bool) -> int:
    """Open orchestrators on journals of their own, measure, report."""
    machine = this_machine()
    gate, reached = asyncio.Event(), asyncio.Event()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = {
            "journal": {"path": str(folder / "journal.db")},
            "orchestrator": {"max_parallel_workflows": 128},
            "python_layer": {"cache_size": 0},
        }
        async with TandemOrchestrator(config) as tandem:
            idle = tandem.register_agent("idle")

            @idle.action("no_op", effects="none")
            async def no_op(payload: Any) -> Any:
                return payload

            @idle.action("gated", effects="none")
            async def gated(payload: Any) -> Any:
                reached.set()
                await gate.wait()

            figures = await runs_figures(tandem, folder, runs)
            figures += await graph_figures(tandem, gate, reached)
        rates = tuple([await journal_rate(folder, number) for number in range(runs)])
        figures.append(
            Figure(
                f"journal alone, records of 100 bytes, {RECORDS_AT_ONCE} an append",
                "/s",
                100_000.0,
                rates,
                more_is_better=True,
            )
        )
        figures += await postgres_figures(runs)
        if is_long:
            figures += await long_figures(folder)
    command = f"python benchmarks/durable.py --runs {runs}" + (" --long" if is_long else "")
    return report(figures, command=command, machine=machine, output=output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("build/bench/durable.json"))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.runs, arguments.output, is_long=arguments.long)))
