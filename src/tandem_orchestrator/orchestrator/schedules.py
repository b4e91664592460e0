"""``tandem.schedules``: what runs at which times, kept in the journal and fired by whoever is there.

Each open orchestrator looks at the table. Who takes an occurrence on is decided by one statement in
the journal, and the run carries the idempotency key ``schedule/NAME/TIME``: where its owner dies
between the two, the next one finds the run, or makes it. Occurrences of one schedule are decided in
order, and a decided one never comes again, whatever the clock does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import (
    Busy,
    Closed,
    CommandError,
    IdempotencyMismatch,
    JournalError,
    LayerUnavailable,
    TandemError,
)
from tandem_orchestrator.journal import Journal, ScheduleRow, rfc3339, schedule_key
from tandem_orchestrator.layers.native.waiting import settled_within
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.documents import from_document
from tandem_orchestrator.model.schedules import Schedule, checked_schedule
from tandem_orchestrator.orchestrator.intake import Intake
from tandem_orchestrator.orchestrator.run import Run

_log = logging.getLogger(__name__)

LOOK_S = 1.0
"""Longest pause between two looks, in seconds; a schedule of another process is seen after it."""
GRACE_NS = 60 * 10**9
"""An occurrence that was not looked at for so long after its time was missed."""
MISSED_A_LOOK = 10_000
"""Missed occurrences of one schedule that one look counts."""
CLOSE_S = 5.0
SCHEDULES_MAX = 10_000
"""Schedules in one journal."""


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A schedule and how far it is."""

    schedule: Schedule
    next_ns: int | None
    """Its next occurrence, in nanoseconds since the epoch, without jitter; None where this machine
    cannot tell."""
    done_ns: int
    """The newest occurrence that was decided, or when it was added."""
    last_run: str | None
    """The newest run that it started."""
    fired: int
    left_out: int
    """Occurrences that did not become runs, as its policies say."""

    # Any: plain data.
    def to_value(self) -> dict[str, Any]:
        """Give it as plain data; times as RFC 3339 text, UTC."""
        schedule = self.schedule
        keys = ("name", "cron", "every_s", "timezone", "overlap", "catch_up", "jitter_s")
        return {
            **{key: getattr(schedule, key) for key in keys},
            "command_set": schedule.document.get("name") or "",
            "next_at": rfc3339(self.next_ns),
            "done_at": rfc3339(self.done_ns),
            "last_run": self.last_run,
            "fired": self.fired,
            "left_out": self.left_out,
        }


def schedule_of(
    name: str,
    intake: Intake,
    *,
    cron: str | None = None,
    every_s: float | None = None,
    timezone: str = "UTC",
    overlap: str = "skip",
    catch_up: str = "none",
    jitter_s: float = 0.0,
) -> Schedule:
    """Make the schedule of a command set that was checked.

    Raises: CommandError naming what is wrong.
    """
    if not intake.resumable:
        raise CommandError(
            f"schedule '{name}': its command set calls functions without a name (lambdas or "
            "closures), which another process could not find"
        )
    if intake.document.get("idempotency_key") is not None:
        raise CommandError(
            f"schedule '{name}': its command set has an idempotency key of its own; each "
            "occurrence gets one"
        )
    return checked_schedule(
        name,
        intake.document,
        cron=cron,
        every_s=every_s,
        timezone=timezone,
        overlap=overlap,
        catch_up=catch_up,
        jitter_s=jitter_s,
    )


async def keep(journal: Journal, schedule: Schedule, now_ns: int) -> bool:
    """Write a schedule whose occurrences from now on count; False if it is there like that.

    Raises: Busy if there are ``SCHEDULES_MAX``. JournalError, NotAValue.
    """
    known = await journal.schedules()
    if len(known) >= SCHEDULES_MAX and schedule.name not in {row.name for row in known}:
        raise Busy(f"schedule '{schedule.name}': the journal has {SCHEDULES_MAX} already")
    return await journal.put_schedule(schedule.name, schedule.to_body(), now_ns)


async def listed(journal: Journal) -> list[Scheduled]:
    """Read all schedules, by name."""
    found = []
    next_ns: int | None
    for row in await journal.schedules():
        schedule = Schedule.from_body(row.name, row.body)
        try:
            next_ns = schedule.next_ns(row.done_ns)
        except CommandError:
            next_ns = None  # Of another version, or without the time zone: it can be removed.
        found.append(
            Scheduled(schedule, next_ns, row.done_ns, row.last_run, row.fired, row.left_out)
        )
    return found


class Schedules:
    """Adds, lists and removes schedules, and fires them from ``start`` to ``close``.

    Args:
        journal: Gives the open journal, or refuses.
        take_in: Checks and plans a command set without running it.
        submit: Takes a run in.
    """

    def __init__(
        self,
        journal: Callable[[], Journal],
        take_in: Callable[[CommandSet], Intake],
        submit: Callable[[CommandSet], Awaitable[Run]],
        clock: Clock,
    ) -> None:
        self._journal, self._take_in, self._submit, self._clock = journal, take_in, submit, clock
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._changed: asyncio.Future[None] | None = None
        self._on_time: dict[str, int] = {}
        """Schedule to its occurrence that was due when it was looked at, and waits since."""
        self._told: dict[str, str] = {}
        """Schedule to what was last said to be wrong with it."""

    # --- for programs ----------------------------------------------------------------------------

    async def add(
        self,
        name: str,
        command_set: CommandSet,
        *,
        cron: str | None = None,
        every_s: float | None = None,
        timezone: str = "UTC",
        overlap: str = "skip",
        catch_up: str = "none",
        jitter_s: float = 0.0,
    ) -> Scheduled:
        """Keep a schedule in the journal; its occurrences from now on become runs.

        Adding the same again changes nothing, so that a program may do it at each start; another
        one of this name is replaced, and what was decided stays decided.

        Args:
            cron: Minute, hour, day of the month, month, day of the week.
            every_s: Seconds between occurrences, which are the multiples since the epoch, UTC.
            timezone: The zone of ``cron``, as ``Europe/Berlin``.
            overlap: Where the last run goes on: ``skip`` this one, ``queue`` it behind that run, or
                ``allow`` both.
            catch_up: Of those that nobody was there for: ``none``, the newest ``one``, or ``all``
                become runs.
            jitter_s: Start up to so many seconds late.

        Raises: CommandError, InvalidCommandSet, Busy, JournalError.
        """
        journal = self._journal()
        schedule = schedule_of(
            name,
            self._take_in(command_set),
            cron=cron,
            every_s=every_s,
            timezone=timezone,
            overlap=overlap,
            catch_up=catch_up,
            jitter_s=jitter_s,
        )
        await keep(journal, schedule, self._clock.wall_ns())
        self._wake()
        return next(one for one in await listed(journal) if one.schedule.name == name)

    async def list(self) -> list[Scheduled]:
        """Read all schedules of the journal, by name."""
        return await listed(self._journal())

    async def remove(self, name: str) -> bool:
        """Drop a schedule; False if there is none. Its runs go on."""
        return await self._journal().remove_schedule(name)

    # --- the task --------------------------------------------------------------------------------

    def start(self) -> None:
        """Look now, and from now on."""
        self._is_closing = False
        self._task = asyncio.create_task(self._serve(), name="tandem-schedules")

    async def close(self) -> None:
        """Fire nothing any more."""
        self._is_closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=CLOSE_S)

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    async def _serve(self) -> None:
        is_well = True
        while not self._is_closing:
            pause_s = LOOK_S
            self._changed = asyncio.get_running_loop().create_future()
            try:
                pause_s = await self.look()
                is_well = True
            except Closed:
                return
            except (JournalError, OSError) as error:
                if is_well:
                    _log.warning("schedules cannot be read: %s", error)
                is_well = False
            await settled_within(self._changed, pause_s, self._clock)

    async def look(self) -> float:
        """Decide what is due; gives the seconds until there may be more to do."""
        journal, pause_ns = self._journal(), int(LOOK_S * 1e9)
        rows = await journal.schedules()
        for row in rows:
            if self._is_closing:
                break
            try:
                pause_ns = min(pause_ns, await self._decide(journal, row))
            except Closed:
                raise
            except (TandemError, msgspec.MsgspecError, TypeError, ValueError) as error:
                self._tell(row.name, f"{type(error).__name__}: {error}")
        names = {row.name for row in rows}
        self._on_time = {name: at for name, at in self._on_time.items() if name in names}
        self._told = {name: what for name, what in self._told.items() if name in names}
        return max(pause_ns, 1_000_000) / 1e9

    def _tell(self, name: str, what: str) -> None:
        if self._told.get(name) != what:
            _log.warning("schedule '%s' was not fired here: %s", name, what)
            self._told[name] = what

    async def _decide(self, journal: Journal, row: ScheduleRow) -> int:
        """Decide the next occurrence if it is due; gives nanoseconds until the next look at it."""
        schedule, now_ns = Schedule.from_body(row.name, row.body), self._clock.wall_ns()
        at_ns = schedule.next_ns(row.done_ns)
        due_ns = at_ns + schedule.jitter_ns(at_ns)
        if due_ns > now_ns:
            return due_ns - now_ns
        late_ns = now_ns - GRACE_NS - (due_ns - at_ns)
        ended_ns = await self._last_end(journal, row)
        is_on_time = at_ns >= late_ns or self._on_time.get(row.name) == at_ns
        if schedule.overlap == "queue" and (ended_ns is None or ended_ns >= at_ns):
            is_on_time = True  # The run before it went on at that time: it has waited in line.
        if is_on_time:
            self._on_time[row.name] = at_ns
        elif schedule.catch_up != "all":
            last_ns, count = schedule.last_until(at_ns, late_ns, MISSED_A_LOOK)
            is_last = schedule.next_ns(last_ns) > late_ns
            if schedule.catch_up == "none" or not is_last:
                return await self._leave_out(journal, row, last_ns, count)
            if count > 1:
                before_ns, _ = schedule.last_until(at_ns, last_ns - 1, MISSED_A_LOOK)
                return await self._leave_out(journal, row, before_ns, count - 1)
        if ended_ns is None and schedule.overlap != "allow":
            # One that was missed and is to be caught up with does not get lost by the next.
            if schedule.overlap == "skip" and is_on_time:
                return await self._leave_out(journal, row, at_ns, 1)
            return int(LOOK_S * 1e9)
        return await self._fire(journal, row, schedule, at_ns)

    async def _last_end(self, journal: Journal, row: ScheduleRow) -> int | None:
        """Give when the schedule's last run ended; None while it goes on, 0 where there is none."""
        last = None if row.last_run is None else await journal.run(row.last_run)
        return 0 if last is None else last.finished_at_ns

    async def _leave_out(self, journal: Journal, row: ScheduleRow, at_ns: int, count: int) -> int:
        if await journal.claim_occurrence(row.name, done_ns=row.done_ns, at_ns=at_ns):
            await journal.settle_occurrence(row.name, at_ns=at_ns, left_out=count)
            _log.info("schedule '%s': %d occurrence(s) were left out", row.name, count)
            return 0
        return int(LOOK_S * 1e9)

    async def _fire(
        self, journal: Journal, row: ScheduleRow, schedule: Schedule, at_ns: int
    ) -> int:
        key = schedule_key(row.name, at_ns)
        command_set = replace(from_document(schedule.document), idempotency_key=key)
        try:
            self._take_in(command_set)
        except (CommandError, LayerUnavailable) as error:
            self._tell(row.name, f"{type(error).__name__}: {error}")
            return int(LOOK_S * 1e9)  # Somebody else may have what it needs.
        if not await journal.claim_occurrence(row.name, done_ns=row.done_ns, at_ns=at_ns):
            return int(LOOK_S * 1e9)
        try:
            run_id = (await self._submit(command_set)).id
        except IdempotencyMismatch:
            # An owner that died had fired it before the schedule was changed.
            use = await journal.find_by_idempotency_key(key)
            if use is None:
                raise
            run_id = use.run_id
        await journal.settle_occurrence(row.name, at_ns=at_ns, run_id=run_id)
        self._told.pop(row.name, None)
        return 0
