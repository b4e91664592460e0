"""Every question that is asked often is answered through an index, however long the history is."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tandem_orchestrator.journal import Bounds, Control
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.model.events import RunEnded, RunHeld, RunStarted
from tandem_orchestrator.model.outcomes import RunStatus
from tandem_orchestrator.testing.journal_events import accepted, ended

LARGE = re.compile(r"\bSCAN (runs|records|controls|output_uses)\b(?! USING)")
"""A plan that goes through a whole table. (Through an index, in its order, it stops at a limit.)"""
IN_ORDER = re.compile(r"\bSCAN runs USING INDEX runs_newest\b")


@contextlib.contextmanager
def statements_noted() -> Iterator[dict[str, Any]]:
    """Note what every connection that is opened meanwhile is asked."""
    noted: dict[str, Any] = {}

    def note(cursor: apsw.Cursor, statement: str, bindings: Any) -> bool:
        is_a_glance = re.match(r"SELECT \* FROM \w+ LIMIT 1$", statement)
        if re.match(r"\s*(SELECT|UPDATE|DELETE|INSERT)\b", statement) and not is_a_glance:
            noted.setdefault(statement, bindings)
        return True

    def watch(connection: apsw.Connection) -> None:
        connection.exec_trace = note

    apsw.connection_hooks.append(watch)
    try:
        yield noted
    finally:
        apsw.connection_hooks.remove(watch)


async def a_busy_life(path: Path) -> None:
    """Ask a journal everything that programs and commands ask of it again and again."""
    journal = SqliteJournal(path, bounds=Bounds(inline_bytes_max=1000))
    await journal.open("owner-a")
    for n, status in enumerate(("completed", "failed", "cancelled", "timed_out", "held", "")):
        events = [accepted(f"r{n}", at_ns=n, idempotency_key=f"k{n}"), RunStarted(at_ns=n)]
        events.append(ended("a", output=bytes(3000)))
        if status == "held":
            events.append(RunHeld(waits=("b",)))
        elif status:
            events.append(RunEnded(at_ns=n, status=status, duration=1.0))
        await journal.append(f"r{n}", events, "group").durable()
    for status in (None, *(each.value for each in RunStatus)):
        await journal.runs(status=status, limit=3)
    await journal.runs(name="docs", limit=3)
    await journal.runs(name="docs", status="failed", before="r4", limit=3)
    await journal.runs(limit=3, before="r4")
    await journal.run("r1")
    await journal.records("r1")
    await journal.records("r1", after=1, limit=1)
    await journal.find("judged", lambda record: record)
    await journal.find("run_accepted", lambda record: record, run_id="r1")
    await journal.request(Control("w1", "r5", "pause"))
    await journal.controls()
    await journal.control("w1")
    await journal.answer("w1", "done")
    await journal.owners()
    await journal.find_by_idempotency_key("k1")
    await journal.adopt("r1", ended=True)
    await journal.wait_for("r5", ["x"])
    await journal.remove_runs(before_ns=2)
    await journal.remove_outputs(grace_s=0)
    await journal.close()


def scans(path: Path, statements: dict[str, Any]) -> dict[str, str]:
    """Give the statements that go through a whole table, or are refused; and how."""
    connection = apsw.Connection(str(path))
    found = {}
    for statement, bindings in statements.items():
        try:
            rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)
            plan = [row[3] for row in rows]
        except apsw.SQLError as error:
            found[statement] = str(error)
            continue
        for line in plan:
            may_be_in_order = "LIMIT" in statement and "name = ?" not in statement
            if LARGE.search(line) or (IN_ORDER.search(line) and not may_be_in_order):
                found[statement] = line
    connection.close()
    return found


async def test_nothing_that_is_asked_often_goes_through_the_whole_history(tmp_path: Path) -> None:
    with statements_noted() as statements:
        await a_busy_life(tmp_path / "j.db")

    assert len(statements) > 30
    assert scans(tmp_path / "j.db", statements) == {}


@pytest.mark.parametrize(
    "index",
    [
        "runs_newest",
        "runs_named",
        "runs_ended_badly",
        "runs_unfinished",
        "runs_finished",
        "runs_key",
        "records_found",
        "controls_waiting",
        "controls_run",
        "output_uses_digest",
    ],
)
async def test_without_any_one_index_that_is_noticed(tmp_path: Path, index: str) -> None:
    with statements_noted() as statements:
        await a_busy_life(tmp_path / "j.db")
    connection = apsw.Connection(str(tmp_path / "j.db"))
    connection.execute(f"DROP INDEX {index}")
    connection.close()

    assert scans(tmp_path / "j.db", statements)


@pytest.mark.parametrize("status", [each.value for each in RunStatus])
async def test_a_status_finds_the_runs_that_are_shown_with_it(tmp_path: Path, status: str) -> None:
    path = tmp_path / "j.db"
    for owner in ("gone", "here"):
        journal = SqliteJournal(path)
        await journal.open(owner)
        for n, end in enumerate((*(each.value for each in RunStatus if each.is_final), "", "held")):
            run_id = f"{owner}-{n}"
            events = [accepted(run_id, at_ns=n), *([RunStarted(at_ns=n)] if n % 2 else [])]
            if end == "held":
                events.append(RunHeld(waits=("b",)))
            elif end:
                events.append(RunEnded(at_ns=n, status=end, duration=1.0))
            await journal.append(run_id, events, "group").durable()
        if owner == "gone":
            await journal.close()

    everything = await journal.runs(limit=100)
    expected = [row for row in everything if row.status == status]
    assert await journal.runs(status=status, limit=100) == expected
    assert status in ("queued", "running", "paused") or expected
    await journal.close()
