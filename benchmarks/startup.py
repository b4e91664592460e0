"""Measure what a user waits for and pays: import, first native result, memory at rest.

Each value comes from a fresh process of the Python that runs this file, so the figures are of the
installed package. One run of each kind comes first and is thrown away: it warms the page cache and
writes the byte code. Exits 1 when a median misses its bar.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from figure import Figure, report
from machine import this_machine

RUNS_MIN = 7
IDLE_S = 1.0
"""How long the pair rests before its memory is read."""
CHILD_TIMEOUT_S = 60.0

IMPORT = (
    "import time; begin = time.perf_counter(); import tandem_orchestrator; "
    "print((time.perf_counter() - begin) * 1e3)"
)


def child(arguments: list[str]) -> str:
    """Run this Python in a state directory of its own and return its last line of output."""
    with tempfile.TemporaryDirectory(prefix="tandem-bench-") as home:
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        places = dict.fromkeys(
            ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"), home
        )
        done = subprocess.run(
            [sys.executable, *arguments],
            env=kept | places,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=CHILD_TIMEOUT_S,
            check=False,
        )
    if done.returncode:
        sys.exit(f"startup: {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout.splitlines()[-1]


def import_ms() -> float:
    """Import the package in a new process; milliseconds inside that process."""
    return float(child(["-P", "-c", IMPORT]))


def first_result_ms() -> float:
    """Milliseconds from before the process is spawned to its first result from the C layer."""
    begin_ns = time.monotonic_ns()  # CLOCK_MONOTONIC is the same for every process
    return (json.loads(child([__file__, "--child"]))["result_at_ns"] - begin_ns) / 1e6


def idle_mb() -> dict[str, float]:
    """PSS at rest of the orchestrator's process and of all it started, MB by command name."""
    measured: dict[str, float] = json.loads(child([__file__, "--child", "--idle"]))["pss_mb"]
    return measured


# --- inside the measured process -----------------------------------------------------------------


def pss_kib(pid: int) -> int:
    """Return a process's proportional set size without its memfds (the rings), in KiB."""
    total = 0
    counted = True
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        first, _, rest = line.partition(" ")
        if "-" in first and not first.endswith(":"):  # "7f00-7f10 rw-s 0000 00:01 42 /memfd:ring"
            counted = "/memfd:" not in rest
        elif first == "Pss:" and counted:
            total += int(rest.split()[0])
    return total


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        for child_pid in listing.read_text(encoding="utf-8").split():
            found += family(int(child_pid))
    return found


def family_pss_mb(pid: int) -> dict[str, float]:
    """Return the PSS of a process and its descendants, MB by command name."""
    found: dict[str, float] = {}
    for member in family(pid):
        name = Path(f"/proc/{member}/comm").read_text(encoding="utf-8").strip()
        found[name] = found.get(name, 0.0) + pss_kib(member) * 1024 / 1e6
    return found


async def run_once(*, idle: bool) -> dict[str, object]:
    """Do one native step and say when its result came, and with ``idle`` what the pair occupies."""
    from tandem_orchestrator import CommandSet, CommandStep, ExecutionMode, TandemOrchestrator

    async with TandemOrchestrator() as tandem:
        step = CommandStep(agent="system", action="noop")
        asked = CommandSet(mode=ExecutionMode.SPEED_CRITICAL, steps=[step])
        result = await tandem.execute_command_set(asked)
        result_at_ns = time.monotonic_ns()
        layers = {report["layer"] for report in result["steps"].values()}
        if result["status"] != "completed" or layers != {"c"}:
            raise SystemExit(f"expected a completed run in the C layer: {result}")
        pss_mb: dict[str, float] = {}
        if idle:
            await asyncio.sleep(IDLE_S)
            pss_mb = family_pss_mb(os.getpid())
    return {"result_at_ns": result_at_ns, "pss_mb": pss_mb}


# --- the report ----------------------------------------------------------------------------------


def measured(runs: int) -> list[Figure]:
    """Take every figure ``runs`` times, after one run of each that does not count."""
    rows = [(import_ms(), first_result_ms(), idle_mb()) for _ in range(runs + 1)][1:]
    names = sorted({name for _, _, idle in rows for name in idle})
    parts = ", ".join(
        f"{name} {sorted(idle.get(name, 0.0) for _, _, idle in rows)[runs // 2]:.1f}"
        for name in names
    )
    return [
        Figure("import tandem_orchestrator", "ms", 100.0, tuple(row[0] for row in rows)),
        Figure("process start to first native result", "ms", 400.0, tuple(row[1] for row in rows)),
        Figure(
            f"idle PSS without rings ({parts})",
            "MB",
            80.0,
            tuple(sum(row[2].values()) for row in rows),
        ),
    ]


def main() -> int:
    """Read the arguments, measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11, help=f"runs of each kind, from {RUNS_MIN}")
    parser.add_argument("--output", type=Path, default=Path("build/bench/startup.json"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--idle", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        print(json.dumps(asyncio.run(run_once(idle=asked.idle))))
        return 0
    if asked.runs < RUNS_MIN:
        parser.error(f"--runs {asked.runs}: a spread needs at least {RUNS_MIN}")

    machine = this_machine()
    figures = measured(asked.runs)
    command = f"python benchmarks/startup.py --runs {asked.runs}"
    return report(figures, command=command, machine=machine, output=asked.output)


if __name__ == "__main__":
    sys.exit(main())
