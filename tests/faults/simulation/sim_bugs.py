"""Bugs that are planted to see whether the simulation finds them."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from typing import Any
from unittest import mock

from sim_disk import SimWriter

from tandem_orchestrator.engine import segments, units
from tandem_orchestrator.journal.sqlite import SqliteJournal, timetable, writer
from tandem_orchestrator.model import schedules as model_schedules
from tandem_orchestrator.orchestrator import parts, recovery, schedules

BUGS = {
    "early": "the journal acknowledges before it writes",
    "unsynced": "a commit returns before its fsync",
    "lease": "nobody looks whether an owner lives before a run is taken over",
    "stale": "an answer for an earlier call of its slot is taken",
    "silent": "a look at an empty ring forgets to arm the doorbell",
    "timer": "one timer in ten never fires",
    "rerun": "an external step that may have run is run again",
    "amnesia": "recovery forgets the newest record of a run",
    "order": "what a lost segment left is tried again before the steps that it needs",
}


DAY_BUGS = {
    "again": "an occurrence that was decided comes again when the clock was put back",
    "keyless": "the run of an occurrence carries no key",
    "offset": "the offset of a zone is looked at once and never changes",
    "hasty": "nobody waits for an occurrence that is a moment late",
    "leak": "every event is kept",
}


def plant(world: Any, stack: ExitStack) -> None:
    """Put the world's bug in its place."""
    bug, patch = world.bug, lambda *a, **k: stack.enter_context(mock.patch.object(*a, **k))
    if bug in DAY_BUGS:
        return
    if bug and bug not in BUGS:
        raise ValueError(f"bug={bug!r}: one of {', '.join(BUGS)}")
    if bug == "early":
        patch(SimWriter, "is_early", True)
    elif bug == "unsynced":
        real = writer.connect_writer

        def unsynced(*args: Any) -> Any:
            made = real(*args)
            made.pragma("synchronous", "off")
            return made

        patch(writer, "connect_writer", unsynced)
    elif bug == "lease":
        patch(SqliteJournal, "is_alive", lambda self, owner: owner == self._owner)
    elif bug in ("stale", "silent"):
        world.bridge.bug = bug
    elif bug == "timer":
        world.clock.drop_timer = lambda: world.rng.random() < 0.1
    elif bug == "rerun":
        for module in (segments, units):
            patch(module, "may_repeat", lambda effects: True)
    elif bug == "amnesia":
        found = recovery.recover
        patch(recovery, "recover", lambda events: found(events[:-1] if len(events) > 3 else events))
    elif bug == "order":
        patch(units, "start_or_wait", units.start)


def plant_in_day(day: Any, stack: ExitStack) -> None:
    """Put the bug of a simulated day in its place."""
    bug, patch = day.bug, lambda *a, **k: stack.enter_context(mock.patch.object(*a, **k))
    if bug == "again":
        look = schedules.Schedules.look

        async def looks(self: Any) -> float:
            now_ns = day.clock.wall_ns()
            await self._journal()._write(
                lambda at: at.execute("UPDATE schedules SET done_ns = min(done_ns, ?)", (now_ns,))
            )
            return await look(self)

        patch(schedules.Schedules, "look", looks)
        patch(timetable, "row_sum", lambda *row: b"")
    elif bug == "keyless":
        numbers = itertools.count()
        real = schedules.schedule_key
        patch(schedules, "schedule_key", lambda *a: f"{next(numbers)}/{real(*a)}")
    elif bug == "offset":
        patch(model_schedules, "_change", lambda *a: None)
    elif bug == "hasty":
        patch(schedules, "GRACE_NS", 0)
    elif bug == "leak":
        observe = parts.Parts._observe

        def keeps(self: Any, run_id: str, event: Any) -> None:
            day.leaked = [*getattr(day, "leaked", ()), bytes(2_000)]
            observe(self, run_id, event)

        patch(parts.Parts, "_observe", keeps)
