"""24 hours of schedules at a hundred times their speed: real programs, real SQLite, a scaled clock.

``python -P day.py`` takes 14.4 minutes. Two programs share a journal over the night in which the
clocks of Europe go back; one of them is killed again and again, and the wall clock of both jumps
forward and back. Then every occurrence must have been decided once, and the memory of the program
that lived all day must be what it was at half time.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import mmap
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from day_verdict import Drawn, Found, wrongs_of
from sim_day import draw_schedules

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.journal.sqlite import SqliteJournal

START_NS = int(datetime(2026, 10, 24, 12, 5, 30, tzinfo=UTC).timestamp()) * 10**9
"""Nothing is due for the next ten minutes: by then both programs are there."""
GROWTH_MAX_BYTES = 300_000
"""What caches may still fill up with in the second half of the day."""


class ScaledClock:
    """Time that passes ``speed`` times as fast; all programs of a day see the same wall clock."""

    def __init__(self, began_ns: int, speed: float, ahead: mmap.mmap) -> None:
        self._began_ns, self._speed, self._ahead = began_ns, speed, ahead

    def monotonic_ns(self) -> int:
        """Read nanoseconds since the day began, scaled."""
        return int((time.time_ns() - self._began_ns) * self._speed) + 10**9

    def wall_ns(self) -> int:
        """Read the day's wall clock."""
        return START_NS + self.monotonic_ns() + int(struct.unpack_from("q", self._ahead)[0])

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Arm a timer of the running loop."""
        return asyncio.get_running_loop().call_later(delay_s / self._speed, callback)


def drawn(seed: int) -> list[Drawn]:
    """Draw the day's schedules."""
    return draw_schedules(random.Random(seed), "Europe/Berlin")


async def be_a_program(folder: Path, clock: ScaledClock, speed: float, seed: int) -> None:
    """Serve schedules until killed; a line on stdin asks for the memory in use."""
    tracemalloc.start()
    config = {
        "journal": {"path": str(folder / "j.db")},
        "orchestrator": {"entry_points": False},
        "c_layer": {"enabled": False},
    }
    tandem = TandemOrchestrator(config, clock=clock)
    agent = tandem.register_agent("day")

    @agent.action("work", effects="none")
    async def work(payload: Any) -> None:
        await asyncio.sleep(payload["s"] / speed)

    async with tandem:
        for one in drawn(seed):
            await tandem.schedules.add(
                one.name, one.command_set(), cron=one.cron, every_s=one.every_s, timezone=one.zone,
                overlap=one.overlap, catch_up=one.catch_up, jitter_s=one.jitter_s,
            )  # fmt: skip
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            gc.collect()
            print(tracemalloc.get_traced_memory()[0], flush=True)


class Program:
    """One program, seen from outside."""

    def __init__(self, arguments: list[str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, *arguments, "--program"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a program ended with {self._process.wait()}")
        return line.strip()

    def memory(self) -> int:
        """Ask for the bytes that Python objects take in it."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._line())

    def kill(self) -> None:
        """SIGKILL."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        """Let it end in order."""
        self._process.communicate(timeout=60)


def look(folder: Path, seed: int, first_s: int, now_s: int) -> tuple[int, list[str]]:
    """Read what ran; gives the occurrences that were decided, and what was wrong."""
    return asyncio.run(_look(folder, seed, first_s, now_s))


async def _look(folder: Path, seed: int, first_s: int, now_s: int) -> tuple[int, list[str]]:
    journal = SqliteJournal(folder / "j.db")
    await journal.open(None)
    wrongs = await journal.check()
    ran: defaultdict[str, Counter[int]] = defaultdict(Counter)
    spans: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
    for row in await journal.runs(limit=1_000_000):
        (first,) = await journal.records(row.run_id, limit=1)
        key: Any = getattr(first.event, "idempotency_key", None)
        at_s = int(datetime.fromisoformat(key.rsplit("/", 1)[1]).timestamp())
        ran[row.name][at_s] += 1
        spans[row.name].append((row.created_at_ns, row.finished_at_ns or 2**63, at_s))
    rows = {row.name: row for row in await journal.schedules()}
    await journal.close()
    count = 0
    for one in drawn(seed):
        found = Found(rows[one.name], ran[one.name], spans[one.name])
        count += found.row.fired + found.row.left_out
        wrongs += wrongs_of(one, found, first_s, now_s, lambda t, s: True, strict=False)
    return count, wrongs


def live_a_day(hours: float, speed: float, seed: int) -> int:
    """Let the day pass; gives the exit code."""
    folder = Path(tempfile.mkdtemp(prefix="tandem-day-"))
    (folder / "ahead").write_bytes(bytes(8))
    began_ns = time.time_ns()
    arguments = ["--folder", str(folder), "--began", str(began_ns), "--speed", str(speed),
                 "--seed", str(seed)]  # fmt: skip
    ahead = _map(folder)
    clock = ScaledClock(began_ns, speed, ahead)
    first_s = clock.wall_ns() // 10**9
    stays, other = Program(arguments), Program(arguments)
    added_s = clock.wall_ns() // 10**9
    rng, memory, kills = random.Random(seed), [0], 0
    jumps = {0.25: 1800, 0.45: -2400, 0.7: 5000, 0.8: -1000}
    share = 0.0
    while share < 1:
        time.sleep(rng.uniform(0.02, 0.05) * hours * 3600 / speed)
        share = (time.time_ns() - began_ns) * speed / 1e9 / (hours * 3600)
        for at in [at for at in jumps if at <= share]:
            by_ns = jumps.pop(at) * 10**9
            struct.pack_into("q", ahead, 0, struct.unpack_from("q", ahead)[0] + by_ns)
        if memory[0] == 0 and share >= 0.5:
            memory[0] = stays.memory()
        if share < 0.9:
            other.kill()
            other, kills = Program(arguments), kills + 1
    memory.append(stays.memory())
    now_s = clock.wall_ns() // 10**9
    for program in (other, stays):
        program.close()
    count, wrongs = look(folder, seed, first_s, now_s)
    shutil.rmtree(folder)
    # What was due while the first schedules were being added may or may not count.
    growth = memory[1] - memory[0]
    if growth > GROWTH_MAX_BYTES:
        wrongs.append(f"memory grew from {memory[0]} to {memory[1]} bytes in the second half")
    for wrong in wrongs:
        print(wrong, file=sys.stderr)
    print(
        f"{hours:g} h at x{speed:g} in {(time.time_ns() - began_ns) / 1e9:.0f} s: {count} "
        f"occurrences of {len(drawn(seed))} schedules, {kills} kills, 4 jumps, {len(wrongs)} wrong; "
        f"memory {memory[0]} to {memory[1]} bytes; set up in {added_s - first_s} s of the day"
    )
    return 1 if wrongs else 0


def _map(folder: Path) -> mmap.mmap:
    with (folder / "ahead").open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)


def main() -> int:
    """Live a day, or be one of its programs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--speed", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--began", type=int, default=0)
    parser.add_argument("--program", action="store_true")
    asked = parser.parse_args()
    if not asked.program:
        return live_a_day(asked.hours, asked.speed, asked.seed)
    clock = ScaledClock(asked.began, asked.speed, _map(asked.folder))
    asyncio.run(be_a_program(asked.folder, clock, asked.speed, asked.seed))
    return 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
