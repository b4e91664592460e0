"""Power fails at any moment: every image opens, is sound, and has all that was acknowledged.

An image is what a disk may hold then: all that was synced, and any part of what was not. The same
harness on a journal that does not sync its commits must find losses.
"""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import pytest

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal import Control
from tandem_orchestrator.journal.sqlite import SqliteJournal, writer
from tandem_orchestrator.journal.sqlite.connection import connect_writer, prepare
from tandem_orchestrator.journal.sqlite.reading import faults_of, read_records
from tandem_orchestrator.model.events import RunEnded
from tandem_orchestrator.testing.journal_events import accepted, ended
from tandem_orchestrator.testing.journal_power import Operation, RecordingDisk, images

LIVES = 3
"""Times that the recorded journal is opened, used and closed."""


@dataclass
class Trace:
    """The life of a journal: what it asked of the disk, and what it acknowledged when."""

    operations: list[Operation]
    acknowledged: list[tuple[int, str, int]] = field(default_factory=list)
    """(moment, run, records of it)."""
    controls: list[tuple[int, str]] = field(default_factory=list)
    """(moment, id of a wish)."""


async def recorded(folder: Path, seed: int) -> Trace:
    """Use a journal on a recording disk: runs side by side, a wish now and then."""
    rng = random.Random(seed)
    with RecordingDisk() as disk:
        trace = Trace(disk.operations)

        async def work(journal: SqliteJournal, run_id: str, durability: str) -> None:
            await journal.append(run_id, [accepted(run_id)], durability).durable()
            trace.acknowledged.append((len(disk.operations), run_id, 1))
            for n in range(2, rng.randint(8, 30)):
                event = ended(f"s{n}", output=bytes(rng.randint(0, 3000)))
                await journal.append(run_id, [event], durability).durable()
                trace.acknowledged.append((len(disk.operations), run_id, n))
                if rng.random() < 0.1:
                    wish = Control(id=f"{run_id}-{n}", run_id=run_id, kind="cancel")
                    await journal.request(wish)
                    trace.controls.append((len(disk.operations), wish.id))
            if rng.random() < 0.5:
                end = RunEnded(status="completed", duration=1.0)
                await journal.append(run_id, [end], durability).durable()

        for life in range(LIVES):
            journal = SqliteJournal(folder / "j.db", vfs=disk.name)
            await journal.open(f"owner-{life}")
            async with asyncio.TaskGroup() as group:
                for n in range(4):
                    group.create_task(work(journal, f"r{life}-{n}", "sync" if n == 0 else "group"))
            await journal.close()
    return trace


def losses(trace: Trace, moment: int, folder: Path) -> int:
    """Open an image as a journal that comes after the cut does, and count what it lacks."""
    path = folder / "j.db"
    try:
        prepare(path, None)
        connection = connect_writer(path, None, 1.0)
    except JournalError as error:
        if "its log (-wal) was changed or damaged" in str(error):
            return 1  # commits that are not there any more, and somebody says so
        raise
    try:
        assert list(faults_of(connection, path)) == []
        newest = {run: n for at, run, n in trace.acknowledged if at <= moment}
        lost = sum(
            max(0, n - len(read_records(connection, path, run, 0, None)))
            for run, n in newest.items()
        )
        kept = {name for (name,) in connection.execute("SELECT id FROM controls")}
        lost += sum(at <= moment and name not in kept for at, name in trace.controls)
    finally:
        connection.close()
    return lost


def looked_at(trace: Trace, folder: Path, count: int, rng: random.Random) -> Iterator[int]:
    """Give what each of ``count`` images has lost."""
    moments = [rng.randint(0, len(trace.operations)) for _ in range(count)]
    for number, (moment, files) in enumerate(images(trace.operations, moments, rng)):
        place = folder / f"i{number % 8}"
        place.mkdir(exist_ok=True)
        for old in place.iterdir():
            if old.is_file():
                old.unlink()
        for name, data in files.items():
            (place / name).write_bytes(data)
        yield losses(trace, moment, place)


@pytest.fixture
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy the log into the file again and again, so that cuts meet checkpoints, too."""
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", 12)
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES_BUSY", 24)


COUNTS = [500, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(7200)])]


@pytest.mark.usefixtures("short_log")
@pytest.mark.parametrize("count", COUNTS)
async def test_every_image_opens_is_sound_and_lacks_nothing_acknowledged(
    tmp_path: Path, count: int
) -> None:
    looked = 0
    while looked < count:
        folder = tmp_path / f"t{looked}"
        folder.mkdir()
        trace = await recorded(folder, looked)
        part = min(count - looked, 250 if count <= 500 else 2000)
        assert sum(looked_at(trace, folder, part, random.Random(looked))) == 0
        looked += part


@pytest.mark.usefixtures("short_log")
async def test_the_same_harness_finds_a_journal_that_does_not_sync_its_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lazy(path: Path, vfs: str | None, lock_wait_s: float) -> apsw.Connection:
        connection = connect_writer(path, vfs, lock_wait_s)
        connection.pragma("synchronous", "normal")
        return connection

    monkeypatch.setattr(writer, "connect_writer", lazy)
    trace = await recorded(tmp_path, 1)

    assert sum(looked_at(trace, tmp_path, 100, random.Random(1))) > 0


async def test_an_image_after_a_sync_is_what_was_written(tmp_path: Path) -> None:
    trace = await recorded(tmp_path, 1)
    end = len(trace.operations)

    ((_, files),) = images(trace.operations, [end], random.Random(1))

    assert files == {"j.db": (tmp_path / "j.db").read_bytes()}
