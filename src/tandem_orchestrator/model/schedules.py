"""Schedules: what runs when, and which moments that means.

An occurrence is a moment that a schedule names; they follow from the schedule alone, so that every
process finds the same ones. Cron expressions are read by cronsim (BSD), which keeps to what Debian's
cron does when clocks change: a time of day that is skipped counts at the end of the gap, one that
comes twice counts the first time. Where minute or hour begin with ``*`` the expression names a
rhythm, and every moment counts whose wall clock matches, also in an hour that comes twice.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any

from tandem_orchestrator.errors import CommandError

OVERLAPS = ("skip", "queue", "allow")
"""What an occurrence does while the schedule's last run goes on."""
CATCH_UPS = ("none", "one", "all")
"""Which of the occurrences that nobody was there for become runs later."""
EVERY_S_MIN, EVERY_S_MAX = 1.0, 366 * 86_400.0
"""Seconds that an interval may have."""
JITTER_S_MAX = 86_400.0
"""Seconds of jitter."""
NAME_CHARS_MAX = 200
"""Characters of a schedule's name."""

_SECOND_NS = 10**9
_CHANGES_MAX = 1_000
"""Changes of a zone's offset that are crossed on the way to one occurrence."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule. Make it with ``checked_schedule``."""

    name: str
    # Any: a command set as a document.
    document: Mapping[str, Any] = field(repr=False)
    """The command set as plain data, without an id."""
    cron: str | None = None
    """Five fields: minute, hour, day of the month, month, day of the week."""
    every_s: float | None = None
    """Seconds; occurrences are the multiples since 1970-01-01T00:00:00Z."""
    timezone: str = "UTC"
    """IANA name of the zone that ``cron`` is read in."""
    overlap: str = "skip"
    """One of ``OVERLAPS``."""
    catch_up: str = "none"
    """One of ``CATCH_UPS``."""
    jitter_s: float = 0.0
    """Each run starts up to so many seconds late; how many follows from name and time."""

    # Any: plain data.
    def to_body(self) -> dict[str, Any]:
        """Give what the journal keeps: all but the name."""
        return {part.name: getattr(self, part.name) for part in fields(self)[1:]}

    @classmethod
    def from_body(cls, name: str, body: Mapping[str, Any]) -> Schedule:
        """Make it from what the journal kept; what a newer Tandem added is left out."""
        known = {part.name for part in fields(cls)}
        return cls(name, **{key: value for key, value in body.items() if key in known})

    def next_ns(self, after_ns: int) -> int:
        """Give the first occurrence after a moment, in nanoseconds since the epoch.

        Raises: CommandError if this machine cannot read ``cron`` or ``timezone``.
        """
        if self.every_s is not None:
            every_ns = round(self.every_s * _SECOND_NS)
            return (after_ns // every_ns + 1) * every_ns
        assert self.cron is not None
        return _next_cron_ns(self.cron, self.timezone, after_ns // _SECOND_NS)

    def jitter_ns(self, at_ns: int) -> int:
        """Give how late the run of an occurrence starts; the same in every process."""
        if not self.jitter_s:
            return 0
        digest = hashlib.blake2b(f"{self.name}/{at_ns}".encode(), digest_size=8).digest()
        return int(int.from_bytes(digest) / 2**64 * self.jitter_s * _SECOND_NS)

    def last_until(self, first_ns: int, until_ns: int, limit: int) -> tuple[int, int]:
        """Give the last occurrence from ``first_ns`` to ``until_ns``, and how many that are.

        Of a cron expression at most ``limit`` are walked through.
        """
        if self.every_s is not None:
            every_ns = round(self.every_s * _SECOND_NS)
            more = max(until_ns - first_ns, 0) // every_ns
            return first_ns + more * every_ns, more + 1
        last_ns, count = first_ns, 1
        while count < limit and (next_ns := self.next_ns(last_ns)) <= until_ns:
            last_ns, count = next_ns, count + 1
        return last_ns, count


# Any: a document, and whatever a caller gave for the rest.
def checked_schedule(
    name: str,
    document: Mapping[str, Any],
    *,
    cron: str | None,
    every_s: float | None,
    timezone: str,
    overlap: str,
    catch_up: str,
    jitter_s: float,
) -> Schedule:
    """Make a schedule.

    Raises: CommandError naming what is wrong, the value and what is expected.
    """
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise CommandError(
            f"schedule {name!r}: a name has 1 to {NAME_CHARS_MAX} printable characters"
        )
    where = f"schedule '{name}'"
    if (cron is None) == (every_s is None):
        raise CommandError(f"{where}: give either cron or every_s")
    if every_s is not None:
        _number(where, "every_s", every_s, EVERY_S_MIN, EVERY_S_MAX)
    _number(where, "jitter_s", jitter_s, 0.0, JITTER_S_MAX)
    for key, value, words in (("overlap", overlap, OVERLAPS), ("catch_up", catch_up, CATCH_UPS)):
        if value not in words:
            raise CommandError(f"{where}: {key}={value!r}, must be one of {', '.join(words)}")
    _zone(where, timezone)
    made = Schedule(
        name,
        {key: value for key, value in document.items() if key != "id"},
        cron,
        None if every_s is None else float(every_s),
        timezone,
        overlap,
        catch_up,
        float(jitter_s),
    )
    if cron is not None:
        _check_cron(where, made)
    return made


def _number(where: str, key: str, value: object, low: float, high: float) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type, operator]
        raise CommandError(f"{where}: {key}={value!r}, must be a number from {low:g} to {high:g}")


def _zone(where: str, name: str) -> tzinfo:
    from zoneinfo import ZoneInfo

    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise CommandError(
            f"{where}: timezone={name!r} is not in this machine's time zone data; an IANA name, "
            "such as Europe/Berlin, is expected"
        ) from error


def _check_cron(where: str, schedule: Schedule) -> None:
    cron = schedule.cron
    expected = "five fields: minute, hour, day of the month, month, day of the week"
    if not isinstance(cron, str) or len(cron.split()) != 5:
        raise CommandError(f"{where}: cron={cron!r}, must have {expected}")
    try:
        schedule.next_ns(0)
    except CommandError as error:
        raise CommandError(f"{where}: {error}; it must have {expected}") from error


@lru_cache(maxsize=1024)
def _next_cron_ns(cron: str, zone_name: str, after_s: int) -> int:
    from cronsim import CronSimError

    after = datetime.fromtimestamp(after_s, UTC)
    zone = _zone(f"cron {cron!r}", zone_name)
    minute, hour, *_ = cron.split()
    is_rhythm = minute.startswith("*") or hour.startswith("*")
    try:
        found = _rhythm(cron, zone, after) if is_rhythm else _time_of_day(cron, zone, after)
    except (CronSimError, StopIteration, OverflowError) as error:
        raise CommandError(f"cron={cron!r}: {str(error) or 'it names no moment'}") from error
    return int(found.timestamp()) * _SECOND_NS


def _time_of_day(cron: str, zone: tzinfo, after: datetime) -> datetime:
    from cronsim import CronSim

    moments = CronSim(cron, after.astimezone(zone))
    # In the second pass of an hour that comes twice, what it names first is over already.
    while (found := next(moments).astimezone(UTC)) <= after:
        pass
    return found


def _rhythm(cron: str, zone: tzinfo, after: datetime) -> datetime:
    """Walk from one change of the zone's offset to the next; between two the wall clock is even."""
    from cronsim import CronSim

    start, offset = after, _offset(zone, after)
    for _ in range(_CHANGES_MAX):
        found = next(CronSim(cron, start.astimezone(timezone(offset)))).astimezone(UTC)
        change = _change(zone, start, found, offset)
        if change is None:
            return found
        start, offset = change - timedelta(seconds=1), _offset(zone, change)
    raise OverflowError(f"no moment within {_CHANGES_MAX} changes of the clock")


def _offset(zone: tzinfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def _change(zone: tzinfo, start: datetime, end: datetime, offset: timedelta) -> datetime | None:
    """Give the first moment after ``start``, up to ``end``, with another offset; to the second."""
    low = start + timedelta(seconds=1)
    if _offset(zone, low) != offset:
        return low
    while low < end:
        high = min(low + timedelta(days=1), end)
        if _offset(zone, high) != offset:
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
                low, high = (low, middle) if _offset(zone, middle) != offset else (middle, high)
            return high
        low = high
    return None
