"""Whole runs: written many at a time, they are what they are when each is written by itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tandem_orchestrator.journal.entry import Entry, entries_of
from tandem_orchestrator.journal.journal import Bounds, OwnerChanged
from tandem_orchestrator.journal.sqlite import handover, reading, transaction
from tandem_orchestrator.journal.sqlite.schema import migrate
from tandem_orchestrator.journal.sqlite.transaction import Transaction
from tandem_orchestrator.model.events import AnyEvent, RunEnded, RunStarted, SegmentRow, StepsRan
from tandem_orchestrator.testing.journal_events import accepted, ended

TABLES = ("runs", "records")


def whole(run_id: str, *between: AnyEvent, **changes: Any) -> tuple[str, list[Entry]]:
    events = [
        accepted(run_id, **changes),
        StepsRan(at_ns=1_005, rows=(SegmentRow("a", "succeeded", {"n": run_id}, 0.5),)),
        RunStarted(at_ns=1_010),
        *between,
        RunEnded(at_ns=1_020, status="completed", duration=0.25),
    ]
    return run_id, entries_of(run_id, events, Bounds())


def many() -> list[tuple[str, list[Entry]]]:
    """More than one statement takes, of both kinds of records, and of several lengths."""
    runs = [whole(f"r{n:03}", ended("a"), steps_total=n) for n in range(45)]
    runs += [whole(f"s{n}", document={"large": "x" * size}) for n, size in enumerate((1, 2_000))]
    runs += [whole("t", document={"larger": "y" * 9_000}), whole("u", document={"z": "z" * 90_000})]
    return runs


class File:
    """A journal file, and a transaction of its lease."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = apsw.Connection(str(path))
        migrate(self.connection, path)
        self.token = handover.insert_lease(self.connection, "owner", 1)
        self.transaction = Transaction(self.connection, self.token, "owner")

    def append_all(self, appends: list[tuple[str, list[Entry]]]) -> list[Any]:
        with self.connection:
            refusals = self.transaction.append_all(appends)
            self.transaction.finish()
        return refusals

    def rows(self) -> dict[str, list[Any]]:
        ordered = {name: f"SELECT * FROM {name} ORDER BY id" for name in TABLES}
        return {name: self.connection.execute(ordered[name]).fetchall() for name in TABLES}


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[File, File]]:
    made = File(tmp_path / "one.db"), File(tmp_path / "two.db")
    yield made
    for file in made:
        file.connection.close()


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    with monkeypatch.context() as patch:
        patch.setattr(transaction, "is_whole", lambda entries: False)
        yield patch


def test_the_rows_are_those_of_runs_written_one_by_one(files, one_by_one):
    slow, quick = files
    assert slow.append_all(many()) == [None] * len(many())
    one_by_one.undo()
    statements: list[str] = []
    quick.connection.exec_trace = lambda _, sql, __: statements.append(sql) or True
    assert quick.append_all(many()) == [None] * len(many())
    quick.connection.exec_trace = None
    assert quick.rows() == slow.rows()
    assert len(statements) < 16, "there are 49 runs"
    for run_id, entries in many():
        read = reading.read_records(quick.connection, quick.path, run_id, 0, None)
        assert [record.kind for record in read] == [entry.kind for entry in entries]


def test_a_run_that_is_there_already_is_refused_and_the_others_are_written(files):
    file, _ = files
    file.append_all([whole("r001"), whole("before")])
    refusals = file.append_all(many())
    assert [index for index, refusal in enumerate(refusals) if refusal is not None] == [1]
    assert "accepted already" in str(refusals[1])
    assert {row[1] for row in file.rows()["runs"]} == {"before", *(name for name, _ in many())}


def test_one_that_comes_twice_in_a_batch_is_written_once(files):
    file, _ = files
    refusals = file.append_all([whole("a"), whole("b"), whole("a"), whole("c")])
    assert [refusal is None for refusal in refusals] == [True, True, False, True]
    assert len(file.rows()["runs"]) == 3


def test_a_unit_that_ends_twice_is_refused_and_the_others_are_written(files):
    file, _ = files
    refusals = file.append_all([whole("a"), whole("b", ended("x"), ended("x")), whole("c")])
    assert [type(refusal).__name__ for refusal in refusals] == [
        "NoneType", "CompletionTaken", "NoneType",
    ]  # fmt: skip
    assert [row[1] for row in file.rows()["runs"]] == ["a", "c"]


def test_nothing_is_written_once_the_lease_is_over(files):
    file, _ = files
    handover.end_lease(file.connection, token=file.token, now_ns=2)
    refusals = file.append_all(many())
    assert all(isinstance(refusal, OwnerChanged) for refusal in refusals)
    assert file.rows() == {"runs": [], "records": []}


def test_runs_of_which_more_comes_are_written_beside_them(files):
    file, _ = files
    begun = "open", entries_of("open", [accepted("open"), RunStarted(at_ns=2)], Bounds())
    rest = "open", entries_of("open", [RunEnded(at_ns=3, status="failed")], Bounds())
    assert file.append_all([whole("a"), begun, whole("b"), rest, whole("c")]) == [None] * 5
    rows = file.connection.execute("SELECT run_id, status, records FROM runs").fetchall()
    assert rows == [
        ("a", "completed", 4), ("open", "failed", 3), ("b", "completed", 4), ("c", "completed", 4),
    ]  # fmt: skip
