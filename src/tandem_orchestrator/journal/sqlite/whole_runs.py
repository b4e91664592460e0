"""Whole runs: those that one append begins and ends, many of them in two statements.

Each statement lets other threads have the interpreter, and a busy loop is slow to give it back: so
few of them. What is special about any of these runs (an id that is there already, a lease that
was lost) undoes them all, and they are written one by one, to find out which.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import apsw
import msgspec

from tandem_orchestrator.journal.chain import first_link, next_link
from tandem_orchestrator.journal.entry import Entry
from tandem_orchestrator.journal.projection import changed_columns, first_row
from tandem_orchestrator.journal.sqlite.connection import select
from tandem_orchestrator.model.events import RunAccepted, RunEnded

ROWS_MAX = 32
"""Rows that one statement inserts."""
_RUN_COLUMNS = (
    "id, run_id, token, command_set_id, name, type, mode, priority, durability, status,"
    " created_at_ns, started_at_ns, finished_at_ns, duration, steps_total, steps_done,"
    " waiting_for, resumable, records, link"
)
_RECORD_COLUMNS = "run, seq, version, kind, unit, attempt, at_ns, link, body"


@cache
def _insert_runs(rows: int) -> str:
    """Give the statement that inserts rows of runs, fenced by the lease that comes last."""
    row = "(" + ", ".join(["?"] * len(_RUN_COLUMNS.split(","))) + ")"
    return (
        f"INSERT INTO runs ({_RUN_COLUMNS}) SELECT new.* FROM (VALUES {', '.join([row] * rows)})"  # noqa: S608
        " AS new WHERE EXISTS (SELECT 1 FROM leases WHERE token = ? AND ended_ns IS NULL)"
    )


@cache
def _insert_records(rows: int) -> str:
    row = "(?, ?, ?, ?, ?, ?, ?, ?, ?)"
    return f"INSERT INTO records ({_RECORD_COLUMNS}) VALUES {', '.join([row] * rows)}"  # noqa: S608


def is_whole(entries: Sequence[Entry]) -> bool:
    """Say whether entries are all there is of a run, with nothing that could be refused by itself."""
    first = entries[0].event
    return (
        isinstance(first, RunAccepted)
        and first.idempotency_key is None
        and isinstance(entries[-1].event, RunEnded)
        and not any(entry.has_parts for entry in entries)
        and not any(isinstance(entry.event, RunAccepted) for entry in entries[1:])
    )


def write_whole(
    connection: apsw.Connection,
    token: int,
    owner: str,
    appends: Sequence[tuple[str, Sequence[Entry]]],
) -> bool:
    """Write whole runs inside the transaction that is open; False, and nothing, if one is special.

    Raises: apsw.Error when the store is at fault.
    """
    key = int(select(connection, "SELECT coalesce(max(id), 0) FROM runs")[0][0])
    runs: list[tuple[apsw.SQLiteValue, ...]] = []
    records: list[tuple[apsw.SQLiteValue, ...]] = []
    for run_id, entries in appends:
        key += 1
        row = _written(key, token, owner, run_id, entries, records)
        if row is None:
            return False
        runs.append(row)
    connection.execute("SAVEPOINT whole")
    try:
        for some in _in_rows(runs):
            values = [value for row in some for value in row]
            connection.execute(_insert_runs(len(some)), [*values, token])
            if connection.changes() != len(some):
                connection.execute("ROLLBACK TO whole")
                return False
        for some in _in_rows(records):
            connection.execute(_insert_records(len(some)), [v for row in some for v in row])
    except apsw.ConstraintError:
        connection.execute("ROLLBACK TO whole")
        return False
    finally:
        if connection.in_transaction:
            connection.execute("RELEASE whole")
    return True


def _written(
    key: int,
    token: int,
    owner: str,
    run_id: str,
    entries: Sequence[Entry],
    records: list[tuple[apsw.SQLiteValue, ...]],
) -> tuple[apsw.SQLiteValue, ...] | None:
    """Append the run's rows of records; gives its own row."""
    accepted = entries[0].event
    if not isinstance(accepted, RunAccepted) or accepted.run_id != run_id:
        return None
    row = first_row(accepted, owner=owner)
    # Any: columns hold values of any kind.
    columns: dict[str, Any] = {"status": row.status, "started_at_ns": None}
    columns |= {"finished_at_ns": None, "duration": None, "steps_done": 0}
    link, seq = first_link(run_id), 0
    for entry in entries:
        seq += 1
        kind, unit, attempt, at_ns = entry.kind, entry.unit, entry.attempt, entry.at_ns
        body, version = entry.body, entry.version
        link = next_link(link, seq, version, kind, unit, attempt, at_ns, body)
        records.append((key, seq, version, kind, unit, attempt, at_ns, link, body))
        columns |= changed_columns(entry.event, steps_done=columns["steps_done"])
    return (
        *(key, run_id, token, row.command_set_id, row.name, row.type, row.mode, row.priority),
        *(row.durability, columns["status"], row.created_at_ns, columns["started_at_ns"]),
        *(columns["finished_at_ns"], columns["duration"], row.steps_total),
        *(columns["steps_done"], msgspec.msgpack.encode(row.waiting_for), int(row.resumable)),
        *(seq, link),
    )


def _in_rows(
    rows: Sequence[tuple[apsw.SQLiteValue, ...]],
) -> list[Sequence[tuple[apsw.SQLiteValue, ...]]]:
    return [rows[first : first + ROWS_MAX] for first in range(0, len(rows), ROWS_MAX)]
