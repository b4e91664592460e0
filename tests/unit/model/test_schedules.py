"""Occurrences against an oracle that walks the clock minute by minute; and what is refused."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.model.schedules import Schedule, checked_schedule

SECOND_NS = 10**9
ZONES = ["Europe/Berlin", "Australia/Lord_Howe", "UTC", "America/New_York"]
AROUND = [
    datetime(2026, 3, 27, tzinfo=UTC),  # Berlin forward
    datetime(2026, 10, 23, tzinfo=UTC),  # Berlin back
    datetime(2026, 4, 3, tzinfo=UTC),  # Lord Howe back, by half an hour
    datetime(2026, 10, 2, tzinfo=UTC),  # Lord Howe forward
    datetime(2026, 3, 7, tzinfo=UTC),  # New York forward
    datetime(2026, 10, 31, tzinfo=UTC),  # New York back
]
DAYS = 4


def occurrences(schedule: Schedule, begin: datetime, end: datetime) -> list[datetime]:
    at_ns, found = int(begin.timestamp()) * SECOND_NS, []
    while True:
        at_ns = schedule.next_ns(at_ns)
        at = datetime.fromtimestamp(at_ns // SECOND_NS, UTC)
        if at > end:
            return found
        found.append(at)


def made(**parts) -> Schedule:
    usual = {"cron": None, "every_s": None, "timezone": "UTC", "overlap": "skip"}
    return checked_schedule("s", {}, **(usual | {"catch_up": "none", "jitter_s": 0.0} | parts))


def walked(zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    minutes = int((end - begin) / timedelta(minutes=1))
    return [begin + timedelta(minutes=n) for n in range(1, minutes + 1)]


@pytest.mark.parametrize("zone_name", ZONES)
@pytest.mark.parametrize("begin", AROUND)
@pytest.mark.parametrize(
    ("cron", "minutes", "hours"),
    [
        ("30 * * * *", {30}, set(range(24))),
        ("0 * * * *", {0}, set(range(24))),
        ("*/15 * * * *", {0, 15, 30, 45}, set(range(24))),
        ("*/20 1-3 * * *", {0, 20, 40}, {1, 2, 3}),
        ("* 2 * * *", set(range(60)), {2}),
        ("45 */2 * * *", {45}, set(range(0, 24, 2))),
    ],
)
def test_a_rhythm_counts_every_minute_whose_wall_clock_matches(
    zone_name: str, begin: datetime, cron: str, minutes: set[int], hours: set[int]
) -> None:
    zone, end = ZoneInfo(zone_name), begin + timedelta(days=DAYS)
    expected = [
        at
        for at in walked(zone, begin, end)
        if (local := at.astimezone(zone)).minute in minutes and local.hour in hours
    ]

    assert occurrences(made(cron=cron, timezone=zone_name), begin, end) == expected


@pytest.mark.parametrize("zone_name", ZONES)
@pytest.mark.parametrize("begin", AROUND)
@pytest.mark.parametrize(
    ("cron", "times"),
    [
        ("30 2 * * *", [(2, 30)]),
        ("0 2 * * *", [(2, 0)]),
        ("15 2 * * *", [(2, 15)]),
        ("45 1 * * *", [(1, 45)]),
        ("0 3 * * *", [(3, 0)]),
        ("0 1-4 * * *", [(1, 0), (2, 0), (3, 0), (4, 0)]),
        ("10,40 1,2 * * *", [(1, 10), (1, 40), (2, 10), (2, 40)]),
    ],
)
def test_a_time_of_day_counts_once_a_day_and_at_the_end_of_a_gap_if_it_is_skipped(
    zone_name: str, begin: datetime, cron: str, times: list[tuple[int, int]]
) -> None:
    zone, end = ZoneInfo(zone_name), begin + timedelta(days=DAYS)
    by_wall: dict[datetime, datetime] = {}
    for at in walked(zone, begin - timedelta(days=1), end + timedelta(days=2)):
        by_wall.setdefault(at.astimezone(zone).replace(tzinfo=None), at)  # the first time counts
    expected = set()
    first = begin.astimezone(zone).date() - timedelta(days=1)
    for day in range(DAYS + 3):
        for hour, minute in times:
            wall = datetime.combine(first + timedelta(days=day), datetime.min.time())
            wall = wall.replace(hour=hour, minute=minute)
            if wall > max(by_wall) or wall < min(by_wall):
                continue
            while wall not in by_wall:  # in a gap: the minute after it
                wall += timedelta(minutes=1)
            expected.add(by_wall[wall])

    found = occurrences(made(cron=cron, timezone=zone_name), begin, end)
    assert found == sorted(at for at in expected if begin < at <= end)


@pytest.mark.parametrize("zone_name", ["Europe/Berlin", "Australia/Lord_Howe"])
@pytest.mark.parametrize("cron", ["30 2 * * *", "*/20 1-3 * * *", "30 * * * *", "0 1-4 * * *"])
@pytest.mark.parametrize("begin", AROUND)
def test_where_one_starts_to_look_changes_nothing(
    zone_name: str, cron: str, begin: datetime
) -> None:
    schedule, end = made(cron=cron, timezone=zone_name), begin + timedelta(days=2)
    whole = occurrences(schedule, begin, end)

    for minutes in range(0, 2 * 24 * 60, 7):
        start = begin + timedelta(minutes=minutes)
        later = [at for at in whole if at > start]
        if later:
            at_ns = schedule.next_ns(int(start.timestamp()) * SECOND_NS)
            assert at_ns == int(later[0].timestamp()) * SECOND_NS


def test_an_interval_is_a_grid_that_no_start_moves() -> None:
    schedule = made(every_s=90)
    assert schedule.next_ns(0) == 90 * SECOND_NS
    assert schedule.next_ns(90 * SECOND_NS - 1) == 90 * SECOND_NS
    assert schedule.next_ns(90 * SECOND_NS) == 180 * SECOND_NS
    assert schedule.last_until(90 * SECOND_NS, 400 * SECOND_NS, 1) == (360 * SECOND_NS, 4)


def test_cron_occurrences_are_counted_up_to_a_limit() -> None:
    schedule = made(cron="0 * * * *")
    hour_ns = 3600 * SECOND_NS
    assert schedule.last_until(hour_ns, 5 * hour_ns + 1, 100) == (5 * hour_ns, 5)
    assert schedule.last_until(hour_ns, 5 * hour_ns + 1, 3) == (3 * hour_ns, 3)
    assert schedule.last_until(hour_ns, hour_ns + 1, 3) == (hour_ns, 1)


def test_jitter_is_the_same_everywhere_and_spread_over_its_range() -> None:
    schedule = made(every_s=60, jitter_s=30)
    drawn = [schedule.jitter_ns(n * 60 * SECOND_NS) for n in range(1000)]
    assert drawn == [schedule.jitter_ns(n * 60 * SECOND_NS) for n in range(1000)]
    assert 0 <= min(drawn) < SECOND_NS
    assert 29 * SECOND_NS < max(drawn) < 30 * SECOND_NS
    assert made(every_s=60).jitter_ns(60 * SECOND_NS) == 0


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "either cron or every_s"),
        ({"cron": "* * * * *", "every_s": 5}, "either cron or every_s"),
        ({"cron": "0 0 3 * * *"}, "five fields"),
        ({"cron": "61 * * * *"}, "Bad minute"),
        ({"cron": "0 0 30 2 *"}, "cron='0 0 30 2 \\*'"),
        ({"cron": "0 0 * *"}, "five fields"),
        ({"every_s": 0.5}, "every_s=0.5, must be a number from 1"),
        ({"every_s": float("nan")}, "every_s=nan"),
        ({"every_s": True}, "every_s=True"),
        ({"every_s": 5, "jitter_s": -1}, "jitter_s=-1"),
        ({"every_s": 5, "timezone": "Europe/Atlantis"}, "Europe/Berlin"),
        ({"every_s": 5, "timezone": "../etc/passwd"}, "IANA"),
        ({"every_s": 5, "overlap": "sometimes"}, "one of skip, queue, allow"),
        ({"every_s": 5, "catch_up": "some"}, "one of none, one, all"),
    ],
)
def test_what_names_no_moments_is_refused_by_name(parts: dict, said: str) -> None:
    with pytest.raises(CommandError, match=said) as refused:
        made(**parts)
    assert "schedule 's'" in str(refused.value)


def test_a_body_gives_the_schedule_back_and_leaves_out_what_is_new() -> None:
    schedule = checked_schedule(
        "s",
        {"id": "made up", "name": "docs"},
        cron="0 3 * * 1",
        every_s=None,
        timezone="Europe/Berlin",
        overlap="queue",
        catch_up="all",
        jitter_s=3,
    )
    assert schedule.document == {"name": "docs"}
    body = schedule.to_body()
    assert Schedule.from_body("s", body | {"colour": "red"}) == schedule
