"""Each call that a journal makes to its disk fails in turn: a typed error, no hang, nothing lost.

The journal lives a small life: it is opened, several runs are written and read, it is closed and
opened again. In each case one kind of call fails from its n-th time on, or that one time only.
"""

import asyncio
from pathlib import Path

import apsw
import pytest

from tandem_orchestrator.errors import Busy, JournalError
from tandem_orchestrator.journal import Control
from tandem_orchestrator.journal.sqlite import SqliteJournal, writer
from tandem_orchestrator.testing.journal_disk import OPERATIONS, FaultyDisk
from tandem_orchestrator.testing.journal_events import accepted, ended

WAIT_S = 20.0


async def live(path: Path, disk: FaultyDisk, kept: dict[str, int]) -> int:
    """Use a journal; note in ``kept`` what it acknowledged. Gives the number of refusals."""
    refused = 0
    for life in range(2):
        journal = SqliteJournal(path, vfs=disk.name)
        try:
            await journal.open(f"owner-{life}")
        except JournalError:
            refused += 1
            continue
        for n in range(4):
            run_id = f"r{life}-{n}"
            try:
                await journal.append(run_id, [accepted(run_id)], "group").durable()
                kept[run_id] = 1
                for k in range(3):
                    event = ended(f"s{k}", output=b"x" * 2000)
                    await journal.append(run_id, [event], "sync" if k else "group").durable()
                    kept[run_id] += 1
                await journal.request(Control(id=run_id, run_id=run_id, kind="cancel"))
                await journal.records(run_id)
                await journal.runs()
            except (JournalError, Busy):
                refused += 1
        try:
            await journal.close()
        except JournalError:
            refused += 1
    return refused


@pytest.fixture(autouse=True)
def short_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the log be copied into the file within the small life, too."""
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", 10)


async def lost_after(path: Path, kept: dict[str, int]) -> int:
    journal = SqliteJournal(path)
    await journal.open("after")
    try:
        lost = sum([n > len(await journal.records(run_id)) for run_id, n in kept.items()])
        assert await journal.check() == []
        await journal.append("after", [accepted("after")], "sync").durable()
    finally:
        await journal.close()
    return lost


async def moments(folder: Path, operation: str, count: int) -> list[int]:
    """Give up to ``count`` of the calls that a life without errors makes, spread evenly."""
    with FaultyDisk() as disk:
        assert await live(folder / "clean.db", disk, {}) == 0
        made = disk.met[operation]
    assert made > 0, "this call is never made"
    return sorted({made * n // count for n in range(count)})


@pytest.mark.parametrize("once", [True, False], ids=["once", "from then on"])
@pytest.mark.parametrize("full", [True, False], ids=["full", "broken"])
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_failing_call_is_a_typed_error_and_loses_nothing(
    tmp_path: Path, operation: str, full: bool, once: bool
) -> None:
    failures = refused = 0
    for after in await moments(tmp_path, operation, 6):
        path, kept = tmp_path / f"j{after}.db", dict[str, int]()
        with FaultyDisk() as disk:
            disk.fail(operation, full=full, after=after, once=once)
            refused += await asyncio.wait_for(live(path, disk, kept), WAIT_S)
            failures += disk.failures
            disk.heal()
        assert await asyncio.wait_for(lost_after(path, kept), WAIT_S) == 0
    assert failures > 0
    assert refused > 0 or once or operation in ("delete", "truncate")


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
async def test_every_failing_call_one_after_the_other(tmp_path: Path, operation: str) -> None:
    for after in await moments(tmp_path, operation, 200):
        path, kept = tmp_path / f"j{after}.db", dict[str, int]()
        with FaultyDisk() as disk:
            disk.fail(operation, after=after, once=bool(after % 2))
            await asyncio.wait_for(live(path, disk, kept), WAIT_S)
            disk.heal()
        assert await asyncio.wait_for(lost_after(path, kept), WAIT_S) == 0


async def test_the_same_look_finds_a_journal_that_overlooks_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = writer.Writer._write

    def overlooking(self: writer.Writer, batch: list[writer.Append]) -> list[JournalError | None]:
        try:
            return write(self, batch)
        except apsw.Error:
            return [None] * len(batch)

    monkeypatch.setattr(writer.Writer, "_write", overlooking)
    lost = 0
    for after in await moments(tmp_path, "write", 8):
        path, kept = tmp_path / f"j{after}.db", dict[str, int]()
        with FaultyDisk() as disk:
            disk.fail("write", after=after, once=True)
            await asyncio.wait_for(live(path, disk, kept), WAIT_S)
        try:
            lost += await lost_after(path, kept)
        except JournalError:
            lost += 1  # a hole in a run
    assert lost > 0
