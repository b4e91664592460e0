"""Mending a damaged file: rows are made again from records; lost records are never made up.

What loses nothing is done when asked: indexes are made again from their tables, and a run's row
from its records. A run whose chain is broken keeps what stands before the break, and only where
the caller says so: it then ends as failed, since nobody knows what ran after, and taking it up
again could do that a second time. A copy of the file is made before anything is changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from tandem_orchestrator.journal.journal import OutputLost, Record, RunRow
from tandem_orchestrator.journal.lease import is_held, lease_folder
from tandem_orchestrator.journal.parts import decode_body
from tandem_orchestrator.journal.sqlite import outputs, reading
from tandem_orchestrator.journal.sqlite.connection import (
    alone,
    connect_writer,
    journal_error,
    make_file,
    select,
)
from tandem_orchestrator.journal.sqlite.controls import damaged_controls
from tandem_orchestrator.journal.sqlite.schema import migrate
from tandem_orchestrator.journal.sqlite.timetable import damaged_schedules
from tandem_orchestrator.journal.telling import ROW_FIELDS, key_of, told_row
from tandem_orchestrator.model.events import AnyEvent, RunAccepted, RunEnded, encode_event

_LOCK_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Mending:
    """What became of a repair."""

    mended: tuple[str, ...]
    """One line for each thing that was changed."""
    left: tuple[str, ...]
    """What ``check`` still finds; empty if all is well now."""
    droppable: tuple[str, ...]
    """What would be dropped if that were asked for: one line per run."""
    copy: Path | None
    """The file as it was; None if nothing was changed."""


def repair(
    path: Path, *, drop_tails: bool = False, wall_ns: Callable[[], int] = time.time_ns
) -> Mending:
    """Mend the journal in ``path``, which nobody has open meanwhile.

    Args:
        drop_tails: Drop the records of a run from its first damaged or lost one on, and end it.
        wall_ns: Nanoseconds since the epoch, for the copy's name and the events that are added.

    Raises: JournalError if there is no such file, somebody works with it, or it is not readable.
    """
    if not path.is_file():
        raise JournalError(f"journal {path} does not exist")
    folder = lease_folder(path)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with alone(folder / "setup.lock"):
            for lease in sorted(folder.glob("*.lease")):
                if is_held(folder, lease.stem):
                    raise JournalError(
                        f"journal {path}: owner {lease.stem} is at work in it; close it first"
                    )
            connection = connect_writer(path, None, _LOCK_WAIT_S)
            try:
                migrate(connection, path)
                return _Mender(connection, path, drop_tails, wall_ns).mend()
            finally:
                connection.close()
    except (apsw.Error, OSError) as error:
        raise journal_error(path, error, "cannot mend it") from error


@dataclass(slots=True)
class _Chain:
    """The part of a run's records that can be trusted: all from the first one on."""

    records: list[Record]
    link: bytes
    stored: int
    """Rows that there are, whatever they hold."""
    lacks_inputs: bool = False
    """Whether a large input of the run is lost, so that its digest cannot be told."""


class _Mender:
    def __init__(
        self,
        connection: apsw.Connection,
        path: Path,
        drop_tails: bool,
        wall_ns: Callable[[], int],
    ) -> None:
        self._connection = connection
        self._path = path
        self._drops = drop_tails
        self._wall_ns = wall_ns
        self._mended: list[str] = []
        self._droppable: list[str] = []

    def mend(self) -> Mending:
        """Copy, change, check."""
        faults = tuple(reading.faults_of(self._connection, self._path))
        if not faults:
            return Mending((), (), (), None)
        copy = self._copy()
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._mend_indexes()
            self._mend_leases()
            self._mend_sums()
            self._mend_missing_rows()
            for key, run_id in select(self._connection, "SELECT id, run_id FROM runs ORDER BY id"):
                self._mend_run(key, run_id)
            if listed := outputs.list_again(self._connection, self._path):
                self._mended.append(f"{listed} large output(s) were listed again")
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        if not self._mended:
            copy.unlink()
            return Mending((), faults, tuple(self._droppable), None)
        left = tuple(reading.faults_of(self._connection, self._path))
        return Mending(tuple(self._mended), left, tuple(self._droppable), copy)

    def _copy(self) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._wall_ns() / 1e9))
        copy = self._path.with_name(f"{self._path.name}.before-repair-{stamp}")
        if copy.exists():
            raise JournalError(f"{copy} exists already; move it away")
        make_file(copy)  # for this user alone
        target = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            with target.backup("main", self._connection, "main") as pages:
                pages.step(-1)
        finally:
            target.close()
        return copy

    def _mend_indexes(self) -> None:
        if self._integrity():
            self._connection.execute("SAVEPOINT indexes")
            try:
                self._connection.execute("REINDEX")
                is_whole = not self._integrity()
            except (apsw.ConstraintError, apsw.CorruptError):
                is_whole = False
            if is_whole:
                self._mended.append("the indexes were made again from their tables")
            else:
                self._connection.execute("ROLLBACK TO indexes")
            self._connection.execute("RELEASE indexes")

    def _integrity(self) -> list[str]:
        lines = select(self._connection, "PRAGMA integrity_check(1)")
        return [line for (line,) in lines if line != "ok"]

    def _mend_leases(self) -> None:
        lost = select(
            self._connection,
            "SELECT DISTINCT token FROM runs WHERE token NOT IN (SELECT token FROM leases)",
        )
        for (token,) in lost:
            self._connection.execute(
                "INSERT INTO leases (token, owner, pid, host, since_ns, ended_ns)"
                " VALUES (?, ?, 0, '', 0, 0)",
                (token, f"lost-{token}"),
            )
            self._mended.append(f"lease {token} was missing; its owner counts as dead")

    def _mend_sums(self) -> None:
        """Leases are for people to read, so that they may stay; what asks for something may not."""
        leases = select(
            self._connection, "SELECT token, sum, owner, pid, host, since_ns FROM leases"
        )
        for token, stored, *lease in leases:
            if stored is not None and stored != row_sum(*lease):
                self._connection.execute("UPDATE leases SET sum = NULL WHERE token = ?", (token,))
                self._mended.append(f"lease {token} was damaged; what it says now is kept")
        for fault in list(damaged_controls(self._connection)):
            self._drop(fault, "DELETE FROM controls WHERE id = ?", fault.split("'")[1])
        for name in damaged_schedules(self._connection):
            fault = f"schedule '{name}' was changed or damaged since it was written"
            self._drop(fault, "DELETE FROM schedules WHERE name = ?", name)

    def _drop(self, fault: str, statement: str, name: str) -> None:
        if not self._drops:
            self._droppable.append(fault)
            return
        self._connection.execute(statement, (name,))
        if self._connection.changes():
            self._mended.append(f"{fault}; it was dropped")

    def _mend_missing_rows(self) -> None:
        lost = select(
            self._connection,
            "SELECT DISTINCT run FROM records WHERE run NOT IN (SELECT id FROM runs)",
        )
        for (key,) in lost:
            chain = self._chain(key, None)
            if not chain.records:
                continue
            first = chain.records[0].event
            assert isinstance(first, RunAccepted)
            taken = select(self._connection, "SELECT 1 FROM runs WHERE run_id = ?", (first.run_id,))
            lost_records = chain.stored - len(chain.records)
            if lost_records and not self._drops:
                self._droppable.append(
                    f"run {first.run_id}: {lost_records} record(s) from {len(chain.records) + 1} "
                    "on are damaged or lost, and its row is missing"
                )
            if taken or (lost_records and not self._drops):
                continue
            row = replace(told_row(chain.records, ""), waiting_for=first.waiting_for)
            columns = {
                "id": key,
                "run_id": first.run_id,
                "token": self._dead_token(),
                **_columns(row, chain.link),
                **self._key_columns(chain),
            }
            names = ", ".join(columns)  # names are ours, never input
            self._connection.execute(
                f"INSERT INTO runs ({names}) VALUES ({', '.join('?' * len(columns))})",  # noqa: S608
                tuple(columns.values()),
            )
            self._mended.append(f"run {first.run_id}: its row was made again from its records")

    def _dead_token(self) -> int:
        """Make a lease that nobody holds, for a run whose owner is not known any more."""
        owner = f"repair-{self._wall_ns()}"
        self._connection.execute(
            "INSERT INTO leases (owner, pid, host, since_ns, ended_ns) VALUES (?, 0, '', 0, 0)"
            " ON CONFLICT (owner) DO NOTHING",
            (owner,),
        )
        rows = select(self._connection, "SELECT token FROM leases WHERE owner = ?", (owner,))
        return int(rows[0][0])

    def _key_columns(self, chain: _Chain) -> dict[str, Any]:
        """Give the idempotency key back, unless another run has it by now."""
        first = chain.records[0].event
        assert isinstance(first, RunAccepted)
        if chain.lacks_inputs:
            return {}
        key, digest = key_of(first)
        used = select(
            self._connection,
            "SELECT 1 FROM runs WHERE idempotency_key = ? AND run_id <> ?",
            (key, first.run_id),
        )
        return {} if used else {"idempotency_key": key, "digest": digest}

    def _mend_run(self, key: int, run_id: str) -> None:
        chain = self._chain(key, run_id)
        if not chain.records:
            return  # nothing of it can be trusted: ``left`` names it
        row = reading.read_run(self._connection, run_id, lambda _owner: True)
        if row is None:
            return
        told = told_row(chain.records, row.owner)
        first_bad = len(chain.records) + 1
        lost = max(chain.stored, row.records) - len(chain.records)
        if lost > 0:
            if not self._drops:
                self._droppable.append(
                    f"run {run_id}: {lost} record(s) from {first_bad} on are damaged or lost"
                )
                return
            self._connection.execute(
                "DELETE FROM records WHERE run = ? AND seq NOT BETWEEN 1 AND ?",
                (key, len(chain.records)),
            )
            if told.finished_at_ns is None:
                self._end(key, chain, told, lost)
                told = told_row(chain.records, row.owner)
            self._mended.append(
                f"run {run_id}: {lost} record(s) from {first_bad} on were dropped; it is "
                f"{told.status} now"
            )
        first = chain.records[0].event
        assert isinstance(first, RunAccepted)
        kept = select(
            self._connection, "SELECT link, idempotency_key, digest FROM runs WHERE id = ?", (key,)
        )
        told = replace(told, waiting_for=row.waiting_for)
        told_key = kept[0][1:] if chain.lacks_inputs else key_of(first)
        if told == row and kept[0] == (chain.link, *told_key):
            return
        if lost <= 0:
            self._mended.append(f"run {run_id}: its row was made again from its records")
        columns = {**_columns(told, chain.link), **self._key_columns(chain)}
        names = ", ".join(f"{name} = ?" for name in columns)  # names are ours, never input
        self._connection.execute(
            f"UPDATE runs SET {names} WHERE id = ?",  # noqa: S608
            (*columns.values(), key),
        )

    def _end(self, key: int, chain: _Chain, told: RunRow, lost: int) -> None:
        """Add the event that ends a run whose later records are gone."""
        now_ns, seq = self._wall_ns(), len(chain.records) + 1
        began_ns = told.started_at_ns or told.created_at_ns
        event = RunEnded(
            at_ns=now_ns,
            status="failed",
            error=f"{lost} record(s) from {seq} on were damaged or lost and were dropped by a "
            "repair of the journal; what ran after is not known",
            duration=max(now_ns - began_ns, 0) / 1e9,
        )
        body, kind = encode_event(event), "run_ended"
        chain.link = next_link(chain.link, seq, PLAIN_VERSION, kind, None, None, now_ns, body)
        self._connection.execute(
            "INSERT INTO records (run, seq, version, kind, unit, attempt, at_ns, link, body)"
            " VALUES (?, ?, ?, ?, NULL, NULL, ?, ?, ?)",
            (key, seq, PLAIN_VERSION, kind, now_ns, chain.link, body),
        )
        run_id = chain.records[0].run_id
        chain.records.append(Record(seq, run_id, kind, None, None, now_ns, event))

    def _chain(self, key: int, run_id: str | None) -> _Chain:
        """Read a run's records up to the first that cannot be trusted."""
        chain = _Chain([], b"", 0)
        for seq, version, kind, unit, attempt, at_ns, stored, body in self._rows(key):
            chain.stored += 1
            if chain.stored != len(chain.records) + 1 or version > RECORD_VERSION:
                continue  # after a break: counted only
            try:
                event = self._decode(chain, version, body)
            except (msgspec.MsgspecError, ValueError):
                continue
            if not chain.records:
                if not isinstance(event, RunAccepted) or run_id not in (None, event.run_id):
                    continue
                run_id = event.run_id
                chain.link = first_link(run_id)
            link = next_link(chain.link, seq, version, kind, unit, attempt, at_ns, body)
            if seq == chain.stored and link == stored:
                chain.link = link
                record = Record(seq, str(run_id), kind, unit, attempt, at_ns, event)
                chain.records.append(record)
        return chain

    def _decode(self, chain: _Chain, version: int, body: bytes) -> AnyEvent:
        """Decode an event; large outputs are needed of the first one only, for its key's digest."""
        has_parts = version > PLAIN_VERSION
        if has_parts and not chain.records:
            try:
                load = outputs.loader(self._connection, self._path)
                return decode_body(body, has_parts=True, load=load)
            except OutputLost:
                chain.lacks_inputs = True
        return decode_body(body, has_parts=has_parts, load=None)

    def _rows(self, key: int) -> Iterator[tuple[Any, ...]]:
        yield from select(
            self._connection,
            "SELECT seq, version, kind, unit, attempt, at_ns, link, body FROM records"
            " WHERE run = ? ORDER BY seq",
            (key,),
        )


_UNTOLD = ("run_id", "owner")
"""Fields of a row that are no columns, or never change."""


def _columns(row: RunRow, link: bytes) -> dict[str, Any]:
    told = {name: getattr(row, name) for name in ROW_FIELDS if name not in _UNTOLD}
    told["waiting_for"] = msgspec.msgpack.encode(row.waiting_for)
    told["resumable"] = int(row.resumable)
    return {**told, "link": link}
