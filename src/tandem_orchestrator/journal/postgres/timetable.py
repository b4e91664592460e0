"""Schedules as rows: one owner at a time decides an occurrence, and the fence is the statement."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.chain import row_sum
from tandem_orchestrator.journal.journal import ScheduleRow
from tandem_orchestrator.journal.postgres.connection import change, select
from tandem_orchestrator.journal.postgres.leases import LIVES

_SUMMED = "name, body, done_ns, last_run, fired, left_out"
_PUT = r"""
INSERT INTO schedules AS kept (name, body, done_ns, fired, left_out, sum)
VALUES (%s, %s, %s, 0, 0, '\x')
ON CONFLICT (name) DO UPDATE SET body = excluded.body,
    done_ns = greatest(kept.done_ns, excluded.done_ns), claim_ns = NULL, claim_token = NULL
WHERE kept.body <> excluded.body
"""
_CLAIM = f"""
UPDATE schedules SET claim_ns = %s, claim_token = %s
WHERE name = %s AND done_ns = %s AND %s > done_ns AND (claim_token IS NULL OR claim_token = %s
    OR NOT EXISTS (SELECT 1 FROM leases WHERE token = claim_token AND {LIVES}))
"""  # noqa: S608 - a constant
_SETTLE = """
UPDATE schedules SET done_ns = claim_ns, claim_ns = NULL, claim_token = NULL,
    last_run = coalesce(%s, last_run), fired = fired + %s, left_out = left_out + %s
WHERE name = %s AND claim_ns = %s AND claim_token = %s
"""


def put_schedule(connection: psycopg.Connection[Any], name: str, body: bytes, done_ns: int) -> bool:
    """Write one, or replace one whose body is another; False if nothing was to be done."""
    return _sealed(connection, name, change(connection, _PUT, (name, body, done_ns)))


def remove_schedule(connection: psycopg.Connection[Any], name: str) -> bool:
    """Drop one; False if there is none."""
    return change(connection, "DELETE FROM schedules WHERE name = %s", (name,)) == 1


def read_schedules(connection: psycopg.Connection[Any]) -> list[ScheduleRow]:
    """List all by name. Raises: JournalError naming one that was changed or damaged."""
    rows = []
    for stored, *row in _summed(connection):
        name, body, *rest = row
        if stored != row_sum(*row):
            raise JournalError(f"schedule '{name}' was changed or damaged since it was written")
        rows.append(ScheduleRow(name, msgspec.msgpack.decode(body), *rest))
    return rows


def damaged_schedules(connection: psycopg.Connection[Any]) -> list[str]:
    """Name the schedules that were changed since they were written."""
    return [str(row[0]) for stored, *row in _summed(connection) if stored != row_sum(*row)]


def _summed(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    return select(connection, f"SELECT sum, {_SUMMED} FROM schedules ORDER BY name")  # noqa: S608


def claim(
    connection: psycopg.Connection[Any], name: str, done_ns: int, at_ns: int, token: int
) -> bool:
    """Take an occurrence on for the lease ``token``, from nobody, from itself or from the dead."""
    values = (at_ns, token, name, done_ns, at_ns, token)
    return change(connection, _CLAIM, values) == 1


def settle(
    connection: psycopg.Connection[Any],
    name: str,
    at_ns: int,
    token: int,
    run_id: str | None,
    left_out: int,
) -> bool:
    """Note what became of an occurrence; False if another one took it over."""
    values = (run_id, int(run_id is not None), left_out, name, at_ns, token)
    return _sealed(connection, name, change(connection, _SETTLE, values))


def _sealed(connection: psycopg.Connection[Any], name: str, changed: int) -> bool:
    """Put the sum right after a change; False if there was none."""
    if changed == 0:
        return False
    row = select(connection, f"SELECT {_SUMMED} FROM schedules WHERE name = %s", (name,))[0]  # noqa: S608
    change(connection, "UPDATE schedules SET sum = %s WHERE name = %s", (row_sum(*row), name))
    return True
