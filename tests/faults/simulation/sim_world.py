"""One simulation: programs on one journal and one bridge, what goes wrong, and what must hold then.

``play(seed)`` is all of it. A few orchestrators (the real ones) take command sets in, and meet
kills, power cuts, full and broken disks, dying bridges, stalls and jumping clocks, as the seed
says. Then all is well again, people answer what waits for them, and every run must come to its
end; what was acknowledged to the clients, who are outside, must be there as they heard it.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import msgspec
from sim_bridge import SimBridge, native_layer
from sim_disk import SimDisk, SimVfs, SimWriter
from sim_loop import PROGRAM, Hangs, Program, SimClock, SimLoop, SimPool, Trace
from sim_work import Effects, Wanted, answer, draw, register

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.errors import (
    Busy,
    Closed,
    CommandError,
    InvalidCommandSet,
    JournalError,
    LayerUnavailable,
    OutcomeUnknown,
)
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import Bounds
from tandem_orchestrator.journal.sqlite import SqliteJournal, pool, store
from tandem_orchestrator.layers.native import RestartLimits, SupervisorLimits
from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptEnded,
    RunEnded,
    RunHeld,
    SegmentEnded,
    StepTimedOut,
    steps_ended,
)
from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.orchestrator import machine, parts

WALL_NS = 1_760_000_000 * 10**9
SPAN_S = 5.0
"""Virtual seconds in which command sets come and things go wrong."""
PATIENCE_S = 400.0
"""Virtual seconds in which all must come to its end afterwards."""
EXPECTED = (Busy, Closed, JournalError, LayerUnavailable, OutcomeUnknown)
"""What a client may meet while things go wrong."""
read_topology = cache(machine.read_topology)
"""Read once for all simulations, not once for each program."""
_sorted = msgspec.msgpack.Encoder(order="sorted").encode


class Wrong(Exception):
    """A promise that was not kept."""


class World:
    """Everything outside of the programs.

    Args:
        bug: A planted bug; see ``sim_bugs``.
    """

    def __init__(self, seed: int, folder: Path, trace: Trace, bug: str = "") -> None:
        self.rng = rng = random.Random(seed)
        self.seed, self.bug, self.trace = seed, bug, trace
        self.loop = SimLoop(
            random.Random(rng.random()), trace, int((1_000 + SPAN_S + PATIENCE_S * 2) * 1e9)
        )
        self.faults = draw_faults(rng)
        recorded = any(fault[1] == "power" for fault in self.faults)
        self.disk = SimDisk(folder, random.Random(rng.random()), recorded=recorded)
        self.path = folder / "j.db"
        self.clock = SimClock(self.loop, WALL_NS)
        self.effects = Effects(self.say)
        self.effects.watch = self.check_owner
        self.bridge = SimBridge(self.loop, random.Random(rng.random()), self.effects)
        self.programs: dict[int, Life] = {}
        self.wanted: dict[int, list[Wanted]] = {}
        self.accepted: dict[str, str] = {}
        """Run that a client was told is durable, to its name."""
        self.acked: dict[str, tuple[str, dict[str, Any]]] = {}
        """Run to the durability and result that a client heard."""
        self.keys: defaultdict[str, set[str]] = defaultdict(set)
        self.specs: dict[str, Wanted] = {}
        self.wrongs: list[str] = []
        self.poll_s = 1.0
        """Virtual seconds between looks at what other programs wrote."""
        self.lives: list[Life] = []
        """All that ever began; a dead one is kept, since freeing it would run its ``finally``."""
        self.restarts: set[int] = set()

    def say(self, text: str) -> None:
        """Write a line into the trace."""
        text = text.replace(str(self.disk.folder), "DISK")
        self.trace.say(f"{(self.loop.now_ns - 10**12) / 1e9:.6f} {text}")

    def wrong(self, text: str) -> None:
        """Note a broken promise."""
        self.say(f"WRONG {text}")
        self.wrongs.append(text)

    def check_owner(self, run_id: str) -> None:
        """A run that does something belongs to one program at most."""
        owners = [life.program.name for life in self.programs.values() if life.has(run_id)]
        if len(owners) > 1:
            self.wrong(f"run {run_id} is owned by {' and '.join(owners)}")

    # --- the simulation --------------------------------------------------------------------------

    async def play(self) -> None:
        """Let everything happen, and look at what is left."""
        names = itertools_names()
        count = self.rng.choice((1, 2, 2, 3))
        for number in range(count):
            sets = [draw(self.rng, next(names), SPAN_S) for _ in range(self.rng.randint(1, 3))]
            self.specs |= {wanted.name: wanted for wanted in sets}
            self.wanted[number] = sets
        shared = [one for one in self.specs.values() if one.command_set.idempotency_key]
        if shared and count > 1:  # the same request comes to two programs
            self.wanted[self.rng.randrange(count)].append(self.rng.choice(shared))
        for number in range(count):
            self.start(number)
        end_s = self.loop.time() + SPAN_S
        for at_s, kind, more in self.faults:
            await asyncio.sleep(max(0.0, at_s + 1_000 - self.loop.time()))
            self.happen(kind, more)
        while self.loop.time() < end_s:
            await asyncio.sleep(0.5)
            self.check_all_owners()
        await self.calm_down()
        await self.wait_for_people()

    def check_all_owners(self) -> None:
        """Look at every run in progress."""
        runs = {run for life in self.programs.values() for run in life.active()}
        for run_id in sorted(runs):
            self.check_owner(run_id)

    def start(self, number: int) -> None:
        """Start a program, or start it again."""
        self.restarts.discard(number)
        if number in self.programs and not self.programs[number].program.is_dead:
            return
        life = Life(self, number, f"p{number}.{len(self.lives) + 1}")
        self.lives.append(life)
        self.programs[number] = life
        self.say(f"start {life.program.name}")
        context = contextvars.copy_context()
        context.run(PROGRAM.set, life.program)
        self.loop.create_task(life.live(), context=context)

    def start_again(self, number: int, least_s: float = 0.05) -> None:
        """Start it a little later, once."""
        if number not in self.restarts:
            self.restarts.add(number)
            self.loop.call_later(
                least_s + self.rng.random() * 2, self.start, number, context=contextvars.Context()
            )

    def kill(self, number: int) -> None:
        """SIGKILL."""
        life = self.programs[number]
        if not life.program.is_dead:
            self.say(f"kill {life.program.name}")
            life.die()
            self.start_again(number)

    def cut_power(self) -> None:
        """All die at once, and the disk forgets some of what it had not synced."""
        self.say("power cut")
        for number, life in self.programs.items():
            if not life.program.is_dead:
                life.die()
            self.start_again(number, 0.3)
        self.bridge.die()
        self.loop.call_later(0.2, self.bridge.come_back, context=self.bridge.outside)
        # Not here: SQLite may be in the midst of something.
        self.loop.call_soon(self._restore, context=contextvars.Context())

    def _restore(self) -> None:
        for life in self.programs.values():
            life.bury()
        self.disk.lose_power()

    def happen(self, kind: str, more: dict[str, Any]) -> None:
        """Let one thing go wrong."""
        number = more.get("program", 0) % len(self.programs)
        self.say(f"fault {kind} {more}")
        later = self.loop.call_later
        outside = contextvars.Context()
        match kind:
            case "kill":
                self.kill(number)
            case "kill_at":
                at = self.disk.count + more["operations"]
                self.disk.at[at] = lambda: self.kill(number)
            case "power":
                at = self.disk.count + more["operations"]
                self.disk.at[at] = self.cut_power
            case "bridge":
                self.bridge.die()
                later(more["for_s"], self.bridge.come_back, context=outside)
            case "full":
                self.disk.full = True
                later(more["for_s"], self._heal, context=outside)
            case "broken":
                self.disk.broken = more["operation"]
                later(more["for_s"], self._heal, context=outside)
            case "stall":
                program = self.programs[number].program
                program.stalled_until_ns = self.loop.now_ns + int(more["for_s"] * 1e9)
            case "clock":
                self.clock.ahead_ns += int(more["by_s"] * 1e9)

    def _heal(self) -> None:
        self.disk.full, self.disk.broken = False, ""

    async def calm_down(self) -> None:
        """Nothing goes wrong any more; programs whose journal broke are started again."""
        self.say("calm")
        self.disk.at.clear()
        self._heal()
        self.bridge.come_back()
        for _ in range(12):  # the writer of a full disk tries again by itself
            await asyncio.sleep(0.5)
            if all(life.is_well for life in self.programs.values()):
                break
        for number, life in self.programs.items():
            if life.program.is_dead or not life.is_well:
                self.kill(number)
                self.start_again(number)
        for _ in range(12):
            await asyncio.sleep(0.5)
            if all(life.is_well for life in self.programs.values()):
                break

    async def wait_for_people(self) -> None:
        """Somebody answers whatever waits, until nothing does."""
        give_up_s = self.loop.time() + PATIENCE_S
        rows: list[Any] = []
        while self.loop.time() < give_up_s and not self.wrongs:
            life = next((life for life in self.programs.values() if life.is_well), None)
            if life is None:
                self.wrong("no program can be opened any more")
                return
            context = contextvars.copy_context()
            context.run(PROGRAM.set, life.program)
            rows = await self.loop.create_task(life.answer_all(), context=context)
            asking = sum(each.asking for each in self.programs.values())
            if not rows and not asking:
                break
            await asyncio.sleep(1.0)
            self.check_all_owners()
        for row in rows if not self.wrongs else ():
            waits = f", waits for {', '.join(row.waiting_for)}" if row.waiting_for else ""
            self.wrong(f"run {row.run_id} ({row.name}) does not end: it is {row.status}{waits}")
        if not self.wrongs:
            life = next(life for life in self.programs.values() if life.is_well)
            context = contextvars.copy_context()
            context.run(PROGRAM.set, life.program)
            await self.loop.create_task(self.look(life), context=context)

    # --- what must hold --------------------------------------------------------------------------

    async def look(self, life: Life) -> None:
        """Hold the journal against what the clients heard and what happened outside."""
        tandem, journal = life.tandem, life.journal
        assert tandem is not None and journal is not None
        for fault in await journal.check():
            self.wrong(f"the journal is damaged: {fault}")
        rows = {row.run_id: row for row in await journal.runs(limit=10_000)}
        for run_id, name in self.accepted.items():
            if run_id not in rows:
                self.wrong(f"acknowledged run {run_id} ({name}) is lost")
        for key, runs in self.keys.items():
            if len(runs) > 1:
                self.wrong(f"key {key} belongs to {len(runs)} runs: {sorted(runs)}")
        for run_id, (durability, heard) in self.acked.items():
            if durability == "async" or run_id not in rows:
                continue
            found = await tandem.run(run_id).result()
            if _sorted(found) != _sorted(heard):
                what = [key for key in heard if found.get(key) != heard[key]]
                self.wrong(f"run {run_id}: its client heard another {', '.join(what)}")
        for run_id, row in rows.items():
            events = [record.event for record in await journal.records(run_id)]
            for event in events:
                self.trace.add(f"{run_id} {event!r}")
            self.look_at_events(run_id, row.name, row.durability, events)
            self.look_at_outputs(row.name, run_id, events)

    def look_at_events(
        self, run_id: str, name: str, durability: str, events: list[AnyEvent]
    ) -> None:
        """One end for each step and attempt, and effects as often as the records allow."""
        ends = Counter(ended.step for event in events for ended in steps_ended(event))
        attempts = Counter(
            (e.step, e.item, e.part, e.implementation, e.attempt)
            for e in events
            if isinstance(e, AttemptEnded)
        )
        for what, times in (*ends.items(), *attempts.items()):
            if times > 1:
                self.wrong(f"run {run_id}: {what} has {times} completions")
        last = [n for n, event in enumerate(events) if isinstance(event, RunEnded)]
        if last != [len(events) - 1]:
            self.wrong(f"run {run_id}: it has {len(last)} ends, at {last} of {len(events)}")
        end = events[-1]
        if isinstance(end, RunEnded) and end.error and "InternalError" in end.error:
            self.wrong(f"run {run_id}: {end.error}")
        if durability == "async":
            return
        spec = self.specs[name].command_set
        named = (spec.retry_policy or {}).get("retry_on") or ("failed", "timed_out", "abandoned")
        for (run, step, item), times in self.effects.times.items():
            if run != run_id:
                continue
            allowed = 1 + len(set(allowing_attempts(events, step, item, named)))
            if times > allowed:
                self.wrong(
                    f"run {run_id}: external step {step}[{item}] ran {times} times, "
                    f"its records allow {allowed}"
                )

    def look_at_outputs(self, name: str, run_id: str, events: list[AnyEvent]) -> None:
        """What succeeded has the answer that its payload asks for."""
        ended = {end.step: end for event in events for end in steps_ended(event)}
        if any(isinstance(e, RunHeld) and e.conflicts for e in events):
            return  # a person gave an output
        for step in self.specs[name].command_set.steps:
            end = ended.get(step.id)
            if end is None:
                self.wrong(f"run {run_id}: step {step.id} has no end")
                continue
            if end.outcome != "succeeded" or step.agent == "system":
                continue
            if step.for_each is not None:
                failed = set(end.failed_items or ())
                wanted: Any = [
                    None if n in failed else answer(x) for n, x in enumerate(step.for_each)
                ]
            else:
                x = step.payload["x"]
                if isinstance(x, Ref):
                    source = ended.get(x.step)
                    has = source is not None and source.outcome == "succeeded"
                    x = source.output["y"] if has and source is not None else 5
                wanted = answer(x)
            if end.output != wanted:
                self.wrong(f"run {run_id}: step {step.id} gave {end.output}, not {wanted}")


def allowing_attempts(
    events: list[AnyEvent], step: str, item: int | None, named: Any
) -> Iterator[Any]:
    """Give the attempts after which the policy allows another one; a time limit is two records."""
    for event in events:
        if isinstance(event, AttemptEnded) and (event.step, event.item) == (step, item):
            if event.outcome in named:
                yield event.attempt
        elif isinstance(event, StepTimedOut) and (event.step, event.item) == (step, item):
            if "timed_out" in named:
                yield event.attempt
        elif isinstance(event, SegmentEnded) and any(
            row.step == step and row.outcome in named for row in event.rows
        ):
            yield "segment", event.segment, event.attempt


class Life:
    """One program from its start to its death, and the clients that it serves."""

    def __init__(self, world: World, number: int, name: str) -> None:
        self.world, self.number = world, number
        self.program = Program(name)
        self.vfs = SimVfs(world.disk, self.program)
        self.program.life = self  # type: ignore[attr-defined]
        self.rng = random.Random(world.rng.random())
        self.tandem: TandemOrchestrator | None = None
        self.journal: SqliteJournal | None = None
        self.asking = 0
        """Clients that have not heard the end of what they asked for."""

    @property
    def is_well(self) -> bool:
        """Whether it is open and its journal acknowledges."""
        return (
            not self.program.is_dead
            and self.tandem is not None
            and self.tandem._state == "open"
            and self.journal is not None
            and self.journal.health().ok
        )

    def active(self) -> list[str]:
        """List the runs it has in progress."""
        open_parts = None if self.tandem is None else self.tandem._parts
        return [] if self.program.is_dead or open_parts is None else list(open_parts.engine.active)

    def has(self, run_id: str) -> bool:
        """Whether it has a run in progress."""
        open_parts = None if self.tandem is None else self.tandem._parts
        return (
            not self.program.is_dead
            and open_parts is not None
            and run_id in open_parts.engine.active
        )

    async def live(self) -> None:
        """Open, serve clients, go on until killed."""
        world, clock = self.world, self.world.clock
        config = {
            "journal": {
                "path": str(world.path),
                "control_interval_s": 1.0,
                "schedules": False,
            },
            "orchestrator": {"entry_points": False, "cancel_grace_s": 1.0, "max_parallel_steps": 4},
        }
        rng = random.Random(self.rng.random())
        ids = Ids(clock.wall_ns, rng.getrandbits)
        self.tandem = tandem = TandemOrchestrator(config, clock=clock, ids=ids, rng=rng)
        register(tandem, world.effects)
        try:
            await tandem.initialize()
        except (JournalError, OSError) as error:
            world.say(f"{self.program.name} cannot start: {error}")
            self.die()
            world.start_again(self.number, 0.5)
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            world.wrong(f"{self.program.name} cannot start: {error!r}")
            return
        world.say(f"{self.program.name} is open")
        for wanted in world.wanted[self.number]:
            if self.world.loop.time() <= 1_000 + wanted.at_s or self._is_unheard(wanted):
                asyncio.get_running_loop().create_task(self.serve(tandem, wanted))

    def _is_unheard(self, wanted: Wanted) -> bool:
        """A client that heard nothing asks again where it has a key."""
        key = wanted.command_set.idempotency_key
        return key is not None and not any(run in self.world.acked for run in self.world.keys[key])

    async def serve(self, tandem: TandemOrchestrator, wanted: Wanted) -> None:
        """Be one client: ask, wait, write down what was heard."""
        world, command_set = self.world, wanted.command_set
        self.asking += 1
        await asyncio.sleep(max(0.0, 1_000 + wanted.at_s - world.loop.time()))
        try:
            run = await tandem.submit(command_set)
            world.say(f"{self.program.name} accepted {wanted.name} as {run.id}")
            if command_set.durability != "async" or command_set.idempotency_key:
                world.accepted[run.id] = wanted.name
            if command_set.idempotency_key:
                world.keys[command_set.idempotency_key].add(run.id)
            if wanted.cancel_s is not None:
                world.loop.call_later(wanted.cancel_s, self._spawn, self.ask(run.cancel))
            if wanted.pause_s is not None:
                world.loop.call_later(wanted.pause_s, self._spawn, self.ask(run.pause))
            result = await run.result()
            _, heard = world.acked.setdefault(run.id, (command_set.durability or "", result))
            if command_set.durability != "async" and _sorted(heard) != _sorted(result):
                what = [
                    (key, heard[key], result[key]) for key in heard if heard[key] != result[key]
                ]
                world.wrong(f"run {run.id}: two clients heard two results: {what}")
            world.say(f"{self.program.name} heard {run.id} {result['status']}")
        except InvalidCommandSet as error:
            world.say(f"{wanted.name} is refused: {error}")
            if "compare" not in str(error) and "is away" not in str(error):
                world.wrong(f"{wanted.name}: {error}")
        except EXPECTED as error:
            world.say(f"{self.program.name} {wanted.name}: {type(error).__name__}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            world.wrong(f"{wanted.name}: {error!r}")
        finally:
            self.asking -= 1

    def _spawn(self, coroutine: Any) -> None:
        asyncio.get_running_loop().create_task(coroutine)

    async def ask(self, question: Callable[[], Any]) -> None:
        """Ask something of a run; it may have ended."""
        try:
            await question()
        except (CommandError, *EXPECTED) as error:
            self.world.say(f"{self.program.name} {type(error).__name__}: {error}")

    async def answer_all(self) -> list[Any]:
        """Be the people: answer what waits; gives the runs that have not ended."""
        tandem, journal = self.tandem, self.journal
        assert tandem is not None and journal is not None
        rows = [r for r in await journal.runs(limit=10_000) if r.finished_at_ns is None]
        for row in rows:
            run = tandem.run(row.run_id)
            if row.status == "paused":
                await self.ask(run.unpause)
            if row.status != "held":
                continue
            owner = next((o for o in self.world.programs.values() if o.has(row.run_id)), None)
            if owner is None:
                continue  # It is being taken over.
            assert owner.tandem is not None and owner.tandem._parts is not None
            state = owner.tandem._parts.engine.active[row.run_id]._state
            for conflict in list(state.held):
                await self.ask(partial(run.resolve, conflict=conflict, output={"y": 1}, by="p"))
            for step, signal in list(state.waiting.items()):
                if signal:
                    await self.ask(partial(run.signal, signal, {"y": 2}, by="p"))
                else:
                    said = self.rng.random() < 0.7
                    await self.ask(partial(run.approve, step, by="p", approved=said))
        return rows

    def die(self) -> None:
        """Leave at once: nothing is closed in order, locks go."""
        self.program.die()
        self.world.loop._with_work.pop(self.program.name, None)
        if self.journal is not None:
            if self.journal._lease is not None:
                self.journal._lease.forget()
            self.world.loop.call_soon(self.bury, context=contextvars.Context())

    def bury(self) -> None:
        """Give back what the kernel would have taken at once: SQLite's locks and files."""
        journal = self.journal
        if journal is None:
            return
        connections = list(journal._readers._free) if journal._readers is not None else []
        if journal._readers is not None:
            journal._readers._free.clear()
        if journal._writer is not None and journal._writer._connection is not None:
            connections.append(journal._writer._connection)
            journal._writer._connection = None
        for connection in connections:
            try:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                connection.close()
            except apsw.Error as error:
                self.world.say(f"{self.program.name} leaves: {type(error).__name__}")


def itertools_names() -> Iterator[str]:
    """Name command sets."""
    n = 0
    while True:
        n += 1
        yield f"set{n}"


def draw_faults(rng: random.Random) -> list[tuple[float, str, dict[str, Any]]]:
    """Draw what goes wrong, and when."""
    kinds = ("kill", "kill", "kill_at", "kill_at", "power", "bridge", "bridge", "full", "broken",
             "stall", "clock")  # fmt: skip
    faults: list[tuple[float, str, dict[str, Any]]] = []
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        kind = rng.choice(kinds)
        more: dict[str, Any] = {}
        if kind in ("kill", "kill_at", "stall"):
            more["program"] = rng.randrange(3)
        if kind in ("kill_at", "power"):
            more["operations"] = rng.randint(1, 60)
        if kind in ("bridge", "full", "broken", "stall"):
            more["for_s"] = rng.choice((0.05, 0.5, 2.0))
        if kind == "broken":
            more["operation"] = rng.choice(("sync", "write", "truncate"))
        if kind == "clock":
            more["by_s"] = rng.choice((-3600.0, -1.0, 0.5, 7200.0))
        faults.append((rng.random() * SPAN_S, kind, more))
    return sorted(faults, key=lambda fault: fault[0])


@contextmanager
def simulated(world: Any) -> Iterator[None]:
    """Put the simulation's parts in the place of the machine's."""

    def make_journal(settings: Any) -> SqliteJournal:
        life = PROGRAM.get().life  # type: ignore[attr-defined]
        bounds = Bounds(poll_interval_ms=world.poll_s * 1000)
        life.journal = SqliteJournal(
            world.path, bounds=bounds, vfs=life.vfs.name, wall_ns=world.clock.wall_ns
        )
        return life.journal  # type: ignore[no-any-return]

    def make_native(
        settings: Any, registry: Any, owner: str, clock: Any, on_event: Any, machine: Any
    ) -> Any:
        limits = SupervisorLimits(restarts=RestartLimits(cooldown_s=3.0))
        return native_layer(world.bridge, owner, clock, on_event, limits)

    from sim_bugs import plant

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(parts, "make_journal", make_journal))
        stack.enter_context(mock.patch.object(parts, "make_native_layer", make_native))
        stack.enter_context(mock.patch.object(store, "Writer", SimWriter))
        stack.enter_context(mock.patch.object(pool, "ThreadPoolExecutor", SimPool))
        stack.enter_context(mock.patch.object(machine, "read_topology", read_topology))
        plant(world, stack)
        yield


KEPT: list[Any] = []
"""What was simulated: freeing it would run the ``finally`` of programs that are dead."""


def play(seed: int, trace: Trace, bug: str = "") -> list[str]:
    """Simulate one seed; gives what went wrong, nothing if all was kept."""
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="tandem-sim-", dir=base))
    try:
        world = World(seed, folder, trace, bug)
        KEPT.append(world)
        with simulated(world):
            try:
                world.loop.run_until_complete(world.play())
            except Hangs as hang:
                world.wrong(f"it hangs: {hang}")
        world.wrongs += [text for text in world.loop.lost if "never retrieved" not in text]
        return world.wrongs
    finally:
        shutil.rmtree(folder, ignore_errors=True)
