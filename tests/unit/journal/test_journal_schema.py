"""Files of other versions, other programs, damaged ones, and the golden files."""

import shutil
from pathlib import Path

import apsw
import pytest

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.journal.sqlite import schema as schema_module
from tandem_orchestrator.journal.sqlite.connection import require_sqlite
from tandem_orchestrator.journal.sqlite.schema import SCHEMA_VERSION
from tandem_orchestrator.model.events import RunStarted
from tandem_orchestrator.testing.journal_events import accepted, ended

GOLDEN = Path(__file__).parent / "golden" / "journal-v1.db"
GOLDEN_2 = GOLDEN.with_name("journal-v2.db")


async def opened(path: Path, owner: str | None = "owner-x") -> SqliteJournal:
    journal = SqliteJournal(path)
    await journal.open(owner)
    return journal


def schema_of(path: Path) -> list[tuple[str, str]]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()
    connection.close()
    return rows


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return Path(shutil.copy(GOLDEN, tmp_path / "j.db"))


async def test_the_golden_file_of_version_1_reads_as_it_was_written(golden: Path) -> None:
    journal = await opened(golden)

    row = await journal.run("r1")
    assert (row.status, row.steps_done, row.duration, row.owner) == ("failed", 1, 0.25, "golden-a")
    assert (row.name, row.waiting_for, row.created_at_ns) == ("docs", ("x.y",), 1_000)
    records = await journal.records("r1")
    assert [record.kind for record in records] == [
        "run_accepted",
        "run_started",
        "attempt_started",
        "attempt_ended",
        "step_ended",
        "run_ended",
    ]
    assert records[0].event.inputs == {"x": [1, 2.5, None, "ä", b"\x00\xff"]}
    assert (records[3].unit, records[3].attempt) == ("a[3]/c", 2)
    assert records[3].event.output == {"n": 2**63}
    assert (await journal.run("r2")).status == "interrupted"
    assert (await journal.control("w1")).body == {"step": "a"}
    assert (await journal.find_by_idempotency_key("key-1")).run_id == "r1"
    assert await journal.check() == []
    assert await journal.adopt("r2")
    await journal.append("r2", [RunStarted()], "group").durable()
    await journal.close()


async def test_the_golden_file_of_version_2_reads_as_it_was_written(tmp_path: Path) -> None:
    journal = await opened(Path(shutil.copy(GOLDEN_2, tmp_path / "j.db")))

    row = await journal.run("r1")
    assert (row.status, row.duration, row.owner, row.records) == ("completed", 0.5, "golden-b", 7)
    records = await journal.records("r1")
    assert [record.kind for record in records] == [
        "run_accepted",
        "run_started",
        "segment_started",
        "segment_ended",
        "attempt_ended",
        "step_ended",
        "run_ended",
    ]
    assert records[4].event.output == {"n": 2**63}
    assert (await journal.control("w1")).answer == "done"
    assert (await journal.run("r2")).status == "interrupted"
    assert await journal.check() == []
    assert await journal.schedules() == []
    assert await journal.put_schedule("s", {"every_s": 60}, 1)
    assert await journal.find("run_accepted", lambda record: record.run_id) == ["r2", "r1"]
    assert await journal.remove_runs(before_ns=10**18) == 1
    assert await journal.adopt("r2")
    await journal.append("r2", [RunStarted()], "group").durable()
    await journal.close()


@pytest.mark.parametrize("old", [GOLDEN, GOLDEN_2])
async def test_an_older_file_gets_the_tables_of_a_new_one(old: Path, tmp_path: Path) -> None:
    fresh, migrated = tmp_path / "fresh.db", Path(shutil.copy(old, tmp_path / "j.db"))
    await (await opened(fresh)).close()
    await (await opened(migrated)).close()
    assert schema_of(fresh) == schema_of(migrated)


async def test_a_file_of_an_older_version_is_migrated_step_by_step(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = (*schema_module.MIGRATIONS, "ALTER TABLE runs ADD COLUMN extra TEXT")
    monkeypatch.setattr(schema_module, "MIGRATIONS", scripts)
    monkeypatch.setattr(schema_module, "SCHEMA_VERSION", len(scripts))
    monkeypatch.setattr(
        "tandem_orchestrator.journal.sqlite.connection.SCHEMA_VERSION", len(scripts)
    )
    journal = await opened(golden)
    assert len(await journal.records("r1")) == 6
    await journal.close()

    monkeypatch.undo()
    with pytest.raises(
        JournalError, match=rf"j\.db has version {SCHEMA_VERSION + 1} and was written by a newer"
    ):
        await opened(golden)
    with pytest.raises(JournalError, match="newer"):
        await (await opened(golden, None)).runs()


async def test_a_migration_that_fails_leaves_the_old_version(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripts = (*schema_module.MIGRATIONS, "CREATE TABLE extra (a); SELECT * FROM nothing")
    with monkeypatch.context() as patch:
        patch.setattr(schema_module, "MIGRATIONS", scripts)
        patch.setattr(schema_module, "SCHEMA_VERSION", len(scripts))
        patch.setattr("tandem_orchestrator.journal.sqlite.connection.SCHEMA_VERSION", len(scripts))
        with pytest.raises(JournalError, match="nothing"):
            await opened(golden)
    journal = await opened(golden)
    assert len(await journal.records("r1")) == 6
    await journal.close()


async def test_another_programs_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE bookmarks (a)")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(JournalError, match="another program"):
        await opened(path)
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    path.write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(JournalError, match=r"j\.db: .*move it away"):
        await opened(path)
    with pytest.raises(JournalError, match="move it away"):
        await (await opened(path, None)).runs()


async def test_a_folder_that_may_not_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalError, match=r"file/j\.db"):
        await opened(tmp_path / "file" / "j.db")


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE records SET body = CAST(body || x'00' AS BLOB) WHERE id = 4", "record 4"),
        ("UPDATE records SET at_ns = at_ns + 1 WHERE run = 1 AND seq = 2", "record 2"),
        ("UPDATE records SET attempt = 3 WHERE run = 1 AND seq = 4", "record 4"),
        ("UPDATE records SET link = zeroblob(32) WHERE run = 1 AND seq = 3", "record 3"),
        ("DELETE FROM records WHERE run = 1 AND seq = 3", "record 3"),
        ("DELETE FROM records WHERE run = 1 AND seq = 6", "record 6"),
        ("DELETE FROM records WHERE run = 1 AND seq >= 5", "record 5"),
        (
            "UPDATE records SET seq = seq + 100 WHERE run = 1 AND seq IN (3, 4);"
            "UPDATE records SET seq = 107 - seq WHERE run = 1 AND seq > 100",
            "record 3",
        ),
        ("UPDATE runs SET records = 5 WHERE id = 1", "record 6"),
        ("UPDATE runs SET link = zeroblob(32) WHERE id = 1", "record"),
        ("DELETE FROM records WHERE run = 1", "record 1"),
        ("UPDATE runs SET status = 'completed' WHERE id = 1", "status"),
        ("UPDATE runs SET steps_done = 7 WHERE id = 1", "steps_done"),
    ],
)
async def test_a_change_behind_its_back_is_noticed(golden: Path, damage: str, found: str) -> None:
    connection = apsw.Connection(str(golden))
    connection.execute(damage)
    assert connection.total_changes() > 0
    connection.close()
    journal = await opened(golden)

    faults = await journal.check()
    assert faults
    assert all("run r1" in fault for fault in faults)
    assert any(found in fault for fault in faults), faults
    if "record" in found:
        with pytest.raises(JournalError, match="run r1"):
            await journal.records("r1")
    assert len(await journal.records("r2")) == 1
    await journal.close()


async def test_reading_from_the_middle_checks_the_chain_too(golden: Path) -> None:
    journal = await opened(golden)
    assert [record.seq for record in await journal.records("r1", after=3, limit=2)] == [4, 5]
    connection = apsw.Connection(str(golden))
    connection.execute("UPDATE records SET at_ns = 77 WHERE run = 1 AND seq = 5")
    connection.close()

    assert [record.seq for record in await journal.records("r1", limit=4)] == [1, 2, 3, 4]
    with pytest.raises(JournalError, match="run r1, record 5"):
        await journal.records("r1", after=4)
    await journal.close()


async def test_a_page_that_was_overwritten_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = await opened(path)
    steps = [ended(f"s{n}", output=b"x" * 2_000) for n in range(100)]
    await journal.append("r", [accepted("r"), *steps], "group").durable()
    await journal.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)

    journal = await opened(path, "owner-y")
    try:
        faults = await journal.check()
    except JournalError as error:
        faults = [str(error)]
    await journal.close()
    assert faults
    assert all("j.db" in fault for fault in faults)


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0.0"])
def test_a_mended_sqlite_is_taken(version: str) -> None:
    require_sqlite(version)


@pytest.mark.parametrize("version", ["3.51.2", "3.40.1", "3.7.17"])
def test_an_sqlite_with_the_reset_bug_is_refused(version: str) -> None:
    with pytest.raises(JournalError, match=rf"SQLite {version} .*3\.51\.3 or newer"):
        require_sqlite(version)
