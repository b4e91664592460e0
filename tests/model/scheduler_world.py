"""The real orchestrator on a journal, a clock and a layer that a test moves, and that it may crash.

A crash is what a killed program is to the others: nothing of it reaches the journal any more, its
lease is gone, and all that it had in memory is lost. Whoever comes after it has a clock of its own.
"""

import asyncio
import random
import shutil
from collections import Counter
from unittest.mock import patch

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.agents.system import agent as system
from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.journal import MemoryJournal, MemoryStore
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.layers.layer import LayerHealth, Report
from tandem_orchestrator.model.events import AttemptEnded
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator import machine, parts
from tandem_orchestrator.testing import FakeClock, settle

TOPOLOGY = machine.read_topology()
"""Read once: it takes as long as a hundred rules."""
LEVEL_S, PLACES, ATTEMPTS = 10.0, 2, 3


class Mortal:
    """A journal whose program can die: what it writes from then on reaches nobody."""

    is_dead = False
    writes_left = None
    """It dies when it would write once more; None: it lives on."""

    def append(self, run_id, events, durability):
        if self.writes_left == 0:
            self.is_dead = True
        if self.is_dead:
            raise JournalError("this program is dead")
        if self.writes_left is not None:
            self.writes_left -= 1
        return super().append(run_id, events, durability)


class MortalMemory(Mortal, MemoryJournal):
    """In memory."""


class MortalFile(Mortal, SqliteJournal):
    """In a file."""


class HandLayer:
    """The Python layer, but its attempts end when and how the test says."""

    name, away = "python", ""

    def __init__(self, given):
        self.given, self.running = given, {}

    def actions(self):
        return ()

    async def run(self, work, cancel):
        end = asyncio.get_running_loop().create_future()
        stopped = Report(Outcome.CANCELLED, failure=Failure("Cancelled", "asked to stop"))
        cancel.on_cancel(lambda: end.done() or end.set_result(stopped))
        name = (work.run_id, work.step_id)
        assert name not in self.running, f"two attempts of {name} run at one time"
        self.given.append((*name, work.attempt))
        self.running[name] = (work, end)
        try:
            return await end
        finally:
            del self.running[name]

    def health(self):
        return LayerHealth(self.name, True)


class World:
    """One journal and the programs that open it, one after another."""

    def __init__(self):
        self.clock, self.ids = FakeClock(), None
        self.store = MemoryStore(wall_ns=lambda: self.clock.wall_ns())
        self.given = []
        self.views = {}
        self.seen = {}
        self.zero_ns = self.clock.wall_ns()
        self.ids = Ids(lambda: self.clock.wall_ns(), random.Random(1).getrandbits)
        self.programs = 0

    @property
    def now(self):
        return (self.clock.wall_ns() - self.zero_ns) / 1e9

    async def open(self):
        self.programs += 1
        self.journal = self.make_journal()
        self.layer = HandLayer(self.given)
        orchestrator = {
            "max_parallel_workflows": PLACES, "max_parallel_steps": ATTEMPTS, "ageing_s": LEVEL_S,
            "default_mode": "PYTHON_ONLY", "entry_points": False,
        }  # fmt: skip
        settings = {
            "orchestrator": orchestrator,
            "journal": {"path": ":memory:", "recover": False, "schedules": False},
            "c_layer": {"enabled": False}, "limits": {"retries_per_s": 0},
        }  # fmt: skip
        self.tandem = TandemOrchestrator(
            settings, clock=self.clock, ids=self.ids, rng=random.Random(2)
        )
        self.tandem.add_agent(system)
        agent = self.tandem.register_agent("m")
        for name, effects, limits in [
            ("none", "none", {}), ("external", "external", {}),
            ("none_keyed", "none", {"concurrency_key": "key"}),
            ("external_keyed", "external", {"concurrency_key": "key"}),
        ]:  # fmt: skip
            agent.action(name, effects=effects, **limits)(_never)
        with (
            patch.object(parts, "make_journal", lambda settings: self.journal),
            patch.object(machine, "read_topology", lambda *_, **__: TOPOLOGY),
        ):
            await self.tandem.initialize()
        self.tandem._parts.engine._around.layers["python"] = self.layer
        await self.settle()

    def make_journal(self):
        """Make what the next program opens."""
        return MortalMemory(self.store)

    async def leave_the_dead(self):
        """Have the next program find what the last one had written, and it dead."""
        self.journal.is_dead = True
        self.store.give_lease_back(self.journal.health().owner)

    async def settle(self):
        """Let everything come to rest."""
        await settle()

    async def advance(self, seconds):
        """Let time pass, timer by timer."""
        await self.clock.advance(seconds)

    async def row(self, run_id):
        return await self.journal.run(run_id)

    async def crash(self):
        """Kill the program, start the next one, and let it take over what was left."""
        await self.leave_the_dead()
        await self.tandem.close()
        # Another process, another monotonic clock; the time of day goes on.
        self.clock = FakeClock(self.clock.wall_ns() - 1_000_000_000)
        await self.open()
        await self.recover()

    async def recover(self):
        await self.tandem._recovery.look()
        await self.settle()

    async def close(self):
        await self.tandem.close()

    def command_set(self, steps, priority, timeout, drain, key):
        made = [
            CommandStep(
                id=step.id, agent=_agent_of(step), action=_action_of(step),
                payload=_payload_of(step), can_fail=step.can_fail, timeout=step.timeout,
                when=None if step.when is None
                else {"ref": step.when[0], "op": "eq", "value": step.when[1]},
                retry_policy=_retry_of(step),
            )
            for step in steps
        ]  # fmt: skip
        needs = {step.id: list(step.needs) for step in steps}
        return CommandSet(
            id="set", name="model", steps=made, dependencies=needs, priority=priority,
            timeout=timeout, on_failure="drain" if drain else "stop", durability="group",
            idempotency_key=key,
        )  # fmt: skip

    def end(self, name, outcome, output=None):
        failure = None if outcome == "succeeded" else Failure("Planned", "by the test")
        self.layer.running[name][1].set_result(Report(Outcome(outcome), output, failure))

    async def view(self, run_id):
        """Fold what the journal holds of a run by now; no attempt may have ended twice."""
        view, ends, done = self.views.setdefault(run_id, (RunView(), Counter(), [0]))
        for record in await self.journal.records(run_id, after=done[0]):
            done[0] = record.seq
            view.apply(record.event)
            if isinstance(record.event, AttemptEnded):
                name = (record.event.step, record.event.attempt)
                ends[name] += 1
                assert ends[name] == 1, f"{run_id}: two ends of attempt {name}"
        return view


class FileWorld(World):
    """The same on a real SQLite file; a crash leaves a copy of it, as it was at that moment."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def make_journal(self):
        place = self.folder / str(self.programs)
        place.mkdir(exist_ok=True)
        return MortalFile(place / "journal.db")

    async def leave_the_dead(self):
        await self.journal.flush()
        self.journal.is_dead = True
        following = self.folder / str(self.programs + 1)
        following.mkdir()
        for file in (self.folder / str(self.programs)).glob("journal.db*"):
            if file.is_file() and not file.name.endswith("-shm"):
                shutil.copy(file, following / file.name)

    async def settle(self):
        before = None
        while before != (before := self.journal.health().events_total):
            for _ in range(2):
                await settle()
                await self.journal.flush()
            await settle()

    async def advance(self, seconds):
        end_ns = self.clock.monotonic_ns() + round(seconds * 1e9)
        while (due_ns := self.clock.next_ns()) is not None and due_ns <= end_ns:
            await self.clock.advance(max(0, due_ns - self.clock.monotonic_ns()) / 1e9)
            await self.settle()
        await self.clock.advance((end_ns - self.clock.monotonic_ns()) / 1e9)


async def _never(payload):
    raise AssertionError("the layer of the test runs what is to run")


def _agent_of(step):
    return "m" if step.waits is None else "system"


def _action_of(step):
    if step.waits is not None:
        return "wait_signal" if step.waits else "approval"
    return ("external" if step.external else "none") + ("_keyed" if step.key else "")


def _payload_of(step):
    if step.waits is not None:
        return {"name": step.waits} if step.waits else {"prompt": "?"}
    payload = {"key": step.key}
    if step.ref:
        payload["before"] = Ref(step.needs[0])
    return payload


def _retry_of(step):
    policy = {
        "max_retries": step.retries, "initial_delay": step.delay, "backoff": 2.0,
        "max_delay": 1000.0, "jitter": False,
    }  # fmt: skip
    if step.insist:
        policy["retry_on"] = ["failed", "timed_out", "unknown"]
    return policy
