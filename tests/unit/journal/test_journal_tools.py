"""Repair makes rows again and never makes records up; a pack opens on its own."""

import shutil
from pathlib import Path

import apsw
import pytest

from tandem_orchestrator.errors import CommandError, JournalError
from tandem_orchestrator.journal import Control, pack_run, repair_journal
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.model.events import RunEnded, RunStarted, StepEnded
from tandem_orchestrator.testing.journal_events import accepted, ended


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A closed journal: r1 has ended and has a key, r2 has not."""
    path = tmp_path / "j.db"
    journal = SqliteJournal(path)
    await journal.open("owner-a")
    await journal.append("r1", [accepted("r1", idempotency_key="k1")], "group").durable()
    await journal.append("r2", [accepted("r2", at_ns=2_000)], "group").durable()
    await journal.request(Control("w1", "r1", "pause", {"why": "lunch"}))
    events = [
        RunStarted(at_ns=2_000),
        ended("a"),
        StepEnded(step="a", outcome="succeeded"),
        RunEnded(at_ns=3_000, status="completed", duration=0.5),
    ]
    await journal.append("r1", events, "group").durable()
    await journal.close()
    return path


def damage(path: Path, script: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(script)
    assert connection.total_changes() > 0
    connection.close()


async def faults_of(path: Path) -> list[str]:
    journal = SqliteJournal(path)
    await journal.open(None)
    try:
        return await journal.check()
    finally:
        await journal.close()


def copies_beside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.before-repair-*"))


async def test_a_whole_journal_is_left_as_it_is(path: Path) -> None:
    before = path.read_bytes()

    mending = repair_journal(path)

    assert (mending.mended, mending.left, mending.droppable, mending.copy) == ((), (), (), None)
    assert path.read_bytes() == before
    assert copies_beside(path) == []


@pytest.mark.parametrize(
    "script",
    [
        "UPDATE runs SET status = 'failed', steps_done = 9 WHERE run_id = 'r1'",
        "UPDATE runs SET link = zeroblob(32) WHERE run_id = 'r1'",
        "UPDATE runs SET records = 2 WHERE run_id = 'r1'",
        "UPDATE runs SET finished_at_ns = NULL WHERE run_id = 'r1'",
        "DELETE FROM controls; DELETE FROM runs WHERE run_id = 'r1'",
        "DELETE FROM leases",
        "UPDATE leases SET pid = pid + 1",
        "UPDATE runs SET digest = 'x' WHERE run_id = 'r1'",
        "UPDATE runs SET idempotency_key = 'other' WHERE run_id = 'r1'",
    ],
)
async def test_rows_are_made_again_from_records_and_nothing_is_lost(
    path: Path, script: str
) -> None:
    before = SqliteJournal(path)
    await before.open(None)
    rows, records = await before.runs(), await before.records("r1")
    await before.close()
    damage(path, script)
    damaged = path.read_bytes()
    assert await faults_of(path)

    mending = repair_journal(path)

    assert mending.mended
    assert (mending.left, mending.droppable) == ((), ())
    assert mending.copy is not None
    assert mending.copy.stat().st_mode & 0o777 == 0o600
    assert len(mending.copy.read_bytes()) == len(damaged)
    after = SqliteJournal(path)
    await after.open("owner-b")
    assert await after.records("r1") == records
    told = [(r.run_id, r.status, r.steps_done, r.finished_at_ns, r.duration) for r in rows]
    assert [
        (r.run_id, r.status, r.steps_done, r.finished_at_ns, r.duration) for r in await after.runs()
    ] == told
    assert (await after.find_by_idempotency_key("k1")).run_id == "r1"
    assert await after.adopt("r2")  # its owner counts as dead
    await after.append("r2", [RunStarted()], "group").durable()
    assert await after.check() == []
    await after.close()


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        ("UPDATE records SET body = x'00' WHERE seq = 4 AND run = 1", 3),
        ("DELETE FROM records WHERE seq = 3 AND run = 1", 2),
        ("DELETE FROM records WHERE seq >= 5 AND run = 1", 4),
        ("UPDATE records SET at_ns = at_ns + 1 WHERE seq = 5 AND run = 1", 4),
        (
            "DELETE FROM controls; DELETE FROM runs WHERE run_id = 'r1';"
            "UPDATE records SET link = zeroblob(32) WHERE seq = 3 AND run = 1",
            2,
        ),
    ],
)
async def test_a_tail_goes_only_where_asked_and_the_run_then_ends_as_failed(
    path: Path, script: str, kept: int
) -> None:
    damage(path, script)

    refused = repair_journal(path)
    assert refused.left
    assert any("run r1" in line and f"from {kept + 1} on" in line for line in refused.droppable)
    assert refused.mended == ()
    assert copies_beside(path) == []

    mending = repair_journal(path, drop_tails=True)
    assert mending.left == ()
    assert mending.copy in copies_beside(path)
    assert await faults_of(path) == []
    journal = SqliteJournal(path)
    await journal.open("owner-b")
    records = await journal.records("r1")
    assert len(records) == kept + 1
    assert records[-1].event.status == "failed"
    assert f"from {kept + 1} on" in records[-1].event.error
    assert (await journal.run("r1")).status == "failed"
    assert not await journal.adopt("r1")  # it never goes on by itself
    await journal.close()


async def test_a_run_without_a_first_record_cannot_be_mended_and_stays_named(path: Path) -> None:
    damage(path, "UPDATE records SET body = x'00' WHERE seq = 1 AND run = 1")

    mending = repair_journal(path, drop_tails=True)

    assert any("run r1, record 1" in line for line in mending.left)
    assert len(await faults_of(path)) == len(mending.left)


async def test_a_damaged_wish_or_schedule_goes_only_where_asked(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open(None)
    await journal.put_schedule("nightly", {"cron": "0 3 * * *"}, 1)
    await journal.put_schedule("hourly", {"cron": "0 * * * *"}, 1)
    await journal.close()
    damage(path, "UPDATE controls SET kind = 'cancel'")
    damage(path, "UPDATE schedules SET done_ns = 2 WHERE name = 'nightly'")

    assert len(await faults_of(path)) == 2
    assert len(repair_journal(path).droppable) == 2
    mending = repair_journal(path, drop_tails=True)

    assert (len(mending.mended), mending.left) == (2, ())
    await journal.open(None)
    assert [row.name for row in await journal.schedules()] == ["hourly"]
    assert await journal.control("w1") is None
    await journal.close()


async def test_an_index_that_differs_is_made_again(path: Path) -> None:
    connection = apsw.Connection(str(path))
    connection.pragma("writable_schema", 1)
    entry = connection.execute("SELECT * FROM sqlite_schema WHERE name = 'runs_newest'").fetchall()
    connection.execute("DELETE FROM sqlite_schema WHERE name = 'runs_newest'")
    connection.close()
    damage(path, "UPDATE runs SET created_at_ns = 7 WHERE run_id = 'r2'")  # the index is not told
    connection = apsw.Connection(str(path))
    connection.pragma("writable_schema", 1)
    connection.execute("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", entry[0])
    connection.close()
    assert any("runs_newest" in fault for fault in await faults_of(path))

    mending = repair_journal(path)

    assert any("indexes" in line for line in mending.mended)
    assert mending.left == ()


async def test_repair_is_refused_while_somebody_works_in_it(path: Path) -> None:
    journal = SqliteJournal(path)
    await journal.open("owner-b")
    with pytest.raises(JournalError, match="owner-b is at work"):
        repair_journal(path)
    await journal.close()
    assert repair_journal(path).left == ()


def test_repair_of_nothing_says_so_and_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="does not exist"):
        repair_journal(tmp_path / "j.db")
    assert list(tmp_path.iterdir()) == []


async def test_a_pack_has_all_of_one_run_and_is_a_journal(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "r1.pack"
    target.parent.mkdir()
    pack_run(path, "r1", target)
    assert [file.name for file in target.parent.iterdir()] == ["r1.pack"]
    source = SqliteJournal(path)
    await source.open(None)
    records, row = await source.records("r1"), await source.run("r1")
    await source.close()
    shutil.rmtree(path.with_name("j.db.leases"))
    path.unlink()

    packed = SqliteJournal(target)
    await packed.open(None)

    assert await packed.records("r1") == records
    assert await packed.runs() == [row]
    assert (await packed.control("w1")).body == {"why": "lunch"}
    assert await packed.check() == []
    await packed.close()


async def test_a_pack_of_a_run_in_progress_has_to_be_asked_for(path: Path, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="has not ended"):
        pack_run(path, "r2", tmp_path / "r2.pack")
    assert pack_run(path, "r2", tmp_path / "r2.pack", unfinished=True).run_id == "r2"
    assert (tmp_path / "r2.pack").stat().st_mode & 0o777 == 0o600


async def test_a_pack_never_replaces_a_file_and_never_carries_damage(
    path: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(JournalError, match="exists already"):
        pack_run(path, "r1", tmp_path / "mine")
    assert (tmp_path / "mine").read_text() == "mine"
    with pytest.raises(CommandError, match="r9 is not in"):
        pack_run(path, "r9", tmp_path / "r9.pack")

    damage(path, "UPDATE records SET at_ns = 7 WHERE seq = 4 AND run = 1")
    with pytest.raises(JournalError, match="record 4"):
        pack_run(path, "r1", tmp_path / "r1.pack")
    assert not list(tmp_path.glob("r*.pack*"))
