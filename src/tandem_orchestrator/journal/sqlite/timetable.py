"""Schedules as rows: one owner at a time decides an occurrence, and the fence is the statement."""

from __future__ import annotations

from collections.abc import Callable

import apsw
import msgspec

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.chain import row_sum
from tandem_orchestrator.journal.journal import ScheduleRow
from tandem_orchestrator.journal.sqlite.connection import select

_SUMMED = "name, body, done_ns, last_run, fired, left_out"
_PUT = """
INSERT INTO schedules (name, body, done_ns, fired, left_out, sum)
VALUES (?1, ?2, ?3, 0, 0, x'')
ON CONFLICT (name) DO UPDATE SET body = excluded.body, done_ns = max(done_ns, excluded.done_ns),
    claim_ns = NULL, claim_token = NULL WHERE body <> excluded.body
"""
_CLAIM = """
UPDATE schedules SET claim_ns = ?3, claim_token = ?4
WHERE name = ?1 AND done_ns = ?2 AND ?3 > done_ns AND claim_token IS ?5
"""
_SETTLE = """
UPDATE schedules SET done_ns = claim_ns, claim_ns = NULL, claim_token = NULL,
    last_run = coalesce(?4, last_run), fired = fired + (?4 IS NOT NULL), left_out = left_out + ?5
WHERE name = ?1 AND claim_ns = ?2 AND claim_token = ?3
"""


def put_schedule(connection: apsw.Connection, name: str, body: bytes, done_ns: int) -> bool:
    """Write one, or replace one whose body is another; False if nothing was to be done."""
    connection.execute(_PUT, (name, body, done_ns))
    return _sealed(connection, name)


def remove_schedule(connection: apsw.Connection, name: str) -> bool:
    """Drop one; False if there is none."""
    connection.execute("DELETE FROM schedules WHERE name = ?", (name,))
    return connection.changes() == 1


def read_schedules(connection: apsw.Connection) -> list[ScheduleRow]:
    """List all by name. Raises: JournalError naming one that was changed or damaged."""
    rows = []
    for stored, *row in select(
        connection,
        f"SELECT sum, {_SUMMED} FROM schedules ORDER BY name",  # noqa: S608
    ):
        name, body, *rest = row
        if stored != row_sum(*row):
            raise JournalError(f"schedule '{name}' was changed or damaged since it was written")
        rows.append(ScheduleRow(name, msgspec.msgpack.decode(body), *rest))
    return rows


def damaged_schedules(connection: apsw.Connection) -> list[str]:
    """Name the schedules that were changed since they were written."""
    rows = select(connection, f"SELECT sum, {_SUMMED} FROM schedules ORDER BY name")  # noqa: S608
    return [str(row[0]) for stored, *row in rows if stored != row_sum(*row)]


def claim(
    connection: apsw.Connection,
    name: str,
    done_ns: int,
    at_ns: int,
    token: int,
    is_alive: Callable[[str], bool],
) -> bool:
    """Take an occurrence on for the lease ``token``, from nobody, from itself or from the dead."""
    rows = select(
        connection,
        "SELECT claim_token, owner FROM schedules LEFT JOIN leases ON token = claim_token"
        " WHERE name = ?",
        (name,),
    )
    if not rows:
        return False
    holder, owner = rows[0]
    if holder not in (None, token) and owner is not None and is_alive(owner):
        return False
    connection.execute(_CLAIM, (name, done_ns, at_ns, token, holder))
    return connection.changes() == 1


def settle(
    connection: apsw.Connection,
    name: str,
    at_ns: int,
    token: int,
    run_id: str | None,
    left_out: int,
) -> bool:
    """Note what became of an occurrence; False if another one took it over."""
    connection.execute(_SETTLE, (name, at_ns, token, run_id, left_out))
    return _sealed(connection, name)


def _sealed(connection: apsw.Connection, name: str) -> bool:
    """Put the sum right after a change; False if there was none."""
    if connection.changes() == 0:
        return False
    row = select(connection, f"SELECT {_SUMMED} FROM schedules WHERE name = ?", (name,))[0]  # noqa: S608
    connection.execute("UPDATE schedules SET sum = ? WHERE name = ?", (row_sum(*row), name))
    return True
