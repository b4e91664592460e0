"""What is read from the file: records with their chain checked, and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.chain import (
    PLAIN_VERSION,
    RECORD_VERSION,
    first_link,
    next_link,
    row_sum,
)
from tandem_orchestrator.journal.journal import (
    Chooser,
    KeyUse,
    OutputLost,
    Owner,
    Record,
    RunRow,
)
from tandem_orchestrator.journal.parts import Load, decode_body
from tandem_orchestrator.journal.projection import shown_status
from tandem_orchestrator.journal.shared_words import LONG_RUN, SharedWords
from tandem_orchestrator.journal.sqlite import outputs
from tandem_orchestrator.journal.sqlite.connection import select
from tandem_orchestrator.journal.sqlite.controls import damaged_controls
from tandem_orchestrator.journal.sqlite.schema import FOUND
from tandem_orchestrator.journal.sqlite.timetable import damaged_schedules
from tandem_orchestrator.journal.telling import ROW_FIELDS, key_of, row_faults
from tandem_orchestrator.model.events import RunAccepted
from tandem_orchestrator.model.outcomes import RunStatus

_T = TypeVar("_T")
_INTERRUPTED = RunStatus.INTERRUPTED.value

_ROW = f"SELECT {', '.join(ROW_FIELDS)} FROM runs JOIN leases USING (token) "  # noqa: S608
_LIST = f"SELECT {', '.join(ROW_FIELDS)} FROM runs {{}} JOIN leases USING (token)"  # noqa: S608
"""With the index to be used, or nothing. SQLite would go through all runs in the order that is asked
for, to save itself the sorting of the few that have not ended, or have failed."""

_ENDED = tuple(status.value for status in RunStatus if status.is_final)
_MOVING = ("queued", "running", "paused")
"""Statuses that are shown as interrupted where nobody moves the run."""
_DEAD = "token IN (SELECT value FROM json_each(?))"

_waiting_for = msgspec.msgpack.Decoder(tuple[str, ...])


def read_records(
    connection: apsw.Connection,
    path: Path,
    run_id: str,
    after: int,
    limit: int | None,
    load: Load | None = None,
) -> list[Record]:
    """Read records from ``after + 1`` on.

    Args:
        load: Gives large outputs; None leaves their names in their place.

    Raises: JournalError naming run and record where the chain is broken; OutputLost.
    """
    try:
        with connection:  # one snapshot for the run's row and its records
            records = list(_records(connection, path, run_id, after, limit, load))
    except OutputLost:
        if read_run(connection, run_id, lambda _owner: True) is None:
            return []  # the run was removed while it was read, and its outputs with it
        raise
    return records


def _records(
    connection: apsw.Connection,
    path: Path,
    run_id: str,
    after: int,
    limit: int | None,
    load: Load | None,
) -> Iterator[Record]:
    """Read records one by one: of a long run the rows are not in memory beside them."""
    runs = select(connection, "SELECT id, records, link FROM runs WHERE run_id = ?", (run_id,))
    if not runs:
        return
    key, last_seq, last_link = runs[0]
    wanted = last_seq - after if limit is None else min(limit, last_seq - after)
    if wanted <= 0:
        return
    # The record before the first one is read along: its link is where the chain goes on.
    rows = connection.execute(
        "SELECT seq, version, kind, unit, attempt, at_ns, link, body FROM records"
        " WHERE run = ? AND seq >= ? ORDER BY seq LIMIT ?",
        (key, max(after, 1), wanted + (after > 0)),
    )
    known = SharedWords() if wanted >= LONG_RUN else None
    link, expected, found = first_link(run_id), 1, 0
    for seq, version, kind, unit, attempt, at_ns, stored, body in rows:
        if seq == after and seq > 0:
            link, expected = stored, seq + 1
            continue
        expected = max(expected, after + 1)
        where = f"journal {path}: run {run_id}, record {expected}"
        if version > RECORD_VERSION:
            raise JournalError(f"{where} has version {version}, written by a newer Tandem")
        link = next_link(link, seq, version, kind, unit, attempt, at_ns, body)
        if seq != expected or link != stored:
            raise _broken(where)
        try:
            event = decode_body(body, has_parts=version > PLAIN_VERSION, load=load)
        except OutputLost as error:
            raise error.named_by(where) from error
        except (msgspec.MsgspecError, ValueError) as error:
            raise JournalError(f"{where} cannot be decoded: {error}") from error
        if known is not None:
            kind = known.word(kind)
            known.share(event)
        yield Record(seq, run_id, kind, unit, attempt, at_ns, event)
        expected, found = expected + 1, found + 1
    if found != wanted or (expected > last_seq and link != last_link):
        raise _broken(f"journal {path}: run {run_id}, record {expected}")


def read_whole(
    connection: apsw.Connection, path: Path, run_id: str, after: int, limit: int | None
) -> list[Record]:
    """Read records with their large outputs; see ``read_records``."""
    load = outputs.loader(connection, path)
    return read_records(connection, path, run_id, after, limit, load)


def find_records(
    connection: apsw.Connection,
    path: Path,
    kind: str,
    choose: Chooser[_T],
    run_id: str | None,
    limit: int,
) -> list[_T]:
    """Look through the records of one kind, newest first; see ``Journal.find``.

    Raises: JournalError if one cannot be decoded.
    """
    query = (
        "SELECT run_id, seq, kind, unit, attempt, at_ns, version, body FROM records"
        " CROSS JOIN runs ON runs.id = records.run WHERE kind = ?"
    )
    if kind in FOUND:
        query += f" AND records.{FOUND}"  # the index is used only where the query says what it has
    values: tuple[apsw.SQLiteValue, ...] = (kind,)
    if run_id is not None:
        query, values = query + " AND run_id = ?", (kind, run_id)
    found: list[_T] = []
    load = outputs.loader(connection, path)
    for name, seq, kind, unit, attempt, at_ns, version, body in connection.execute(
        query + " ORDER BY records.id DESC", values
    ):
        if len(found) >= limit:
            break
        try:
            event = decode_body(body, has_parts=version > PLAIN_VERSION, load=load)
            record = Record(seq, name, kind, unit, attempt, at_ns, event)
        except OutputLost as error:
            raise error.named_by(f"journal {path}: run {name}, record {seq}") from error
        except (msgspec.MsgspecError, ValueError) as error:
            where = f"journal {path}: run {name}, record {seq}"
            raise JournalError(f"{where} cannot be decoded: {error}") from error
        if (made := choose(record)) is not None:
            found.append(made)
    return found


def _broken(where: str) -> JournalError:
    return JournalError(
        f"{where} was changed, lost or damaged since it was written; keep a copy of the file"
    )


def read_run(
    connection: apsw.Connection, run_id: str, is_alive: Callable[[str], bool]
) -> RunRow | None:
    """Read one row as it is to be shown."""
    rows = select(connection, _ROW + "WHERE run_id = ?", (run_id,))
    return _row(rows[0], is_alive) if rows else None


def read_runs(
    connection: apsw.Connection,
    is_alive: Callable[[str], bool],
    *,
    status: str | None,
    name: str | None,
    limit: int,
    edge: tuple[int, str] | None,
) -> list[RunRow]:
    """List rows as they are to be shown, newest first, older than ``edge`` (time, run id)."""
    where, values, index = ["1"], list[Any](), ""
    with connection:
        if status is not None:
            condition, needed, index = _has_status(connection, is_alive, status)
            where.append(condition)
            values += needed
        if name is not None:
            where.append("name = ?")
            values.append(name)
        if edge is not None:
            where.append("(created_at_ns, run_id) < (?, ?)")
            values += edge
        rows = select(
            connection,
            f"{_LIST.format(index)} WHERE {' AND '.join(where)} ORDER BY created_at_ns DESC, run_id DESC LIMIT ?",
            (*values, limit),
        )
    alive: dict[str, bool] = {}

    def is_alive_once(owner: str) -> bool:
        return alive[owner] if owner in alive else alive.setdefault(owner, is_alive(owner))

    return [_row(row, is_alive_once) for row in rows]


def _has_status(
    connection: apsw.Connection, is_alive: Callable[[str], bool], status: str
) -> tuple[str, list[Any], str]:
    """Give what finds runs that are shown with a status: a condition, its values, its index."""
    if status == RunStatus.COMPLETED:
        return "status = ?", [status], ""
    if status in _ENDED:
        ended_badly = "finished_at_ns IS NOT NULL AND status <> 'completed'"
        return f"{ended_badly} AND status = ?", [status], "INDEXED BY runs_ended_badly"
    index = "INDEXED BY runs_unfinished"
    if status not in (*_MOVING, _INTERRUPTED):
        return "finished_at_ns IS NULL AND status = ?", [status], index
    owners = read_owners(connection, is_alive)
    dead = msgspec.json.encode([owner.token for owner in owners if not owner.alive]).decode()
    if status != _INTERRUPTED:
        condition = f"finished_at_ns IS NULL AND status = ? AND NOT {_DEAD}"
        return condition, [status, dead], index
    moving = ", ".join(f"'{word}'" for word in _MOVING)
    return f"finished_at_ns IS NULL AND status IN ({moving}) AND {_DEAD}", [dead], index


def _row(values: tuple[Any, ...], is_alive: Callable[[str], bool]) -> RunRow:
    columns = dict(zip(ROW_FIELDS, values, strict=True))
    columns["waiting_for"] = _waiting_for.decode(columns["waiting_for"])
    columns["resumable"] = bool(columns["resumable"])
    row = RunRow(**columns)
    has_ended = row.finished_at_ns is not None
    status = shown_status(row.status, owner_alive=has_ended or is_alive(row.owner))
    return row if status == row.status else replace(row, status=status)


def read_owners(connection: apsw.Connection, is_alive: Callable[[str], bool]) -> list[Owner]:
    """List owners that are alive or have runs that have not ended."""
    rows = select(
        connection,
        "SELECT owner, token, pid, host, since_ns FROM leases WHERE ended_ns IS NULL"
        " OR token IN (SELECT token FROM runs WHERE finished_at_ns IS NULL) ORDER BY token",
    )
    owners = [
        Owner(owner, token, pid, host, since_ns, is_alive(owner))
        for owner, token, pid, host, since_ns in rows
    ]
    needed = {
        token
        for (token,) in select(
            connection, "SELECT DISTINCT token FROM runs WHERE finished_at_ns IS NULL"
        )
    }
    return [owner for owner in owners if owner.alive or owner.token in needed]


def read_key_use(connection: apsw.Connection, key: str) -> KeyUse | None:
    """Find the run that was accepted with a key."""
    rows = select(connection, "SELECT run_id, digest FROM runs WHERE idempotency_key = ?", (key,))
    return KeyUse(*rows[0]) if rows else None


def faults_of(connection: apsw.Connection, path: Path) -> Iterator[str]:
    """Verify the file, every chain and every row; yields one line per fault."""
    for (line,) in select(connection, "PRAGMA integrity_check(100)"):
        if line != "ok":
            yield f"journal {path}: {line}"
    for table, row_id, parent, _ in select(connection, "PRAGMA foreign_key_check"):
        yield f"journal {path}: {table} row {row_id} has no {parent}"
    yield from (f"journal {path}: {fault}" for fault in damaged_controls(connection))
    for name in damaged_schedules(connection):
        yield f"journal {path}: schedule '{name}' was changed or damaged since it was written"
    for token, stored, *lease in select(
        connection, "SELECT token, sum, owner, pid, host, since_ns FROM leases"
    ):
        if stored is not None and stored != row_sum(*lease):
            yield f"journal {path}: lease {token} was changed or damaged since it was written"
    yield from (f"journal {path}: {fault}" for fault in outputs.damaged_outputs(connection, path))
    for run_id, key, digest in select(
        connection, "SELECT run_id, idempotency_key, digest FROM runs ORDER BY id"
    ):
        try:
            records = read_records(connection, path, run_id, 0, None)
        except JournalError as error:
            yield str(error)
            continue
        row = read_run(connection, run_id, lambda _owner: True)
        where = f"journal {path}: run {run_id}"
        if row is None or not records or not isinstance(records[0].event, RunAccepted):
            yield f"{where}, record 1 is missing or accepts no run"
        else:
            first = _whole(connection, path, records[0])
            if first is not None and (key, digest) != key_of(first):
                yield f"{where}: its row says another idempotency key or digest than its records"
            yield from (f"{where}: {fault}" for fault in row_faults(row, records))


def _whole(connection: apsw.Connection, path: Path, record: Record) -> RunAccepted | None:
    """Give an accepted run with its large inputs; None where one is lost, which is told already."""
    try:
        event = read_whole(connection, path, record.run_id, 0, 1)[0].event
    except OutputLost:
        return None
    assert isinstance(event, RunAccepted)
    return event
