"""Group commit, bounds and failures, on a disk that stands still or fails when told to."""

import asyncio
import contextlib
from pathlib import Path

import apsw
import pytest

from tandem_orchestrator.errors import Busy, JournalError, NotAValue
from tandem_orchestrator.journal import Bounds
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.model.events import RunStarted, SegmentEnded, SegmentRow
from tandem_orchestrator.testing.journal_disk import FaultyDisk
from tandem_orchestrator.testing.journal_events import accepted, ended


@contextlib.asynccontextmanager
async def opened(path: Path, disk: FaultyDisk | None = None, **bounds):
    journal = SqliteJournal(path, vfs=disk.name if disk else None, bounds=Bounds(**bounds))
    await journal.open("owner-a")
    await journal.append("r", [accepted("r")], "group").durable()
    try:
        yield journal
    finally:
        await journal.close()


async def stalled(disk: FaultyDisk, journal: SqliteJournal, durability: str = "group"):
    """Append one event and come back when its commit stands still in fsync."""
    disk.stall()
    ticket = journal.append("r", [ended("first")], durability)
    assert await asyncio.to_thread(disk.reached.wait, 10)
    return ticket


async def test_an_append_that_comes_alone_is_one_commit_and_one_fsync(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        async with opened(tmp_path / "j.db", disk) as journal:
            for n in range(5):
                commits, syncs = journal.health().commits_total, disk.met["sync"]
                await journal.append("r", [ended(f"s{n}")], "group").durable()
                assert journal.health().commits_total == commits + 1
                assert disk.met["sync"] == syncs + 1


async def test_nothing_is_acknowledged_before_the_fsync_is_back(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        async with opened(tmp_path / "j.db", disk) as journal:
            ticket = await stalled(disk, journal)
            waiting = asyncio.ensure_future(ticket.durable())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(waiting), 0.02)
            assert [r.seq for r in await journal.records("r")] == [1]
            disk.go()
            await waiting


async def test_what_arrives_during_a_commit_forms_the_next_one(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        async with opened(tmp_path / "j.db", disk) as journal:
            await stalled(disk, journal)
            commits = journal.health().commits_total
            tickets = [journal.append("r", [ended(f"s{n}")], "group") for n in range(100)]
            disk.go()
            await asyncio.gather(*(ticket.durable() for ticket in tickets))
            assert journal.health().commits_total == commits + 2


async def test_a_commit_gathers_no_more_than_its_bound(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        async with opened(tmp_path / "j.db", disk, commit_events_max=10) as journal:
            await stalled(disk, journal)
            commits = journal.health().commits_total
            tickets = [journal.append("r", [ended(f"s{n}")], "group") for n in range(35)]
            disk.go()
            await asyncio.gather(*(ticket.durable() for ticket in tickets))
            assert journal.health().commits_total == commits + 1 + 4
            big = [ended(f"big{n}") for n in range(25)]
            await journal.append("r", big, "group").durable()
            assert len(await journal.records("r")) == 2 + 35 + 25


async def test_sync_has_a_commit_of_its_own_in_its_turn(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        async with opened(tmp_path / "j.db", disk) as journal:
            await stalled(disk, journal)
            commits = journal.health().commits_total
            kinds = ["group", "group", "sync", "sync", "group", "async"]
            tickets = [journal.append("r", [ended(f"s{n}")], k) for n, k in enumerate(kinds)]
            disk.go()
            await asyncio.gather(*(ticket.durable() for ticket in tickets))
            await journal.flush()
            # the one that stood still, two together, each sync alone, the last two together
            assert journal.health().commits_total == commits + 1 + 1 + 2 + 1
            units = [record.unit for record in await journal.records("r", after=2)]
            assert units == [f"s{n}/python" for n in range(6)]


async def test_async_is_acknowledged_at_once_and_gathers_company(tmp_path: Path) -> None:
    async with opened(tmp_path / "j.db", sync_interval_ms=60_000.0) as journal:
        commits = journal.health().commits_total
        for n in range(20):
            await journal.append("r", [ended(f"s{n}")], "async").durable()
            assert len(await journal.records("r")) == 1
        assert journal.health().commits_total == commits
        assert journal.health().backlog_events == 20

        # Somebody waits: what lingers goes along at once.
        await journal.append("r", [RunStarted()], "group").durable()
        assert journal.health().commits_total == commits + 1
        assert journal.health().backlog_events == 0
        assert [r.seq for r in await journal.records("r")] == list(range(1, 23))

        await journal.append("r", [ended("last")], "async").durable()
        await journal.flush()
        assert (await journal.records("r"))[-1].unit == "last/python"


async def test_closing_writes_what_lingers(tmp_path: Path) -> None:
    async with opened(tmp_path / "j.db", sync_interval_ms=60_000.0) as journal:
        await journal.append("r", [ended("s")], "async").durable()
    await journal.open("owner-b")
    assert (await journal.records("r"))[-1].unit == "s/python"
    await journal.close()


async def test_a_full_backlog_is_busy_by_name_and_nothing_of_it_is_queued(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        bounds = {"backlog_events_max": 5, "backlog_bytes_max": 10_000}
        async with opened(tmp_path / "j.db", disk, **bounds) as journal:
            await stalled(disk, journal)
            for n in range(4):
                journal.append("r", [ended(f"s{n}")], "async")
            with pytest.raises(Busy, match="backlog_events_max=5: 5 events wait"):
                journal.append("r", [ended("more")], "group")
            disk.go()
            await journal.flush()

            await stalled_again(disk, journal)
            with pytest.raises(Busy, match="backlog_bytes_max=10000"):
                journal.append("r", [ended("big", output=b"x" * 10_000)], "group")
            disk.go()
            await journal.flush()
            # Alone, one append may be larger than the backlog: else it could never be written.
            await journal.append("r", [ended("big", output=b"x" * 10_000)], "group").durable()
            assert len(await journal.records("r")) == 2 + 4 + 1 + 1


async def stalled_again(disk: FaultyDisk, journal: SqliteJournal) -> None:
    disk.stall()
    journal.append("r", [ended("second")], "group")
    assert await asyncio.to_thread(disk.reached.wait, 10)


async def test_an_event_that_is_too_large_is_not_a_value(tmp_path: Path) -> None:
    async with opened(tmp_path / "j.db", event_bytes_max=1_000) as journal:
        with pytest.raises(NotAValue, match="event_bytes_max"):
            journal.append("r", [ended("s", output=b"x" * 1_000)], "group")
        assert journal.health().ok


async def test_a_cancelled_waiter_does_not_cancel_the_others(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        async with opened(tmp_path / "j.db", disk) as journal:
            ticket = await stalled(disk, journal)
            one, two = (asyncio.ensure_future(ticket.durable()) for _ in range(2))
            await asyncio.sleep(0)
            one.cancel()
            disk.go()
            await two
            assert one.cancelled()


async def test_an_unwatched_refusal_is_logged(tmp_path: Path, caplog) -> None:
    async with opened(tmp_path / "j.db") as journal:
        journal.append("r", [ended("s")], "async")
        journal.append("r", [ended("s")], "async")
        await journal.flush()
        assert "s/python attempt 1 has ended already" in caplog.text
        assert journal.health().refused_total == 1


async def test_a_bug_while_writing_stops_acknowledging_too(tmp_path: Path, monkeypatch) -> None:
    async with opened(tmp_path / "j.db") as journal:

        def broken(*_):
            raise AttributeError("planted")

        monkeypatch.setattr(
            "tandem_orchestrator.journal.sqlite.transaction.Transaction.finish", broken
        )
        with pytest.raises(JournalError, match="AttributeError: planted"):
            await journal.append("r", [ended("s")], "group").durable()
        assert not journal.health()
        assert [r.seq for r in await journal.records("r")] == [1]


async def test_outside_the_backlog_a_writer_copies_its_log_into_the_file(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with opened(path) as journal:
        for n in range(40):
            await journal.append("r", [ended(f"s{n}", output=b"x" * 300_000)], "group").durable()
        await journal.flush()
        assert path.stat().st_size > 4 * 2**20
        assert path.with_name("j.db-wal").stat().st_size < 12 * 2**20


async def test_a_lock_that_another_holds_too_long_is_a_failed_write_that_says_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "j.db"
    async with opened(path, lock_wait_s=0.05) as journal:
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match=r"BusyError.*another process holds the file"):
            await journal.append("r", [ended("s")], "group").durable()
        assert not journal.health()
        other.execute("ROLLBACK")
        other.close()
    await journal.open("owner-b")
    assert [r.seq for r in await journal.records("r")] == [1]
    await journal.close()


async def test_what_comes_while_a_lock_is_awaited_joins_that_commit(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    async with opened(path) as journal:
        commits = journal.health().commits_total
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        tickets = [journal.append("r", [ended(f"s{n}")], "group") for n in range(50)]
        other.execute("ROLLBACK")
        other.close()
        await asyncio.gather(*(ticket.durable() for ticket in tickets))
        assert journal.health().commits_total == commits + 1


async def test_a_commit_gathers_no_more_bytes_than_its_bound(tmp_path: Path) -> None:
    with FaultyDisk() as disk:
        async with opened(tmp_path / "j.db", disk) as journal:
            await stalled(disk, journal)
            commits = journal.health().commits_total
            rows = tuple(SegmentRow(f"s{n}", "succeeded", b"x" * 2**19) for n in range(6))
            tickets = [
                journal.append("r", [SegmentEnded(segment=n, rows=rows)], "group") for n in range(6)
            ]
            disk.go()
            await asyncio.gather(*(ticket.durable() for ticket in tickets))
            assert journal.health().commits_total == commits + 1 + 2
