"""Measure the ring between two threads, calls to a real bridge, and calls through it to an agent.

Builds them, optimised, in ``build/native-bench`` with the meson beside this Python. Each run of the
ring measures a bare ring in the same run: as many bytes copied, nothing checked. Nothing is pinned;
``--cpus 0,1`` keeps every process to those CPUs. Exits 1 when a median misses its bar.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from figure import Figure, report
from machine import this_machine

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "native-bench"
RUNS_MIN = 5
RUN_TIMEOUT_S = 120.0
BUILD_TIMEOUT_S = 600.0
MESSAGES = 3_000_000
CALLS = 1_000_000
RING_BAR = 12.0
"""Million messages a second, both CRCs and the header's rules checked."""
BARE_SHARE_BAR = 25.0
"""Percent of the bare ring's rate in the same run."""
CALLS_BAR = 3.0
"""Million calls a second that the bridge takes and completes."""
SPIN_NS = "20000"
"""How long both ends spin before they sleep: longer than usual, or a round trip is none of spinning
sides. The programs for agents have the same."""
ROUTED_BAR = 5.0
"""Million messages a second from one process through the bridge to another; an answer is one."""
PROGRAMS = ("ring_bench", "call_bench", "agent_bench", "agent_bridge", "agent_test_program")


def built() -> Path:
    """Build the measured programs and return their folder."""
    meson = str(Path(sys.executable).with_name("meson"))
    steps = [[meson, "compile", "-C", str(BUILD), *PROGRAMS]]
    if not (BUILD / "build.ninja").exists():
        options = ["-Dnative=enabled", "-Dpython=disabled", "--buildtype=release"]
        steps.insert(0, [meson, "setup", str(BUILD), str(ROOT), *options])
    for step in steps:
        done = subprocess.run(
            step, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        if done.returncode:
            sys.exit(f"rings: {' '.join(step)} failed:\n{done.stdout}{done.stderr}")
    return BUILD / "native"


def rows(command: list[str]) -> dict[str, dict[str, float]]:
    """Run a program that prints one JSON object a line; return them by their name."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
    )
    if done.returncode:
        sys.exit(f"rings: {' '.join(command)} failed:\n{done.stderr}")
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["benchmark"]: row for row in found}


def measured(runs: int) -> list[Figure]:
    """Take every figure ``runs`` times, after one run of each that does not count."""
    folder = built()
    ring = [str(folder / "ring_bench"), "100", str(MESSAGES)]
    call = [str(folder / "call_bench"), str(folder / "agent_bridge"), "100", str(CALLS), SPIN_NS]
    agent = [str(folder / name) for name in ("agent_bench", "agent_bridge", "agent_test_program")]
    taken = [rows(ring) | rows(call) | rows(agent) for _ in range(runs + 1)][1:]

    def millions(name: str, field: str = "frames_per_s") -> tuple[float, ...]:
        return tuple(row[name][field] / 1e6 for row in taken)

    def p50(name: str) -> tuple[float, ...]:
        return tuple(row[name]["p50_us"] for row in taken)

    checked, bare = millions("ring_between_threads"), millions("ring_bare")
    shares = tuple(100 * ours / limit for ours, limit in zip(checked, bare, strict=True))
    peer = (("bare ring, nothing checked", bare),)
    rate = "M msg/s"
    return [
        Figure("ring, 100 bytes, both CRCs", rate, RING_BAR, checked, True, peer),
        Figure("  as a share of the bare ring", "%", BARE_SHARE_BAR, shares, True),
        Figure("ring, and the strict walk", rate, None, millions("ring_strict"), True, peer),
        Figure("ring, in turns on one thread", rate, None, millions("ring_in_turns"), True),
        Figure(
            "system.echo, many in flight",
            "M calls/s",
            CALLS_BAR,
            millions("calls", "calls_per_s"),
            True,
        ),
        Figure("system.echo, one at a time, p50", "us", 2.0, p50("round_trip")),
        Figure("  the same, both asleep, p50", "us", 15.0, p50("round_trip_asleep")),
        Figure(
            "caller to agent through the bridge",
            rate,
            ROUTED_BAR,
            millions("agent_stream", "messages_per_s"),
            True,
        ),
        Figure("  and back, one at a time, p50", "us", 6.0, p50("agent_round_trip_spinning")),
        Figure("  the same, all asleep, p50", "us", 40.0, p50("agent_round_trip_asleep")),
        Figure(
            "router.route_messages to an agent",
            rate,
            ROUTED_BAR,
            millions("route_stream", "messages_per_s"),
            True,
        ),
        Figure("  a batch of one, p50", "us", None, p50("route_one")),
    ]


def main() -> int:
    """Read the arguments, measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7, help=f"runs of each, from {RUNS_MIN}")
    parser.add_argument("--cpus", help="CPUs to keep to, such as 0,1; all by default")
    parser.add_argument("--output", type=Path, default=Path("build/bench/rings.json"))
    asked = parser.parse_args()
    if asked.runs < RUNS_MIN:
        parser.error(f"--runs {asked.runs}: a spread needs at least {RUNS_MIN}")
    if asked.cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in asked.cpus.split(",")})

    machine = this_machine()
    figures = measured(asked.runs)
    command = f"python benchmarks/rings.py --runs {asked.runs}"
    command += f" --cpus {asked.cpus}" if asked.cpus else ""
    return report(figures, command=command, machine=machine, output=asked.output)


if __name__ == "__main__":
    sys.exit(main())
