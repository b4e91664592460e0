"""One transaction of appends: all that is written, refused or rolled back together.

Refusals concern one append each: they undo that append and leave the rest alone. Everything else
that goes wrong is an ``apsw.Error`` that goes up and stops the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

import apsw
import msgspec

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.chain import first_link, next_link
from tandem_orchestrator.journal.entry import COMPLETIONS, Entry
from tandem_orchestrator.journal.journal import (
    CompletionTaken,
    KeyTaken,
    OwnerChanged,
    request_digest,
)
from tandem_orchestrator.journal.projection import changed_columns, first_row
from tandem_orchestrator.journal.sqlite.connection import select
from tandem_orchestrator.journal.sqlite.whole_runs import is_whole, write_whole
from tandem_orchestrator.model.events import RunAccepted

ROWS_MAX = 16
"""Records that one statement inserts: each statement lets other threads have the interpreter."""

HEADS_MAX = 10_000
"""Runs whose heads are kept; of a run that waits longer its next append reads it anew."""


@cache
def _insert_records(rows: int) -> str:
    """Give the statement that writes and fences at once: nothing where the run is not ours any more.

    Its values: run, token, then for each row seq, version, kind, unit, attempt, at_ns, link, body.
    """
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        "INSERT INTO records (run, seq, version, kind, unit, attempt, at_ns, link, body)"  # noqa: S608
        " SELECT mine.id, new.* FROM (SELECT id FROM runs WHERE id = ? AND token = ?) AS mine"
        f" CROSS JOIN (VALUES {values}) AS new"
    )


_INSERT_RUN = """
INSERT INTO runs (run_id, token, command_set_id, name, type, mode, priority, durability, status,
    created_at_ns, steps_total, steps_done, waiting_for, resumable, idempotency_key, digest,
    records, link)
SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, 0, ?12, ?13, ?14, ?15, 0, ?16
WHERE EXISTS (SELECT 1 FROM leases WHERE token = ?2 AND ended_ns IS NULL)
"""


_INSERT_USE = "INSERT OR IGNORE INTO output_uses (run, digest, bytes) VALUES (?, ?, ?)"


@dataclass(slots=True)
class _Head:
    """Where a run stands; what the next record is chained to."""

    key: int
    """``runs.id``."""
    seq: int
    link: bytes
    steps_done: int
    columns: dict[str, Any] = field(default_factory=dict)
    """Changed in this transaction and not yet written."""

    def copy(self) -> _Head:
        return _Head(self.key, self.seq, self.link, self.steps_done, dict(self.columns))


class Transaction:
    """Writes appends on behalf of one lease; remembers where that lease's runs stand.

    Args:
        connection: The writer's.
        token: The lease that every insert is fenced by.
        owner: Its owner, for the rows.
    """

    def __init__(self, connection: apsw.Connection, token: int, owner: str) -> None:
        self._connection = connection
        self._token = token
        self._owner = owner
        self._heads: dict[str, _Head] = {}
        self._touched: dict[str, _Head] = {}

    def append_all(
        self, appends: Sequence[tuple[str, Sequence[Entry]]]
    ) -> list[JournalError | None]:
        """Write appends inside the transaction that is open, in order; gives their refusals.

        Raises: apsw.Error when the store, not an append, is at fault.
        """
        refusals: list[JournalError | None] = []
        for whole, some in groupby(appends, lambda append: is_whole(append[1])):
            those = list(some)
            if whole and write_whole(self._connection, self._token, self._owner, those):
                refusals += [None] * len(those)
            else:
                refusals += [self.append(run_id, entries) for run_id, entries in those]
        return refusals

    def append(self, run_id: str, entries: Sequence[Entry]) -> JournalError | None:
        """Write one append inside the transaction that is open; gives its refusal, if any.

        Raises: apsw.Error when the store, not the append, is at fault.
        """
        before = self._heads.get(run_id)
        saved = before.copy() if before is not None else None
        was_touched = run_id in self._touched
        # A single insert undoes itself; more than one statement needs a savepoint.
        grouped = len(entries) > ROWS_MAX or isinstance(entries[0].event, RunAccepted)
        if grouped:
            self._connection.execute("SAVEPOINT one")
        refusal = self._write(run_id, entries)
        if refusal is not None:
            if saved is None:
                self._heads.pop(run_id, None)
            else:
                self._heads[run_id] = saved
            if was_touched and saved is not None:
                self._touched[run_id] = saved
            else:
                self._touched.pop(run_id, None)
            if grouped:
                self._connection.execute("ROLLBACK TO one")
        if grouped:
            self._connection.execute("RELEASE one")
        return refusal

    def finish(self) -> None:
        """Bring the rows of the runs that were written to up to date, before the commit."""
        for run_id, head in self._touched.items():
            columns = {"records": head.seq, "link": head.link, **head.columns}
            names = ", ".join(f"{name} = ?" for name in columns)  # names are ours, never input
            self._connection.execute(
                f"UPDATE runs SET {names} WHERE id = ?",  # noqa: S608
                (*columns.values(), head.key),
            )
            if head.columns.get("finished_at_ns") is not None:
                del self._heads[run_id]
            head.columns = {}
        self._touched.clear()
        while len(self._heads) > HEADS_MAX:  # The one that was read longest ago.
            del self._heads[next(iter(self._heads))]

    def forget(self, run_id: str) -> None:
        """Read the run's head anew next time: it changed hands."""
        self._heads.pop(run_id, None)

    def _write(self, run_id: str, entries: Sequence[Entry]) -> JournalError | None:
        for position, entry in enumerate(entries):
            if isinstance(entry.event, RunAccepted):
                refusal = self._accept(run_id, entry.event, is_first=position == 0)
                if refusal is not None:
                    return refusal
        head = self._heads.get(run_id) or self._read_head(run_id)
        if head is None:
            return OwnerChanged(run_id, None)
        for first in range(0, len(entries), ROWS_MAX):
            refusal = self._insert(run_id, head, entries[first : first + ROWS_MAX])
            if refusal is not None:
                return refusal
        return None

    def _insert(self, run_id: str, head: _Head, entries: Sequence[Entry]) -> JournalError | None:
        seq, link = head.seq, head.link
        values: list[apsw.SQLiteValue] = [head.key, self._token]
        for entry in entries:
            seq += 1
            kind, unit, attempt, at_ns = entry.kind, entry.unit, entry.attempt, entry.at_ns
            body = entry.body
            version = entry.version
            link = next_link(link, seq, version, kind, unit, attempt, at_ns, body)
            values += (seq, version, kind, unit, attempt, at_ns, link, body)
        try:
            self._connection.execute(_insert_records(len(entries)), values)
        except apsw.ConstraintError:
            taken = self._completion_taken(head.key, entries)
            if taken is not None:
                return CompletionTaken(run_id, str(taken.unit), taken.attempt or 0)
            raise
        if self._connection.changes() == 0:
            return OwnerChanged(run_id, self._owner_of(run_id))
        head.seq, head.link = seq, link
        for part in (part for entry in entries for part in entry.parts):
            self._connection.execute(_INSERT_USE, (head.key, part.digest, len(part.body)))
        for entry in entries:
            columns = changed_columns(entry.event, steps_done=head.steps_done)
            if columns:
                head.steps_done = columns.get("steps_done", head.steps_done)
                head.columns |= columns
        self._heads[run_id] = self._touched[run_id] = head
        return None

    def _accept(self, run_id: str, event: RunAccepted, *, is_first: bool) -> JournalError | None:
        if event.run_id != run_id or not is_first:
            return JournalError(
                f"run {run_id}: run_accepted of run {event.run_id} does not begin this run"
            )
        row = first_row(event, owner=self._owner)
        key = event.idempotency_key
        digest = None if key is None else request_digest(event.document, event.inputs)
        link = first_link(run_id)
        values = (
            *(run_id, self._token, row.command_set_id, row.name, row.type, row.mode),
            *(row.priority, row.durability, row.status, row.created_at_ns, row.steps_total),
            *(msgspec.msgpack.encode(row.waiting_for), int(row.resumable), key, digest, link),
        )
        try:
            self._connection.execute(_INSERT_RUN, values)
        except apsw.ConstraintError:
            if self._owner_of(run_id) is not None:
                return JournalError(f"run {run_id} has been accepted already")
            taken = select(
                self._connection,
                "SELECT run_id, digest FROM runs WHERE idempotency_key = ?",
                (key,),
            )
            if key is None or not taken:
                raise
            return KeyTaken(key, *taken[0])
        if self._connection.changes() == 0:
            return OwnerChanged(run_id, None)
        self._heads[run_id] = _Head(self._connection.last_insert_rowid(), 0, link, 0)
        return None

    def _read_head(self, run_id: str) -> _Head | None:
        rows = select(
            self._connection,
            "SELECT id, records, link, steps_done FROM runs WHERE run_id = ?",
            (run_id,),
        )
        return _Head(*rows[0]) if rows else None

    def _completion_taken(self, key: int, entries: Sequence[Entry]) -> Entry | None:
        """Give the completion that is recorded already, or comes twice; None if there is none."""
        seen = set()
        for entry in entries:
            if entry.kind in COMPLETIONS:
                if (entry.unit, entry.attempt) in seen or self._has_completion(key, entry):
                    return entry
                seen.add((entry.unit, entry.attempt))
        return None

    def _has_completion(self, key: int, entry: Entry) -> bool:
        rows = select(
            self._connection,
            "SELECT 1 FROM records WHERE run = ? AND unit = ? AND attempt = ?"
            " AND kind IN ('attempt_ended', 'segment_ended')",
            (key, entry.unit, entry.attempt),
        )
        return bool(rows)

    def _owner_of(self, run_id: str) -> str | None:
        rows = select(
            self._connection,
            "SELECT owner FROM runs JOIN leases USING (token) WHERE run_id = ?",
            (run_id,),
        )
        return str(rows[0][0]) if rows else None
