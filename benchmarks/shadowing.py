"""What a twin in shadow beside 5 % of the runs costs the others: the p50 of a run, with and without.

    python benchmarks/shadowing.py [--runs 7] [--output build/bench/shadowing.json]

One orchestrator, two agents of the same action, one of which has a twin in Python that takes as
long; one run at a time, the two agents in turns, so that noise hits both alike. Built anew for each
run, a handler in Python with durability ``none`` and ``group`` (the journal on disk). And a diamond of
ten native steps, prepared once, with durability ``none``, whose action has a twin in Python or none.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from figure import Figure, report
from machine import this_machine

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.orchestrator.prepared import PreparedPlan

CALLS = 300
"""Runs of each of the two in one measurement."""
BAR_PERCENT = 5.0


def asked(agent: str, action: str, number: int, durability: str) -> CommandSet:
    """Make a set of one step."""
    step = CommandStep(id="s", agent=agent, action=action, payload={"n": number})
    return CommandSet(steps=[step], durability=durability)


def register(tandem: TandemOrchestrator) -> None:
    """Offer the same handler as two agents: ``plain`` without a twin, ``shadowed`` with one."""

    def handler(payload: Any) -> Any:
        return {"sum": sum(range(200)), "n": payload["n"]}

    for name in ("plain", "shadowed"):
        action = tandem.register_agent(name).action("work", effects="none")(handler)
        if name == "shadowed":
            action.twin("v2")(handler)


async def percent(tandem: TandemOrchestrator, durability: str) -> float:
    """Give how much longer the p50 of the shadowed one is, in percent."""
    took: dict[str, list[float]] = {"plain": [], "shadowed": []}
    for number in range(CALLS):
        for agent, times in took.items():
            began = time.perf_counter()
            await tandem.execute_command_set(asked(agent, "work", number, durability))
            times.append(time.perf_counter() - began)
    plain, shadowed = (statistics.median(times) for times in took.values())
    return (shadowed / plain - 1.0) * 100.0


def diamond() -> CommandSet:
    """Make ten native steps, which go the express way as one program."""
    middle = [f"m{i}" for i in range(8)]

    def step(step_id: str, payload: Any) -> CommandStep:
        return CommandStep(id=step_id, agent="system", action="echo", payload=payload)

    steps = [step("first", {"n": 1}), *(step(name, Ref("first")) for name in middle)]
    return CommandSet(
        steps=[*steps, step("last", [Ref(name) for name in middle])], durability="none"
    )


async def native_percent(plain: PreparedPlan, shadowed: PreparedPlan) -> float:
    """The same for a prepared diamond, of two orchestrators; one has a twin in Python."""
    took: list[list[float]] = [[], []]
    for _ in range(10 * CALLS):
        for plan, times in zip((plain, shadowed), took, strict=True):
            began = time.perf_counter()
            await plan.run()
            times.append(time.perf_counter() - began)
    before, after = (statistics.median(times) for times in took)
    return (after / before - 1.0) * 100.0


async def main(runs: int, output: Path) -> int:
    """Open orchestrators on journals of their own, measure, report."""
    machine = this_machine()
    with tempfile.TemporaryDirectory() as folder:

        def config(name: str) -> dict[str, Any]:
            return {
                "journal": {"path": str(Path(folder, name))},
                "twins": {"shadow_share": 0.05},
                "router": {"explore_share": 0.0},  # C answers, as long as nothing else is measured
            }

        figures = []
        async with TandemOrchestrator(config("python.db")) as tandem:
            register(tandem)
            for durability in ("none", "group"):
                values = [await percent(tandem, durability) for _ in range(runs)]
                name = f"p50 of a run in Python with a shadow at 5 %, durability {durability}"
                figures.append(Figure(name, "%", BAR_PERCENT, tuple(values)))
        values = []
        for number in range(runs):
            # Opened in turns: who comes first may have the better place on the machine.
            one = TandemOrchestrator(config(f"{number}.one.db"))
            other = TandemOrchestrator(config(f"{number}.other.db"))
            plain, shadowed = (one, other) if number % 2 else (other, one)

            async def echo(payload: Any) -> Any:
                return payload

            shadowed.register_agent("system").action("echo", effects="none")(echo).twin("v2")(echo)
            async with one, other:
                plans = await plain.prepare(diamond()), await shadowed.prepare(diamond())
                values.append(await native_percent(*plans))
        name = "p50 of a prepared native diamond with a shadow at 5 %"
        figures.append(Figure(name, "%", BAR_PERCENT, tuple(values)))
    command = f"python benchmarks/shadowing.py --runs {runs}"
    return report(figures, command=command, machine=machine, output=output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("build/bench/shadowing.json"))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.runs, arguments.output)))
