"""Measure what running both sides costs: REDUNDANT beside the slower layer alone, CPU-bound.

One action mixes numbers for some 60 ms in Python; its twin is a C function that does the same as
often as takes as long. Each run takes Python alone, C alone and both, one after another, and the
ratio of both to the slower one of that run. Python works in a thread, then in a process of its own.
Beside it stands what the machine itself allows at that moment: two busy processes at once, to one.
One run of each comes first and is thrown away. Exits 1 when a median misses its bar.
"""

import argparse
import asyncio
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from figure import Figure, report
from machine import this_machine

from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator

RUNS_MIN = 7
BAR = 1.15
TARGET_S = 0.06
SIZINGS = 7
"""Tries to find the sizes; the fastest counts, as on an idle machine."""
SIGNATURE = "u64(u64 seed, u64 rounds, u64 times)"
agent = Agent("mixer")


def mix(payload: dict[str, int]) -> int:
    """Mix a number ``rounds`` times."""
    x = payload["seed"]
    for _ in range(payload["rounds"]):
        x = (x * 1103515245 + 12345) % 2147483648
    return x


thread = agent.action("in_a_thread", effects="none")(mix)
process = agent.action("in_a_process", effects="none", cpu="process")(mix)


def compiled(folder: str) -> str:
    """Compile the C twin; gives the library's path."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SystemExit("redundant: there is no C compiler")
    library = f"{folder}/libmix.so"
    source = str(Path(__file__).with_name("mix.c"))
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", source, "-o", library], check=True)
    return library


def busy(pipe: Connection) -> None:
    """Mix numbers each time one is received, and say when it is done; 0 ends it."""
    while rounds := pipe.recv():
        mix({"seed": 7, "rounds": rounds})
        pipe.send(True)


@contextmanager
def two_busy() -> Iterator[list[Connection]]:
    """Start two processes that are busy when told so."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(2):
        ours, theirs = context.Pipe()
        process = context.Process(target=busy, args=(theirs,))
        process.start()
        pipes.append(ours)
        processes.append(process)
    try:
        yield pipes
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(0)
            process.join(10)


def busy_s(pipes: list[Connection], rounds: int) -> float:
    """Seconds until all of them are done."""
    begin = time.perf_counter()
    for pipe in pipes:
        pipe.send(rounds)
    for pipe in pipes:
        pipe.recv()
    return time.perf_counter() - begin


async def took_s(
    tandem: TandemOrchestrator, action: str, payload: dict[str, int], side: str
) -> float:
    """Seconds of one run: ``python``, ``c`` or ``both``."""
    both = side == "both"
    step = CommandStep(
        id="mix",
        agent="mixer",
        action=action,
        payload=payload,
        implementations=["python", "c"] if both else [side],
    )
    asked = CommandSet(mode="REDUNDANT" if both else "INTELLIGENT", steps=[step])
    begin = time.perf_counter()
    result = await tandem.execute_command_set(asked)
    took = time.perf_counter() - begin
    if result["status"] != "completed" or (both and not result["consensus_achieved"]):
        raise SystemExit(f"redundant: {result['error'] or result['conflicts']}")
    return took


async def sized(tandem: TandemOrchestrator) -> dict[str, int]:
    """Find how many rounds take Python the target, and how often C has to repeat them."""
    payload = {"seed": 7, "rounds": 200_000, "times": 1}
    seconds = []
    for _ in range(SIZINGS):
        begin = time.perf_counter()
        mix(payload)
        seconds.append(time.perf_counter() - begin)
    payload["rounds"] = int(payload["rounds"] * TARGET_S / min(seconds))
    many = payload | {"times": 100}
    once = min([await took_s(tandem, "in_a_thread", many, "c") for _ in range(SIZINGS)]) / 100
    return payload | {"times": max(1, round(TARGET_S / once))}


async def measured(runs: int, library: str) -> list[Figure]:
    """Take every figure ``runs`` times."""
    for action in (thread, process):
        action.twin("c", library=library, symbol="mix", signature=SIGNATURE)
    figures = []
    with two_busy() as pipes:
        async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
            tandem.add_agent(agent)
            payload = await sized(tandem)
            for action in ("in_a_thread", "in_a_process"):
                ratios: list[float] = []
                machine: list[float] = []
                alone: dict[str, list[float]] = {"python": [], "c": [], "both": []}
                for run in range(runs + 1):
                    found: dict[str, Any] = {}
                    for side in ("python", "c", "both"):
                        found[side] = await took_s(tandem, action, payload, side)
                    one, two = (
                        busy_s(pipes[:1], payload["rounds"]),
                        busy_s(pipes, payload["rounds"]),
                    )
                    if run:
                        machine.append(two / one)
                        ratios.append(found["both"] / max(found["python"], found["c"]))
                        for side, took in found.items():
                            alone[side].append(took * 1e3)
                name = f"both sides, python {action.replace('_', ' ')}"
                peers = (("python alone", tuple(alone["python"])), ("c alone", tuple(alone["c"])))
                figures.append(
                    Figure(
                        f"{name} / the slower alone",
                        "x",
                        BAR,
                        tuple(ratios),
                        peers=(("two busy processes / one", tuple(machine)),),
                    )
                )
                figures.append(Figure(name, "ms", None, tuple(alone["both"]), peers=peers))
    return figures


def main() -> int:
    """Read the arguments, measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21, help=f"runs of each kind, from {RUNS_MIN}")
    parser.add_argument("--output", type=Path, default=Path("build/bench/redundant.json"))
    asked = parser.parse_args()
    if asked.runs < RUNS_MIN:
        parser.error(f"--runs {asked.runs}: a spread needs at least {RUNS_MIN}")

    machine = this_machine()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measured(asked.runs, compiled(folder)))
    command = f"python benchmarks/redundant.py --runs {asked.runs}"
    return report(figures, command=command, machine=machine, output=asked.output)


if __name__ == "__main__":
    sys.exit(main())
