"""A disk that fails: nothing acknowledged is lost, and nothing is acknowledged afterwards."""

import asyncio
from pathlib import Path

import pytest

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal import Control
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.model.events import RunStarted
from tandem_orchestrator.testing.journal_disk import FaultyDisk
from tandem_orchestrator.testing.journal_events import accepted, ended

FAULTS = [("write", False), ("write", True), ("sync", False), ("sync", True)]
NAMES = {False: "input/output error", True: "the disk is full; make room"}


@pytest.fixture
def disk():
    with FaultyDisk() as one:
        yield one


@pytest.mark.parametrize(("operation", "full"), FAULTS)
@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8, 13])
async def test_nothing_acknowledged_is_lost_when_the_disk_fails(
    tmp_path: Path, disk: FaultyDisk, operation: str, full: bool, after: int
) -> None:
    journal = SqliteJournal(tmp_path / "j.db", vfs=disk.name)
    await journal.open("owner-a")
    await journal.append("r", [accepted("r")], "group").durable()
    disk.fail(operation, full=full, after=after)
    kept = []
    for n in range(20):
        event = ended(f"s{n}", output=b"x" * 5_000)
        try:
            await journal.append("r", [event], "group").durable()
        except JournalError as error:
            assert NAMES[full] in str(error)  # noqa: PT017 - one of twenty fails, from then on all
        else:
            kept.append(event.step)

    assert len(kept) < 20
    health = journal.health()
    assert not health
    assert NAMES[full] in health.reason

    disk.heal()
    with pytest.raises(JournalError):
        await journal.append("r", [RunStarted()], "group").durable()
    with pytest.raises(JournalError):
        await journal.flush()
    await journal.close()

    await journal.open("owner-b")
    steps = [record.event.step for record in await journal.records("r", after=1)]
    assert steps[: len(kept)] == kept
    assert len(steps) <= len(kept) + 1  # the one whose outcome nobody knew, or not
    assert await journal.check() == []
    assert await journal.adopt("r")
    await journal.append("r", [ended("after")], "sync").durable()
    assert journal.health()
    await journal.close()


async def test_all_that_waits_in_the_commit_and_behind_it_fails(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    journal = SqliteJournal(tmp_path / "j.db", vfs=disk.name)
    await journal.open("owner-a")
    await journal.append("r", [accepted("r")], "group").durable()
    disk.stall()
    tickets = [journal.append("r", [ended("first")], "group")]
    assert await asyncio.to_thread(disk.reached.wait, 10)
    tickets += [journal.append("r", [ended(f"s{n}")], "group") for n in range(5)]
    disk.fail("sync")
    disk.go()

    results = await asyncio.gather(*(t.durable() for t in tickets), return_exceptions=True)

    # The stalled fsync itself goes through or not; all after it fail alike.
    assert {type(result) for result in results[1:]} == {JournalError}
    with pytest.raises(JournalError, match="input/output error"):
        await journal.append("r", [ended("x")], "async").durable()
    with pytest.raises(JournalError, match="input/output error"):
        await journal.request(Control(id="w", run_id="r", kind="cancel"))
    await journal.close()


async def test_a_control_that_could_not_be_written_stops_the_journal(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    journal = SqliteJournal(tmp_path / "j.db", vfs=disk.name)
    await journal.open("owner-a")
    await journal.append("r", [accepted("r")], "group").durable()
    disk.fail("sync")
    with pytest.raises(JournalError, match="input/output error"):
        await journal.request(Control(id="w", run_id="r", kind="cancel"))
    assert not journal.health()
    await journal.close()


async def test_a_disk_that_fails_at_opening_is_said_with_the_file(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    disk.fail("write", full=True)
    journal = SqliteJournal(tmp_path / "j.db", vfs=disk.name)
    with pytest.raises(JournalError, match=r"j\.db: cannot open it.*the disk is full"):
        await journal.open("owner-a")

    disk.heal()
    await journal.open("owner-a")
    await journal.append("r", [accepted("r")], "group").durable()
    await journal.close()
