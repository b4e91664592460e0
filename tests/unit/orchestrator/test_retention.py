"""Old runs go by themselves, and by what the settings say at that moment."""

import asyncio
import logging
from pathlib import Path

import pytest

from tandem_orchestrator import Settings
from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal import MemoryJournal
from tandem_orchestrator.model.events import RunEnded
from tandem_orchestrator.orchestrator.retention import BATCH_PAUSE_S, LOOK_S, Retention
from tandem_orchestrator.testing.clock import FakeClock, settle
from tandem_orchestrator.testing.journal_events import accepted

DAY_S = 86_400


class World:
    """A journal with one run a day for a hundred days, and a clock at the end of them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.config = Settings.load({}, environ={}, cwd=Path.cwd()).as_config()
        self.journal = MemoryJournal()
        self.retention = Retention(self.journal, lambda: self.config.settings, self.clock)

    async def begin(self) -> None:
        await self.journal.open("owner-a")
        for age in range(100):
            at_ns = self.clock.wall_ns() - age * DAY_S * 10**9
            events = [accepted(f"r{age:02}", at_ns=at_ns), RunEnded(at_ns=at_ns, status="failed")]
            await self.journal.append(f"r{age:02}", events, "group").durable()

    async def left(self) -> int:
        return len(await self.journal.runs(limit=1000))


@pytest.fixture
async def world():
    world = World()
    await world.begin()
    yield world
    await world.retention.close()
    await world.journal.close()


async def test_nothing_goes_until_a_bound_is_set_and_it_counts_at_the_next_look(
    world: World,
) -> None:
    world.retention.start()
    await world.clock.advance(10 * LOOK_S)
    assert await world.left() == 100

    world.config["journal"]["keep_days"] = 9.5
    await world.clock.advance(LOOK_S + 4 * BATCH_PAUSE_S)
    assert await world.left() == 10


async def test_runs_go_as_they_grow_old(world: World) -> None:
    world.config["journal"]["keep_days"] = 99.5
    world.retention.start()
    await settle()
    assert await world.left() == 100
    await world.clock.advance(DAY_S)
    assert await world.left() == 99


async def test_batches_leave_room_between_them(world: World) -> None:
    world.config["journal"]["keep_days"] = 0
    world.retention.start()
    await settle()
    assert 50 <= await world.left() < 100
    await world.clock.advance(4 * BATCH_PAUSE_S)
    assert await world.left() <= 1  # the newest ended at this very moment


async def test_a_journal_that_fails_is_told_once_and_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(**_) -> int:
        raise JournalError("the disk is full")

    world.config["journal"]["keep_days"] = 9.5
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(world.journal, "remove_runs", fail)
        world.retention.start()
        await world.clock.advance(5 * LOOK_S)
    assert [record.getMessage() for record in caplog.records] == [
        "old runs cannot be removed: the disk is full"
    ]
    await world.clock.advance(LOOK_S + 4 * BATCH_PAUSE_S)
    assert await world.left() == 10


async def test_closing_ends_it_in_the_middle_of_a_look(world: World) -> None:
    world.config["journal"]["keep_days"] = 0
    world.retention.start()
    await settle()
    await world.retention.close()
    assert not [t for t in asyncio.all_tasks() if t.get_name() == "tandem-retention"]
    assert world.clock.armed == 0
