"""Controls: wishes about runs, as rows that any process may write and the run's owner takes up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import apsw
import msgspec

from tandem_orchestrator.errors import CommandError, IdempotencyMismatch, JournalError
from tandem_orchestrator.journal.chain import row_sum
from tandem_orchestrator.journal.journal import Control
from tandem_orchestrator.journal.sqlite.connection import select

_COLUMNS = """
SELECT controls.id, run_id, controls.kind, body, by_whom, at_ns, answer, controls.sum
FROM controls JOIN runs ON runs.id = controls.run
"""

_WAITING = """
SELECT controls.id, run_id, controls.kind, body, by_whom, at_ns, answer, controls.sum
FROM controls INDEXED BY controls_waiting JOIN runs ON runs.id = controls.run
WHERE answer IS NULL AND token = ? ORDER BY n
"""
"""Asked many times a second; without the index named, SQLite goes through all that were ever asked,
since that is their order."""

_INSERT = """
INSERT INTO controls (id, run, kind, body, by_whom, at_ns, sum)
SELECT ?2, id, ?3, ?4, ?5, ?6, ?7 FROM runs
WHERE run_id = ?1 AND (finished_at_ns IS NULL OR ?3 = 'retry')
ON CONFLICT (id) DO NOTHING
"""


def insert_control(connection: apsw.Connection, control: Control, body: bytes) -> None:
    """Write a wish, or nothing if it is there already.

    Raises: CommandError, IdempotencyMismatch.
    """
    if (known := read_control(connection, control.id)) is None:
        values = (control.run_id, control.id, control.kind, body, control.by, control.at_ns)
        connection.execute(_INSERT, (*values, _sum_of(control, body)))
        if connection.changes() == 0:
            raise CommandError(_why_not(connection, control.run_id))
    elif not known.asks_the_same_as(control):
        raise IdempotencyMismatch(f"control id '{control.id}' was used for another wish")


def _why_not(connection: apsw.Connection, run_id: str) -> str:
    rows = select(connection, "SELECT status FROM runs WHERE run_id = ?", (run_id,))
    if not rows:
        return f"run {run_id} is not in this journal"
    return f"run {run_id} has ended: it is {rows[0][0]}"


def answer_control(connection: apsw.Connection, control_id: str, text: str) -> None:
    """Write the first answer to a wish. Raises: CommandError if there is no such wish."""
    rows = select(connection, _COLUMNS + "WHERE controls.id = ?", (control_id,))
    if not rows:
        raise CommandError(f"control '{control_id}' is not in this journal")
    answered = replace(_control(rows[0]), answer=text)
    connection.execute(
        "UPDATE controls SET answer = ?, sum = ? WHERE id = ? AND answer IS NULL",
        (text, _sum_of(answered, rows[0][3]), control_id),
    )


def read_control(connection: apsw.Connection, control_id: str) -> Control | None:
    """Read one wish."""
    rows = select(connection, _COLUMNS + "WHERE controls.id = ?", (control_id,))
    return _control(rows[0]) if rows else None


def waiting_controls(connection: apsw.Connection, token: int) -> list[Control]:
    """List the unanswered wishes about a lease's runs, oldest first."""
    rows = select(connection, _WAITING, (token,))
    return [_control(row) for row in rows]


def damaged_controls(connection: apsw.Connection) -> Iterator[str]:
    """Say which wishes were changed since they were written."""
    for row in select(connection, _COLUMNS + "ORDER BY n"):
        try:
            _control(row)
        except JournalError as error:
            yield str(error)


def _control(row: tuple[Any, ...]) -> Control:
    control_id, run_id, kind, body, by, at_ns, answer, stored = row
    damaged = f"control '{control_id}' was changed or damaged since it was written"
    try:
        control = Control(control_id, run_id, kind, msgspec.msgpack.decode(body), by, at_ns, answer)
    except (ValueError, msgspec.MsgspecError) as error:
        raise JournalError(f"{damaged}: {error}") from error
    if stored is not None and stored != _sum_of(control, body):
        raise JournalError(damaged)
    return control


def _sum_of(control: Control, body: bytes) -> bytes:
    fields = (control.id, control.run_id, control.kind, body, control.by, control.at_ns)
    return row_sum(*fields, control.answer)
