"""Programs from Python: what a step costs, and how many diamonds fit into a second.

    python benchmarks/program.py [--runs 5] [--output build/bench/program.json]

A bridge of its own, one session. "a step" is RUN, the crossing, C, and every outcome decoded.
"new objects" cuts the planned steps into structure and values for each run, as happens when a
command set is built again, and finds the loaded program by its structure. What C alone takes is
``native/bench/program_bench.c``.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from figure import Figure, report
from flight import us_a_run
from machine import this_machine

from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.layers.native import find_native_files
from tandem_orchestrator.layers.native.environment import child_environment
from tandem_orchestrator.layers.native.launch import BridgeCommand, launch_bridge
from tandem_orchestrator.layers.native.process import spawn_program
from tandem_orchestrator.layers.native.program import Program, compile_structure, structure_of
from tandem_orchestrator.layers.native.programs import Programs
from tandem_orchestrator.layers.native.session import Session
from tandem_orchestrator.model.plans import PlannedStep

CHAIN = 10_000


def _step(step_id: str, payload: object, *needs: str, action: str = "echo") -> PlannedStep:
    return PlannedStep(id=step_id, agent="system", action=action, payload=payload, depends_on=needs)


def chain() -> list[PlannedStep]:
    """Make 10,000 no-op steps one after another."""
    steps = [_step("s0", None, action="noop")]
    steps += [_step(f"s{i}", None, f"s{i - 1}", action="noop") for i in range(1, CHAIN)]
    return steps


def diamond(value: int) -> list[PlannedStep]:
    """Make ten steps: one, eight that refer to it, and one that gathers them."""
    middle = [f"m{i}" for i in range(8)]
    steps = [_step("first", {"n": value})]
    steps += [_step(name, {"from": {"$ref": "first#/n"}}, "first") for name in middle]
    steps.append(_step("last", [{"$ref": name} for name in middle], *middle))
    return steps


async def measure(session: Session, runs: int) -> list[Figure]:
    """Take every figure."""
    ids = {name: action.action_id for name, action in session.actions.items()}
    programs = Programs(session)
    steps = chain()
    everything = {step.id for step in steps}
    structure, literals = structure_of(steps, everything)
    long = compile_structure(structure, literals, ids)
    per_step: list[float] = []
    await programs.run(long)
    for _ in range(runs):
        began = time.perf_counter()
        await programs.run(long)
        per_step.append((time.perf_counter() - began) / CHAIN * 1e6)

    structure, literals = structure_of(diamond(1), {"last"})
    ready = compile_structure(structure, literals, ids)
    known: dict[object, Program] = {structure: ready}

    async def again(number: int) -> None:
        await programs.run(ready)

    async def new_objects(number: int) -> None:
        shape, values = structure_of(diamond(number), {"last"})
        rows = await programs.run(known[shape], literals=values)
        assert rows[9].output[0] == {"from": number}

    prepared = [await us_a_run(10_000, again) for _ in range(runs)]
    fresh = [await us_a_run(5_000, new_objects) for _ in range(runs)]
    return [
        Figure("a step of a 10,000-step program", "us", 1.5, tuple(per_step)),
        Figure("a prepared 10-step diamond, 64 in flight", "us", 20.0, tuple(prepared)),
        Figure("the same with new objects each time", "us", 50.0, tuple(fresh)),
    ]


async def main(runs: int, output: Path) -> int:
    """Start a bridge, measure, report."""
    clock, machine = SystemClock(), this_machine()
    with tempfile.TemporaryDirectory() as folder:
        bridge = BridgeCommand(
            find_native_files().bridge_path,
            str(Path(folder, "bridge.sock")),
            child_environment(os.environ),
        )
        process, client = await launch_bridge(
            bridge, name="bench", spawn=spawn_program, clock=clock, timeout_s=10
        )
        session = Session(client)
        try:
            figures = await measure(session, runs)
        finally:
            session.close()
            await process.stop(1.0, clock)
    command = f"python benchmarks/program.py --runs {runs}"
    return report(figures, command=command, machine=machine, output=output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("build/bench/program.json"))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.runs, arguments.output)))
