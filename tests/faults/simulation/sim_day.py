"""Days of schedules in virtual time, on two orchestrators that share a journal.

``play_day(seed)`` draws schedules of every kind around a change of some zone's clock, lets the
orchestrators be killed and both be away, and moves the wall clock. At the end each occurrence must
have been decided once: ``due_times`` says which there are, and by another way than Tandem's.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import shutil
import tempfile
import tracemalloc
from collections import Counter, defaultdict
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

from day_verdict import Drawn, Found, wrongs_of
from sim_bugs import plant_in_day
from sim_disk import SimDisk, SimVfs
from sim_loop import PROGRAM, Hangs, Program, SimClock, SimLoop, Trace
from sim_world import KEPT, Life, simulated

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.orchestrator import promotion, recovery, schedules

LOOK_S = 20.0
"""Seconds between looks, so that a day takes seconds; within the minute that counts as on time."""
CHANGES = [
    ("Europe/Berlin", "2026-03-29T01:00"),
    ("Europe/Berlin", "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("America/Sao_Paulo", "2018-11-04T03:00"),
    ("Asia/Kathmandu", "2026-06-01T00:00"),
]
"""A zone, and a moment (UTC) near which its clock changes, or does not."""
CRONS = ["*/20 * * * *", "15 * * * *", "30 2 * * *", "0,30 1-3 * * *", "*/30 2 * * *", "5 */3 * * *",
         "0 0 * * *", "45 23 * * 6,7", "10 4 29 * 1"]  # fmt: skip


class Day:
    """Everything outside of the programs; see ``sim_world.World``."""

    def __init__(
        self, seed: int, folder: Path, trace: Trace, hours: float, bug: str, *, measured: bool
    ) -> None:
        self.rng = rng = random.Random(seed)
        self.trace, self.hours, self.bug, self.measured = trace, hours, bug, measured
        self.zone, change = CHANGES[seed % len(CHANGES)]
        near_ns = int(datetime.fromisoformat(change).replace(tzinfo=UTC).timestamp() * 1e9)
        self.start_ns = near_ns - int(rng.uniform(0.2, 0.6) * hours * 3600e9)
        end_ns = int((1_000 + hours * 3600 + 40_000) * 1e9)
        self.loop = SimLoop(random.Random(rng.random()), trace, end_ns)
        self.clock = SimClock(self.loop, self.start_ns)
        self.disk = SimDisk(folder, random.Random(rng.random()), recorded=False)
        self.path, self.poll_s = folder / "j.db", 60.0
        self.bridge: Any = None
        self.schedules = draw_schedules(rng, self.zone)
        self.programs: dict[int, DayLife] = {}
        self.lives: list[DayLife] = []
        self.away: list[tuple[int, int]] = []
        """From when to when (wall clock, ns) nobody could start anything."""
        self.wrongs: list[str] = []
        self.memory: list[int] = []
        self.checked = 0

    def say(self, text: str) -> None:
        """Write a line into the trace."""
        at = datetime.fromtimestamp(self.clock.wall_ns() / 1e9, UTC).isoformat(timespec="seconds")
        self.trace.say(f"{at} {text}")

    def wrong(self, text: str) -> None:
        """Note a broken promise."""
        self.say(f"WRONG {text}")
        self.wrongs.append(text)

    async def play(self) -> None:
        """Let the days pass."""
        for number in range(2):
            self.start(number)
        end_s = self.loop.time() + self.hours * 3600
        happenings = sorted(
            (self.loop.time() + 600 + self.rng.random() * (end_s - self.loop.time() - 4 * 3600), n)
            for n in range(0 if self.measured else int(self.hours / 2))
        )
        half_s = self.loop.time() + self.hours * 1800
        measured = False
        for at_s, _ in happenings:
            if not measured and at_s > half_s:
                await asyncio.sleep(max(0.0, half_s - self.loop.time()))
                self.measure()
                measured = True
            await asyncio.sleep(max(0.0, at_s - self.loop.time()))
            await self.happen()
        if not measured:
            await asyncio.sleep(max(0.0, half_s - self.loop.time()))
            self.measure()
        await asyncio.sleep(max(0.0, end_s - self.loop.time()))
        self.measure()
        life = next(life for life in self.programs.values() if life.is_well)
        context = contextvars.copy_context()
        context.run(PROGRAM.set, life.program)
        await self.loop.create_task(self.look(life), context=context)

    def measure(self) -> None:
        """Note how much memory Python objects take."""
        if self.measured:
            gc.collect()
            self.memory.append(tracemalloc.get_traced_memory()[0])

    async def happen(self) -> None:
        """Let something go wrong; all is well again when it returns."""
        kind = self.rng.choice(("kill", "kill_at", "kill_at", "both", "forward", "back", "stall"))
        number = self.rng.randrange(2)
        self.say(f"fault {kind} p{number}")
        from_ns = self.clock.wall_ns()
        match kind:
            case "kill":
                self.kill(number)
                await asyncio.sleep(self.rng.uniform(1, 30))
                self.start(number)
            case "kill_at":  # in the midst of what it writes
                at = self.disk.count + self.rng.randint(1, 30)
                self.disk.at[at] = self.kill_writer
            case "both":
                self.kill(0)
                self.kill(1)
                await asyncio.sleep(self.rng.choice((5.0, 400.0, 4000.0)))
                self.start(0)
                self.start(1)
                await asyncio.sleep(30)
                self.away.append((from_ns, self.clock.wall_ns()))
            case "forward":
                self.clock.ahead_ns += int(self.rng.choice((30, 600, 5000)) * 1e9)
                self.away.append((from_ns, self.clock.wall_ns() + 30 * 10**9))
                await asyncio.sleep(30)
            case "back":
                self.clock.ahead_ns -= int(self.rng.choice((30, 600, 3000)) * 1e9)
            case "stall":
                program = self.programs[number].program
                program.stalled_until_ns = self.loop.now_ns + int(self.rng.uniform(1, 300) * 1e9)
                self.away.append((from_ns, from_ns + 400 * 10**9))

    def start(self, number: int) -> None:
        """Start a program, or start it again."""
        if number in self.programs and not self.programs[number].program.is_dead:
            return
        life = DayLife(self, number, f"p{number}.{len(self.lives) + 1}")
        self.programs[number] = life
        self.lives.append(life)
        context = contextvars.copy_context()
        context.run(PROGRAM.set, life.program)
        self.loop.create_task(life.live(), context=context)

    def kill(self, number: int) -> None:
        """SIGKILL."""
        if not self.programs[number].program.is_dead:
            self.programs[number].die()

    def kill_writer(self) -> None:
        """SIGKILL to whoever asks the disk at this moment."""
        life: DayLife = PROGRAM.get().life  # type: ignore[attr-defined]
        self.say(f"killed in the midst of a write: {life.program.name}")
        life.die()
        self.loop.call_later(5.0, self.start, life.number, context=contextvars.Context())

    # --- what must hold --------------------------------------------------------------------------

    async def look(self, life: DayLife) -> None:
        """Hold what ran, and what was left out, against every occurrence there was."""
        journal = life.journal
        assert journal is not None
        for fault in await journal.check():
            self.wrong(f"the journal is damaged: {fault}")
        ran: defaultdict[str, Counter[int]] = defaultdict(Counter)
        spans: defaultdict[str, list[tuple[int, int, int]]] = defaultdict(list)
        for row in await journal.runs(limit=1_000_000):
            (first,) = await journal.records(row.run_id, limit=1)
            key: Any = getattr(first.event, "idempotency_key", None)
            at = datetime.fromisoformat(key.rsplit("/", 1)[1])
            ran[row.name][int(at.timestamp())] += 1
            ended_ns = row.finished_at_ns or 2**63
            spans[row.name].append((row.created_at_ns, ended_ns, int(at.timestamp())))
            self.trace.add(f"{row.name} {key} {row.status} {row.created_at_ns}")
            if row.finished_at_ns is not None and row.status != "completed":
                self.wrong(f"{row.name} {key}: its run is {row.status}")
        rows = {row.name: row for row in await journal.schedules()}
        for one in self.schedules:
            found = Found(rows[one.name], ran[one.name], sorted(spans[one.name]))
            now_s = self.clock.wall_ns() // 10**9
            wrongs = wrongs_of(one, found, self.start_ns // 10**9, now_s, self.was_away)
            for wrong in wrongs:
                self.wrong(wrong)
            self.checked += sum(found.ran.values()) + found.row.left_out

    def was_away(self, t: int, slack_s: int) -> bool:
        """Whether somebody was kept from starting what was due at ``t``."""
        return any(a // 10**9 - slack_s <= t <= b // 10**9 + 1 for a, b in self.away)


class DayLife(Life):
    """One program that only has schedules."""

    def __init__(self, world: Any, number: int, name: str) -> None:
        self.world, self.number = world, number
        self.program = Program(name)
        self.vfs = SimVfs(world.disk, self.program)
        self.program.life = self  # type: ignore[attr-defined]
        self.rng = random.Random(world.rng.random())
        self.tandem, self.journal, self.asking = None, None, 0

    async def live(self) -> None:
        """Open, add the schedules, let them run until killed."""
        world: Any = self.world
        config = {
            "journal": {"path": str(world.path)},
            "orchestrator": {"entry_points": False},
            "c_layer": {"enabled": False},
        }
        rng = random.Random(self.rng.random())
        ids = Ids(world.clock.wall_ns, rng.getrandbits)
        self.tandem = tandem = TandemOrchestrator(config, clock=world.clock, ids=ids, rng=rng)
        agent = tandem.register_agent("day")

        @agent.action("work", effects="none")
        async def work(payload: Any) -> None:
            await asyncio.sleep(payload["s"])

        try:
            await tandem.initialize()
        except JournalError as error:
            world.wrong(f"{self.program.name} cannot start: {error}")
            return
        for one in world.schedules:
            await tandem.schedules.add(
                one.name, one.command_set(), cron=one.cron, every_s=one.every_s, timezone=one.zone,
                overlap=one.overlap, catch_up=one.catch_up, jitter_s=one.jitter_s,
            )  # fmt: skip


def draw_schedules(rng: random.Random, zone: str) -> list[Drawn]:
    """Draw some schedules, each policy among them."""
    drawn = []
    policies = [(o, c) for o in ("skip", "queue", "allow") for c in ("none", "one", "all")]
    policies *= 2
    rng.shuffle(policies)
    for n, (overlap, catch_up) in enumerate(policies):
        every_s = rng.choice((900, 1200, 3600, 5400)) if rng.random() < 0.25 else None
        cron = None if every_s else rng.choice(CRONS)
        jitter_s = rng.choice((0.0, 0.0, 30.0, 200.0))
        seconds = rng.choice((0.0, 1.0, 1.0, 5.0, 2000.0 if rng.random() < 0.5 else 1.0))
        named = zone if rng.random() < 0.8 else "UTC"
        drawn.append(Drawn(f"d{n}", cron, every_s, named, overlap, catch_up, jitter_s, seconds))
    return drawn


def play_day(
    seed: int, trace: Trace, *, hours: float = 30.0, bug: str = "", measured: bool = False
) -> Day:
    """Simulate some hours of schedules; what went wrong is in ``wrongs``."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="tandem-day-", dir=base))
    try:
        day = Day(seed, folder, trace, hours, bug, measured=measured)
        KEPT.append(day)
        with simulated(day), ExitStack() as stack:
            for room in (schedules, recovery):
                stack.enter_context(mock.patch.object(room, "LOOK_S", LOOK_S))
            stack.enter_context(mock.patch.object(promotion, "LOOK_S", 600.0))
            plant_in_day(day, stack)
            try:
                day.loop.run_until_complete(day.play())
            except Hangs as hang:
                day.wrong(f"it hangs: {hang}")
        return day
    finally:
        shutil.rmtree(folder, ignore_errors=True)
