"""When schedules are due, found the slow way: every minute is looked at, with ``zoneinfo`` alone.

It shares nothing with ``model/schedules.py``. The rules are those of the manual: an expression
whose minutes or hours begin with ``*`` is due at every moment whose wall clock it names, in both
passes of an hour that comes twice; any other names times of the day, each due once a day: in the
first pass, and at the change itself where the clock jumps over it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_MINUTE = timedelta(minutes=1)


def due_times(
    cron: str | None, every_s: int | None, zone_name: str, after_s: int, until_s: int
) -> list[int]:
    """Give every due time in (after, until], in seconds since the epoch."""
    if every_s is not None:
        return [t for t in range(after_s + 1, until_s + 1) if t % every_s == 0]
    assert cron is not None
    zone = ZoneInfo(zone_name)
    names = _matcher(cron)
    minute, hour, *_ = cron.split()
    if minute.startswith("*") or hour.startswith("*"):
        first = -(-(after_s + 1) // 60) * 60
        return [t for t in range(first, until_s + 1, 60) if names(_wall(t, zone))]
    found = set()
    wall = _wall((after_s // 60) * 60, zone) - timedelta(days=1)
    end = _wall(until_s, zone) + timedelta(days=1)
    while wall <= end:
        if names(wall):
            found.add(_moment(wall, zone))
        wall += _MINUTE
    return sorted(t for t in found if after_s < t <= until_s)


def _wall(at_s: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at_s, UTC).astimezone(zone).replace(tzinfo=None)


def _moment(wall: datetime, zone: ZoneInfo) -> int:
    """Give the first moment with this wall clock, or at which it is past for the first time."""
    naive_s = int(wall.replace(tzinfo=UTC).timestamp())
    for t in range(naive_s - 15 * 3600, naive_s + 15 * 3600, 60):
        if _wall(t, zone) >= wall:
            return t
    raise AssertionError(f"{wall} in {zone}")


def _matcher(cron: str) -> Callable[[datetime], bool]:
    minutes, hours, days, months, weekdays = (
        _values(text, low, high)
        for text, low, high in zip(cron.split(), (0, 0, 1, 1, 0), (59, 23, 31, 12, 7), strict=True)
    )
    any_day, any_weekday = (cron.split()[n].startswith("*") for n in (2, 4))

    def matches(at: datetime) -> bool:
        if at.minute not in minutes or at.hour not in hours or at.month not in months:
            return False
        day = at.day in days
        weekday = at.isoweekday() % 7 in {n % 7 for n in weekdays}
        return (day and weekday) if any_day or any_weekday else (day or weekday)

    return matches


def _values(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        found |= set(range(int(first), int(last or first) + 1, int(step or 1)))
    return found
