"""What is read from the database: records with their chain checked, and rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
import psycopg

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.chain import PLAIN_VERSION, first_link, next_link, row_sum
from tandem_orchestrator.journal.journal import Chooser, KeyUse, Record, RunRow
from tandem_orchestrator.journal.postgres.connection import Place, select, snapshot
from tandem_orchestrator.journal.postgres.controls import damaged_controls
from tandem_orchestrator.journal.postgres.leases import LIVES, Living
from tandem_orchestrator.journal.postgres.schema import FOUND
from tandem_orchestrator.journal.postgres.timetable import damaged_schedules
from tandem_orchestrator.journal.projection import shown_status
from tandem_orchestrator.journal.telling import ROW_FIELDS, key_of, row_faults
from tandem_orchestrator.model.events import RunAccepted, decode_event

_T = TypeVar("_T")

FIND_BATCH = 500
"""Records that ``find_records`` fetches at a time."""

_ROW = f"SELECT {', '.join(ROW_FIELDS)}, {LIVES} FROM runs JOIN leases USING (token) "  # noqa: S608

_SHOWN = f"""
CASE WHEN status IN ('queued', 'running', 'paused') AND NOT {LIVES}
    THEN 'interrupted' ELSE status END
"""

_waiting_for = msgspec.msgpack.Decoder(tuple[str, ...])


def read_records(
    connection: psycopg.Connection[Any],
    place: Place,
    run_id: str,
    after: int,
    limit: int | None,
) -> list[Record]:
    """Read records from ``after + 1`` on.

    Raises: JournalError naming run and record where the chain is broken.
    """
    with snapshot(connection):  # the run's row and its records as they were at one moment
        runs = select(connection, "SELECT id, records, link FROM runs WHERE run_id = %s", (run_id,))
        if not runs:
            return []
        key, last_seq, last_link = runs[0]
        wanted = last_seq - after if limit is None else min(limit, last_seq - after)
        if wanted <= 0:
            return []
        # The record before the first one is read along: its link is where the chain goes on.
        rows = select(
            connection,
            "SELECT seq, version, kind, unit, attempt, at_ns, link, body FROM records"
            " WHERE run = %s AND seq >= %s ORDER BY seq LIMIT %s",
            (key, max(after, 1), wanted + (after > 0)),
        )
    records = []
    link, expected = first_link(run_id), 1
    for seq, version, kind, unit, attempt, at_ns, stored, body in rows:
        if seq == after and seq > 0:
            link, expected = stored, seq + 1
            continue
        expected = max(expected, after + 1)
        where = f"journal {place}: run {run_id}, record {expected}"
        if version > PLAIN_VERSION:
            raise JournalError(f"{where} has version {version}, written by a newer Tandem")
        link = next_link(link, seq, version, kind, unit, attempt, at_ns, body)
        if seq != expected or link != stored:
            raise _broken(where)
        records.append(Record(seq, run_id, kind, unit, attempt, at_ns, _decoded(body, where)))
        expected += 1
    if len(records) != wanted or (expected > last_seq and link != last_link):
        raise _broken(f"journal {place}: run {run_id}, record {expected}")
    return records


# Any: an event of any kind.
def _decoded(body: bytes, where: str) -> Any:
    try:
        return decode_event(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JournalError(f"{where} cannot be decoded: {error}") from error


def _broken(where: str) -> JournalError:
    return JournalError(
        f"{where} was changed, lost or damaged since it was written; keep a copy of the database"
    )


def find_records(
    connection: psycopg.Connection[Any],
    place: Place,
    kind: str,
    choose: Chooser[_T],
    run_id: str | None,
    limit: int,
) -> list[_T]:
    """Look through the records of one kind, newest first; see ``Journal.find``.

    Raises: JournalError if one cannot be decoded.
    """
    if limit <= 0:
        return []
    query = (
        "SELECT run_id, seq, kind, unit, attempt, at_ns, body FROM records"
        " JOIN runs ON runs.id = records.run WHERE kind = %s"
    )
    if kind in FOUND:
        query += f" AND records.{FOUND}"  # the index is used only where the query says what it has
    values: tuple[Any, ...] = (kind,)
    if run_id is not None:
        query, values = query + " AND run_id = %s", (kind, run_id)
    query += " ORDER BY at_ns DESC, records.run DESC, seq DESC"
    found: list[_T] = []
    # A cursor on the server: all records of a kind may be more than memory holds.
    with (
        snapshot(connection),
        psycopg.ServerCursor(connection, "found") as cursor,
    ):
        cursor.itersize = FIND_BATCH
        cursor.execute(query, values, binary=True)
        for name, seq, kind, unit, attempt, at_ns, body in cursor:
            where = f"journal {place}: run {name}, record {seq}"
            record = Record(seq, name, kind, unit, attempt, at_ns, _decoded(body, where))
            if (made := choose(record)) is not None:
                found.append(made)
                if len(found) >= limit:
                    break
    return found


def read_run(
    connection: psycopg.Connection[Any], run_id: str, living: Living | None
) -> RunRow | None:
    """Read one row as it is to be shown; ``living`` hears how its owner is."""
    rows = _rows(select(connection, _ROW + "WHERE run_id = %s", (run_id,)), living)
    return rows[0] if rows else None


def read_runs(
    connection: psycopg.Connection[Any],
    living: Living,
    *,
    status: str | None,
    name: str | None,
    limit: int,
    edge: tuple[int, str] | None,
) -> list[RunRow]:
    """List rows as they are to be shown, newest first, older than ``edge`` (time, run id)."""
    where, values = ["true"], list[Any]()
    if status is not None:
        where.append(f"{_SHOWN} = %s")
        values.append(status)
    if name is not None:
        where.append("name = %s")
        values.append(name)
    if edge is not None:
        where.append("(created_at_ns, run_id) < (%s, %s)")
        values += edge
    rows = select(
        connection,
        f"{_ROW} WHERE {' AND '.join(where)} ORDER BY created_at_ns DESC, run_id DESC LIMIT %s",
        (*values, limit),
    )
    return _rows(rows, living)


def _rows(rows: list[tuple[Any, ...]], living: Living | None) -> list[RunRow]:
    shown, owners = [], dict[str, bool]()
    for *values, is_alive in rows:
        columns = dict(zip(ROW_FIELDS, values, strict=True))
        columns["waiting_for"] = _waiting_for.decode(columns["waiting_for"])
        row = RunRow(**columns)
        owners[row.owner] = is_alive
        status = shown_status(row.status, owner_alive=row.finished_at_ns is not None or is_alive)
        shown.append(row if status == row.status else replace(row, status=status))
    if living is not None and owners:
        living.note(owners)
    return shown


def read_key_use(connection: psycopg.Connection[Any], key: str) -> KeyUse | None:
    """Find the run that was accepted with a key."""
    query = "SELECT run_id, digest FROM runs WHERE idempotency_key = %s"
    rows = select(connection, query, (key,))
    return KeyUse(*rows[0]) if rows else None


def faults_of(connection: psycopg.Connection[Any], place: Place) -> Iterator[str]:
    """Verify every chain and every row; yields one line per fault.

    Whether the tables' pages are whole is the server's to say: see ``pg_amcheck`` and checksums.
    """
    for (run,) in select(
        connection,
        "SELECT DISTINCT run FROM records WHERE NOT EXISTS"
        " (SELECT 1 FROM runs WHERE runs.id = records.run)",
    ):
        yield f"journal {place}: records of run {run} have no row in runs"
    yield from (f"journal {place}: {fault}" for fault in damaged_controls(connection))
    for name in damaged_schedules(connection):
        yield f"journal {place}: schedule '{name}' was changed or damaged since it was written"
    for token, stored, *lease in select(
        connection, "SELECT token, sum, owner, pid, host, since_ns FROM leases"
    ):
        if stored != row_sum(*lease):
            yield f"journal {place}: lease {token} was changed or damaged since it was written"
    for run_id, key, digest in select(
        connection, "SELECT run_id, idempotency_key, digest FROM runs ORDER BY id"
    ):
        yield from _run_faults(connection, place, run_id, (key, digest))


def _run_faults(
    connection: psycopg.Connection[Any],
    place: Place,
    run_id: str,
    key: tuple[str | None, str | None],
) -> Iterator[str]:
    where = f"journal {place}: run {run_id}"
    while True:
        row = read_run(connection, run_id, None)
        try:
            records = read_records(connection, place, run_id, 0, None)
        except JournalError as error:
            yield str(error)
            return
        if row is None:
            return  # removed meanwhile
        if records and row.records == records[-1].seq:
            break  # else it went on between the two looks: the chain says what is missing
    if not isinstance(records[0].event, RunAccepted):
        yield f"{where}, record 1 is missing or accepts no run"
        return
    if key != key_of(records[0].event):
        yield f"{where}: its row says another idempotency key or digest than its records"
    row = replace(row, status=_stored_status(connection, run_id))
    yield from (f"{where}: {fault}" for fault in row_faults(row, records))


def _stored_status(connection: psycopg.Connection[Any], run_id: str) -> str:
    rows = select(connection, "SELECT status FROM runs WHERE run_id = %s", (run_id,))
    return str(rows[0][0]) if rows else ""
