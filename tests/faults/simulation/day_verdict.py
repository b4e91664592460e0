"""What a schedule did, held against when it was due."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from due_times import due_times

from tandem_orchestrator import CommandSet, CommandStep

LATE_S = 60 + 25
"""An occurrence that nobody was kept from starts so many seconds after its time at most."""
SHORT_S = 60.0
"""Runs of fewer seconds never keep the next one waiting."""


@dataclass(frozen=True)
class Drawn:
    """One schedule, and what its runs do."""

    name: str
    cron: str | None
    every_s: int | None
    zone: str
    overlap: str
    catch_up: str
    jitter_s: float
    seconds: float

    def command_set(self) -> CommandSet:
        """Make what it runs."""
        step = CommandStep(id="a", agent="day", action="work", payload={"s": self.seconds})
        return CommandSet(id="x", name=self.name, steps=[step])


@dataclass(frozen=True)
class Found:
    """What the journal says of one schedule."""

    row: Any
    """Its ``ScheduleRow``."""
    ran: Counter[int]
    """Occurrence (seconds since the epoch) to the runs with its key."""
    spans: list[tuple[int, int, int]]
    """(created, ended, occurrence) of each run; ns, ns, s."""


def wrongs_of(
    one: Drawn,
    found: Found,
    first_s: int,
    now_s: int,
    was_away: Callable[[int, int], bool],
    *,
    strict: bool = True,
) -> Iterator[str]:
    """Say what was missed, doubled, early, late, or left out for no reason.

    Args:
        first_s, now_s: When it was added, and the time now: wall clock, seconds.
        was_away: Whether somebody was kept from starting what was due at a time, give or take.
        strict: Whether time is exact; else lateness is nobody's fault.
    """
    row, ran = found.row, found.ran
    done_s = row.done_ns // 10**9
    due = due_times(one.cron, one.every_s, one.zone, first_s, max(done_s, now_s))
    where = f"{one.name} ({one.cron or one.every_s} {one.zone} {one.overlap}/{one.catch_up})"
    for t, times in ran.items():
        if times > 1:
            yield f"{where}: {_shown(t)} ran {times} times"
        if t not in due:
            yield f"{where}: {_shown(t)} ran and was never due"
    missing = [t for t in due if t <= done_s and t not in ran]
    if len(missing) != row.left_out:
        yield f"{where}: {len(missing)} did not run, {row.left_out} are said to be left out"
    if row.fired != sum(t <= done_s for t in ran):
        yield f"{where}: {len(ran)} ran, {row.fired} are said to have been fired"
    is_short, slack_s = one.seconds < SHORT_S, int(LATE_S + one.jitter_s)
    overdue = [t for t in due if done_s < t < now_s - (slack_s if strict else 1800)]
    if overdue and is_short:
        yield f"{where}: {_shown(overdue[0])} and {len(overdue) - 1} more are overdue"
    if one.catch_up == "all" and one.overlap != "skip" and missing:
        yield f"{where}: {_shown(missing[0])} was left out"
    for t in missing if strict and is_short else ():
        if not was_away(t, slack_s):
            yield f"{where}: {_shown(t)} was left out, and nothing was wrong then"
    for created_ns, _, t in found.spans:
        late_s = created_ns / 1e9 - t
        if late_s < 0:
            yield f"{where}: {_shown(t)} ran {-late_s:.0f} s too early"
        if strict and is_short and late_s > slack_s and not was_away(t, slack_s):
            yield f"{where}: {_shown(t)} ran {late_s:.0f} s late, and nothing was wrong"


def _shown(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()
