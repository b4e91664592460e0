"""Schedules on a clock that the test moves: nothing missed, nothing doubled, whoever fires."""

import asyncio
import logging
from collections import Counter
from datetime import UTC, datetime

import pytest

from tandem_orchestrator.errors import Busy, IdempotencyMismatch, InvalidCommandSet
from tandem_orchestrator.journal import MemoryJournal, MemoryStore, schedule_key
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.events import RunEnded, RunStarted
from tandem_orchestrator.orchestrator.intake import Intake
from tandem_orchestrator.orchestrator.schedules import Schedules
from tandem_orchestrator.testing.clock import FakeClock, settle
from tandem_orchestrator.testing.journal_events import accepted

SECOND_NS = 10**9
HOUR = 3600


@pytest.fixture(autouse=True)
def _looks_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A day of looks for other programs' schedules takes long; what is due is met on time anyway."""
    monkeypatch.setattr("tandem_orchestrator.orchestrator.schedules.LOOK_S", 40.0)


class JumpingClock(FakeClock):
    """A clock whose wall time can be set, as by a person or NTP."""

    def __init__(self, at: datetime) -> None:
        super().__init__(int(at.timestamp()) * SECOND_NS - SECOND_NS)
        self.jump_ns = 0

    def wall_ns(self) -> int:
        return super().wall_ns() + self.jump_ns


class Started:
    """The handle of a run."""

    def __init__(self, id: str) -> None:
        self.id = id


def a_set(name: str = "docs") -> CommandSet:
    steps = [CommandStep(id="a", agent="system", action="noop", payload={})]
    return CommandSet(name=name, steps=steps)


class World:
    """Programs that share a journal and a clock; runs end when the test says so."""

    def __init__(self, at: datetime = datetime(2026, 6, 1, tzinfo=UTC)) -> None:
        self.clock = JumpingClock(at)
        self.store = MemoryStore(wall_ns=self.clock.wall_ns)
        self.fired: list[datetime] = []
        self.keys: list[str] = []
        self.run_ids: list[str] = []
        self.ends_at_once = True
        self.refuse: Exception | None = None
        self.programs: list[Program] = []

    async def program(self) -> "Program":
        program = Program(self, f"owner-{len(self.programs)}")
        await program.journal.open(program.owner)
        self.programs.append(program)
        return program

    async def close(self) -> None:
        for program in self.programs:
            await program.stop()

    def times(self) -> list[str]:
        """When the occurrences were that became runs, by their keys."""
        return [key.rsplit("/", 1)[1][:19] for key in self.keys]


class Program:
    def __init__(self, world: World, owner: str) -> None:
        self.world, self.owner = world, owner
        self.journal = MemoryJournal(world.store)
        self.can_run = True
        self.schedules = Schedules(lambda: self.journal, self.take_in, self.submit, world.clock)

    def take_in(self, command_set: CommandSet) -> Intake:
        if not self.can_run:
            raise InvalidCommandSet("there is no agent 'system'")
        document = {
            "id": command_set.id,
            "name": command_set.name,
            "steps": [
                {"id": s.id, "agent": s.agent, "action": s.action} for s in command_set.steps
            ],
        }
        return Intake(command_set, None, document, True, {}, {})

    async def submit(self, command_set: CommandSet) -> Started:
        world, key = self.world, command_set.idempotency_key
        await asyncio.sleep(0)
        if world.refuse is not None:
            raise world.refuse
        use = await self.journal.find_by_idempotency_key(key)
        if use is not None:
            return Started(use.run_id)
        run_id, at_ns = f"r{len(world.run_ids)}", world.clock.wall_ns()
        world.fired.append(datetime.fromtimestamp(at_ns / SECOND_NS, UTC))
        world.keys.append(key)
        world.run_ids.append(run_id)
        first = accepted(run_id, idempotency_key=key, at_ns=at_ns)
        await self.journal.append(run_id, [first, RunStarted(at_ns=at_ns)], "group").durable()
        if world.ends_at_once:
            await self.end(run_id)
        return Started(run_id)

    async def end(self, run_id: str) -> None:
        last = RunEnded(at_ns=self.world.clock.wall_ns(), status="completed")
        await self.journal.append(run_id, [last], "group").durable()

    async def stop(self) -> None:
        await self.schedules.close()
        await self.journal.close()


@pytest.fixture
async def world():
    world = World()
    yield world
    await world.close()


async def test_each_occurrence_becomes_one_run_at_its_time(world: World) -> None:
    one = await world.program()
    one.schedules.start()
    await one.schedules.add("s", a_set(), cron="*/10 * * * *")
    await world.clock.advance(HOUR + 30)

    assert world.times() == [f"2026-06-01T00:{m:02}:00" for m in range(10, 60, 10)] + [
        "2026-06-01T01:00:00"
    ]
    late = [at.second + at.microsecond / 1e6 for at in world.fired]
    assert max(late) < 0.1


@pytest.mark.parametrize("programs", [1, 8])
async def test_a_day_of_several_schedules_in_eight_programs_misses_and_doubles_nothing(
    world: World, programs: int
) -> None:
    all_of_them = [await world.program() for _ in range(programs)]
    await all_of_them[0].schedules.add("quarter", a_set(), every_s=900)
    await all_of_them[0].schedules.add(
        "berlin", a_set(), cron="30 2 * * *", timezone="Europe/Berlin"
    )
    await all_of_them[-1].schedules.add("hourly", a_set(), cron="0 * * * *", jitter_s=300)
    for program in all_of_them:
        program.schedules.start()
    await world.clock.advance(24 * HOUR + 400)

    assert Counter(key.split("/")[1] for key in world.keys) == {
        "quarter": 96,
        "berlin": 1,
        "hourly": 24,
    }
    assert len(set(world.keys)) == len(world.keys)
    rows = {row.name: row for row in await all_of_them[0].journal.schedules()}
    assert {name: (row.fired, row.left_out) for name, row in rows.items()} == {
        "quarter": (96, 0),
        "berlin": (1, 0),
        "hourly": (24, 0),
    }


@pytest.mark.parametrize(
    ("zone", "begin"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 0, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2026, 10, 3, 0, tzinfo=UTC)),
    ],
)
async def test_a_change_of_the_clocks_misses_and_doubles_no_day_and_no_half_hour(
    zone: str, begin: datetime
) -> None:
    world = World(begin)
    one = await world.program()
    await one.schedules.add("daily", a_set(), cron="15 2 * * *", timezone=zone)
    await one.schedules.add("half", a_set(), cron="*/30 * * * *", timezone=zone)
    one.schedules.start()
    await world.clock.advance(48 * HOUR + 1)
    await world.close()

    names = Counter(key.split("/")[1] for key in world.keys)
    assert names == {"daily": 2, "half": 96}


async def test_what_nobody_was_there_for_is_left_out_or_caught_up_with(world: World) -> None:
    one = await world.program()
    for catch_up in ("none", "one", "all"):
        await one.schedules.add(catch_up, a_set(), cron="0 * * * *", catch_up=catch_up)
    await world.clock.advance(5 * HOUR + 600)  # nothing was started
    one.schedules.start()
    await world.clock.advance(120)

    by_name = {
        name: [t for k, t in zip(world.keys, world.times(), strict=True) if k.split("/")[1] == name]
        for name in ("none", "one", "all")
    }
    hours = [f"2026-06-01T0{hour}:00:00" for hour in range(1, 6)]
    assert by_name == {"none": [], "one": hours[-1:], "all": hours}
    rows = {row.name: (row.fired, row.left_out) for row in await one.journal.schedules()}
    assert rows == {"none": (0, 5), "one": (1, 4), "all": (5, 0)}
    await world.clock.advance(HOUR)
    assert world.times()[-3:] == ["2026-06-01T06:00:00"] * 3


async def test_a_long_absence_is_left_out_without_walking_it_in_one_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tandem_orchestrator.orchestrator.schedules.MISSED_A_LOOK", 100)
    one = await world.program()
    await one.schedules.add("minutely", a_set(), cron="* * * * *", catch_up="one")
    await one.schedules.add("secondly", a_set(), every_s=1)
    await world.clock.advance(10 * HOUR)
    one.schedules.start()
    await world.clock.advance(100)

    rows = {row.name: row for row in await one.journal.schedules()}
    assert (rows["minutely"].fired, rows["minutely"].left_out) == (3, 598)  # 09:59, 10:00 and 10:01
    assert rows["secondly"].fired + rows["secondly"].left_out == 10 * HOUR + 100


@pytest.mark.parametrize(
    ("overlap", "fired", "left_out"), [("skip", 1, 3), ("queue", 1, 0), ("allow", 4, 0)]
)
async def test_an_occurrence_meets_a_run_that_goes_on(
    world: World, overlap: str, fired: int, left_out: int
) -> None:
    one = await world.program()
    world.ends_at_once = False
    await one.schedules.add("s", a_set(), cron="0 * * * *", overlap=overlap)
    one.schedules.start()
    await world.clock.advance(4 * HOUR + 1)

    (row,) = await one.journal.schedules()
    assert (row.fired, row.left_out) == (fired, left_out)

    world.ends_at_once = True
    for run_id in list(world.run_ids):
        await one.end(run_id)
    await world.clock.advance(100)
    (row,) = await one.journal.schedules()
    if overlap == "queue":  # All that waited in line, one behind the other.
        assert world.times() == [f"2026-06-01T0{hour}:00:00" for hour in range(1, 5)]
        assert (row.fired, row.left_out) == (4, 0)
    await world.clock.advance(HOUR)
    assert world.times()[-1] == "2026-06-01T05:00:00"


async def test_a_clock_that_is_set_back_doubles_nothing(world: World) -> None:
    one = await world.program()
    await one.schedules.add("s", a_set(), cron="*/10 * * * *")
    one.schedules.start()
    await world.clock.advance(HOUR)
    assert len(world.keys) == 6

    world.clock.jump_ns -= 30 * 60 * SECOND_NS
    await world.clock.advance(30 * 60 - 50)
    assert len(world.keys) == 6
    await world.clock.advance(2 * HOUR + 51)
    assert len(world.keys) == len(set(world.keys)) == 18


@pytest.mark.parametrize(("catch_up", "runs"), [("all", 24), ("one", 7), ("none", 6)])
async def test_a_clock_that_is_set_forward_counts_as_an_absence(
    world: World, catch_up: str, runs: int
) -> None:
    one = await world.program()
    await one.schedules.add("s", a_set(), cron="*/10 * * * *", catch_up=catch_up)
    one.schedules.start()
    await world.clock.advance(HOUR / 2)
    world.clock.jump_ns += (3 * HOUR + 300) * SECOND_NS
    await world.clock.advance(HOUR / 2 - 300)

    assert len(set(world.keys)) == len(world.keys) == runs
    (row,) = await one.journal.schedules()
    assert row.fired + row.left_out == 24


async def test_where_the_claimer_dies_another_fires_and_never_a_second_time(world: World) -> None:
    one, two = await world.program(), await world.program()
    await one.schedules.add("s", a_set(), cron="0 * * * *")
    (row,) = await one.journal.schedules()
    at_ns = int(datetime(2026, 6, 1, 1, tzinfo=UTC).timestamp()) * SECOND_NS
    await world.clock.advance(HOUR)
    assert await one.journal.claim_occurrence("s", done_ns=row.done_ns, at_ns=at_ns)
    command_set = a_set()
    command_set.idempotency_key = schedule_key("s", at_ns)
    run = await one.submit(command_set)  # It fired, and did not live to say so.
    two.schedules.start()
    await world.clock.advance(100)
    assert (await two.journal.schedules())[0].fired == 0

    await one.journal.close()
    await world.clock.advance(100)

    (row,) = await two.journal.schedules()
    assert (row.fired, row.last_run, len(world.keys)) == (1, run.id, 1)


async def test_a_full_engine_delays_an_occurrence_and_loses_none(world: World) -> None:
    one = await world.program()
    await one.schedules.add("s", a_set(), cron="0 * * * *")
    one.schedules.start()
    world.refuse = Busy("max_queued_runs=1")
    await world.clock.advance(HOUR + 600)
    assert world.keys == []
    world.refuse = None
    await world.clock.advance(60)
    assert world.times() == ["2026-06-01T01:00:00"]


async def test_who_lacks_the_agents_leaves_it_to_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    one = await world.program()
    await one.schedules.add("s", a_set(), cron="0 * * * *")
    one.can_run = False
    one.schedules.start()
    with caplog.at_level(logging.WARNING):
        await world.clock.advance(HOUR + 30)
    assert world.keys == []
    assert len([r for r in caplog.records if "no agent 'system'" in r.getMessage()]) == 1

    two = await world.program()
    two.schedules.start()
    await settle()
    assert world.times() == ["2026-06-01T01:00:00"]


async def test_a_key_that_was_used_for_an_older_set_counts_as_fired(world: World) -> None:
    one = await world.program()
    await one.schedules.add("s", a_set(), cron="0 * * * *")
    at_ns = int(datetime(2026, 6, 1, 1, tzinfo=UTC).timestamp()) * SECOND_NS
    key = schedule_key("s", at_ns)
    await one.journal.append("old", [accepted("old", idempotency_key=key)], "group").durable()
    world.refuse = IdempotencyMismatch("used with another body")
    one.schedules.start()
    await world.clock.advance(HOUR + 5)
    (row,) = await one.journal.schedules()
    assert (row.last_run, row.fired) == ("old", 1)


async def test_one_damaged_schedule_holds_up_no_other(world: World) -> None:
    one = await world.program()
    await one.journal.put_schedule("bad", {"document": {}, "cron": "nonsense * * * *"}, 1)
    await one.schedules.add("good", a_set(), cron="0 * * * *")
    one.schedules.start()
    await world.clock.advance(HOUR + 5)
    assert world.times() == ["2026-06-01T01:00:00"]


async def test_the_same_again_changes_nothing_and_another_is_listed(world: World) -> None:
    one = await world.program()
    first = await one.schedules.add("s", a_set(), cron="0 * * * *", timezone="Europe/Berlin")
    await world.clock.advance(HOUR)
    again = await one.schedules.add("s", a_set(), cron="0 * * * *", timezone="Europe/Berlin")
    assert again == first
    assert first.to_value()["next_at"] == "2026-06-01T01:00:00.000000Z"
    other = await one.schedules.add("s", a_set(), every_s=7200)
    assert [each.schedule for each in await one.schedules.list()] == [other.schedule]
    assert other.to_value()["next_at"] == "2026-06-01T02:00:00.000000Z"
    assert await one.schedules.remove("s")
    assert not await one.schedules.remove("s")
    assert await one.schedules.list() == []


async def test_memory_stays_flat_over_a_day(world: World) -> None:
    one = await world.program()
    for n in range(20):
        await one.schedules.add(f"s{n}", a_set(), every_s=600)
    one.schedules.start()
    await world.clock.advance(24 * HOUR)
    assert len(world.keys) == 20 * 144
    assert len(one.schedules._on_time) == 20
    assert world.clock.armed <= 1
