"""The file itself: it shrinks, what is looked for is found by an index, batches stay short."""

import shutil
from pathlib import Path

import apsw
import pytest

from tandem_orchestrator.journal.sqlite import SqliteJournal, retention
from tandem_orchestrator.journal.sqlite.schema import FOUND
from tandem_orchestrator.model.events import RunEnded, RunStarted
from tandem_orchestrator.testing.journal_events import accepted, ended

GOLDEN = Path(__file__).parent / "golden"


async def opened(path: Path, owner: str | None = "owner-a") -> SqliteJournal:
    journal = SqliteJournal(path)
    await journal.open(owner)
    return journal


async def finish(journal: SqliteJournal, run_id: str, at_ns: int, steps: int = 10) -> None:
    outputs = [ended(f"s{n}", output=b"x" * 4_000) for n in range(steps)]
    last = RunEnded(at_ns=at_ns, status="completed")
    events = [accepted(run_id), RunStarted(at_ns=at_ns - 1), *outputs, last]
    await journal.append(run_id, events, "group").durable()


def asked(path: Path, query: str) -> list[tuple]:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    rows = connection.execute(query).fetchall()
    connection.close()
    return rows


async def test_a_new_file_shrinks_by_what_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FREE_PAGES_KEPT", 8)
    path = tmp_path / "j.db"
    journal = await opened(path)
    for n in range(50):
        await finish(journal, f"r{n:02}", 1_000 + n)
    await journal.close()
    before = path.stat().st_size
    journal = await opened(path, "owner-b")

    while await journal.remove_runs(before_ns=1_040):
        pass
    assert await journal.check() == []
    await journal.close()

    assert before > 2_000_000
    assert path.stat().st_size < before * 0.3
    assert asked(path, "PRAGMA freelist_count")[0][0] <= 8


async def test_an_older_file_keeps_its_size_and_takes_new_records_into_the_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "FREE_PAGES_KEPT", 8)
    path = Path(shutil.copy(GOLDEN / "journal-v2.db", tmp_path / "j.db"))
    journal = await opened(path)
    for n in range(50):
        await finish(journal, f"r{n + 10}", 10_000 + n)
    await journal.remove_runs(before_ns=1)  # checkpoints nothing, removes nothing
    await journal.close()
    before = path.stat().st_size
    journal = await opened(path, "owner-b")
    while await journal.remove_runs(before_ns=10_050):
        pass
    for n in range(40):
        await finish(journal, f"r{n + 100}", 20_000 + n)
    await journal.close()

    assert before > 2_000_000
    assert path.stat().st_size <= before * 1.05


async def test_a_batch_ends_when_it_has_removed_many_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RECORDS_A_BATCH", 30)
    journal = await opened(tmp_path / "j.db")
    for n in range(8):
        await finish(journal, f"r{n}", 1_000 + n)

    assert await journal.remove_runs(before_ns=2_000) == 3  # 13 records each
    await journal.close()


async def test_the_run_of_an_occurrence_that_is_being_decided_stays(tmp_path: Path) -> None:
    """Its key is what keeps another process from firing it again."""
    journal = await opened(tmp_path / "j.db")
    await journal.put_schedule("s", {}, 10)
    assert await journal.claim_occurrence("s", done_ns=10, at_ns=20)
    event = accepted("r1", idempotency_key="schedule/s/20")
    last = RunEnded(at_ns=5, status="completed")
    await journal.append("r1", [event, last], "group").durable()

    assert await journal.remove_runs(before_ns=100) == 0
    assert await journal.settle_occurrence("s", at_ns=20, left_out=1)
    assert await journal.remove_runs(before_ns=100) == 1
    await journal.close()


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT body FROM records CROSS JOIN runs ON runs.id = records.run WHERE kind = ?"
            f" AND records.{FOUND} ORDER BY records.id DESC",
            "records_found",
        ),
        (retention._OLDEST, "runs_finished"),
        ("DELETE FROM controls WHERE run = ?", "controls_run"),
    ],
)
async def test_what_is_asked_of_a_large_file_goes_by_an_index(
    tmp_path: Path, query: str, index: str
) -> None:
    await (await opened(tmp_path / "j.db")).close()
    connection = apsw.Connection(str(tmp_path / "j.db"))
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", (1,)).fetchall()]
    connection.close()

    assert any(index in line for line in plan), plan
    assert not any("TEMP B-TREE" in line or line == "SCAN records" for line in plan), plan
