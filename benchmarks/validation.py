"""Measure how long a user waits for a verdict: a large file, and a set that is refused.

The file has 10,000 steps in a chain and is checked by ``tandem validate`` in a fresh process, so
start-up counts as it does for a user. The refusals are measured inside one process, around
``validate`` and around ``execute_command_set``, each with one fault of its kind. One run of each
comes first and is thrown away. Exits 1 when a median misses its bar.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from figure import Figure, report
from machine import this_machine
from startup import child

RUNS_MIN = 7
STEPS = 10_000
VALIDATE = "import tandem_orchestrator.cli as c; raise SystemExit(c.main())"
REFUSALS = {
    "unknown agent": {"steps": [{"agent": "sytem", "action": "echo"}]},
    "unknown action": {"steps": [{"agent": "system", "action": "ehco"}]},
    "cycle": {
        "steps": [{"id": name, "agent": "system", "action": "noop"} for name in "abc"],
        "dependencies": {"a": ["c"], "b": ["a"], "c": ["b"]},
    },
    "duplicate id": {"steps": [{"id": "a", "agent": "system", "action": "noop"}] * 2},
    "self-dependency": {
        "steps": [{"id": "a", "agent": "system", "action": "noop"}],
        "dependencies": {"a": ["a"]},
    },
    "missing library": {
        "steps": [{"agent": "system", "action": "noop"}],
        "requires_libraries": ["no_such_library"],
    },
    "bad reference": {
        "steps": [{"agent": "system", "action": "echo", "payload": {"$ref": "nobody"}}]
    },
}
"""What is refused, as documents without what no document can hold."""


def chain(path: Path) -> None:
    """Write 10,000 steps, each waiting for the one before it."""
    steps = [
        {"id": f"n{i}", "agent": "system", "action": "echo", "payload": {"i": i}}
        for i in range(STEPS)
    ]
    needs = {f"n{i}": [f"n{i - 1}"] for i in range(1, STEPS)}
    if path.suffix == ".json":
        path.write_text(json.dumps({"steps": steps, "dependencies": needs}), encoding="utf-8")
        return
    lines = ["steps:"]
    for step in steps:
        lines += [
            f"  - id: {step['id']}",
            "    agent: system",
            "    action: echo",
            f"    payload: {json.dumps(step['payload'])}",
        ]
    lines += ["dependencies:", *(f"  {key}: [{value[0]}]" for key, value in needs.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def validate_ms(path: Path) -> float:
    """Milliseconds of ``tandem validate FILE`` from start to end of its process."""
    begin_ns = time.monotonic_ns()
    last = child(["-P", "-c", VALIDATE, "validate", str(path)])
    took_ms = (time.monotonic_ns() - begin_ns) / 1e6
    if f"{STEPS} steps" not in last:
        raise SystemExit(f"expected a verdict on {STEPS} steps: {last}")
    return took_ms


async def refusals_ms(runs: int) -> dict[str, list[float]]:
    """Milliseconds to refuse each faulty set, by kind; nothing may have run."""
    from tandem_orchestrator import CommandSet, CommandStep, InvalidCommandSet, TandemOrchestrator

    found: dict[str, list[float]] = {kind: [] for kind in [*REFUSALS, "bad types"]}
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        for _ in range(runs + 1):
            asked = {
                kind: CommandSet(
                    **{**document, "steps": [CommandStep(**step) for step in document["steps"]]}
                )
                for kind, document in REFUSALS.items()
            }
            asked["bad types"] = CommandSet(name=7, steps=["no step"], timeout="soon")
            for kind, command_set in asked.items():
                begin_ns = time.perf_counter_ns()
                try:
                    await tandem.execute_command_set(command_set)
                except InvalidCommandSet:
                    found[kind].append((time.perf_counter_ns() - begin_ns) / 1e6)
        if await tandem.runs() or any(len(values) != runs + 1 for values in found.values()):
            raise SystemExit("a faulty set was not refused")
    return {kind: values[1:] for kind, values in found.items()}


def measured(runs: int) -> list[Figure]:
    """Take every figure ``runs`` times, after one run of each that does not count."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as folder:
        for ending in ("yaml", "json"):
            path = Path(folder, f"chain.{ending}")
            chain(path)
            values = [validate_ms(path) for _ in range(runs + 1)][1:]
            name = f"tandem validate, {STEPS} steps in {ending.upper()}"
            figures.append(Figure(name, "ms", 2000.0, tuple(values)))
    for kind, values in asyncio.run(refusals_ms(runs)).items():
        figures.append(Figure(f"refusal of: {kind}", "ms", 50.0, tuple(values)))
    return figures


def main() -> int:
    """Read the arguments, measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help=f"runs of each kind, from {RUNS_MIN}")
    parser.add_argument("--output", type=Path, default=Path("build/bench/validation.json"))
    asked = parser.parse_args()
    if asked.runs < RUNS_MIN:
        parser.error(f"--runs {asked.runs}: a spread needs at least {RUNS_MIN}")

    machine = this_machine()
    figures = measured(asked.runs)
    command = f"python benchmarks/validation.py --runs {asked.runs}"
    return report(figures, command=command, machine=machine, output=asked.output)


if __name__ == "__main__":
    sys.exit(main())
