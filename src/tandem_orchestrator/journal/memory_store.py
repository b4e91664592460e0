"""Runs, records, controls and owners in plain dicts: what ``memory.py`` shows as a journal.

The SQLite journal keeps its runs of durability ``none`` here. Ended runs are dropped, oldest
first, when a bound is reached.
"""

from __future__ import annotations

import os
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from tandem_orchestrator.errors import (
    Busy,
    CommandError,
    IdempotencyMismatch,
    JournalError,
)
from tandem_orchestrator.journal.changes import Changes
from tandem_orchestrator.journal.entry import COMPLETIONS, Entry, entries_of, parts_of
from tandem_orchestrator.journal.journal import (
    RETRY,
    Bounds,
    Chooser,
    CompletionTaken,
    Control,
    EndedRun,
    KeyTaken,
    KeyUse,
    Owner,
    OwnerChanged,
    Record,
    RunRow,
    request_digest,
)
from tandem_orchestrator.journal.memory_outputs import MemoryOutputs
from tandem_orchestrator.journal.memory_timetable import MemoryTimetable
from tandem_orchestrator.journal.projection import changed_columns, first_row, shown_status
from tandem_orchestrator.model.events import RunAccepted
from tandem_orchestrator.model.outcomes import RunStatus

_T = TypeVar("_T")


class _Run:
    __slots__ = ("_row", "body_bytes", "changed", "completions", "entries", "parts")

    def __init__(self, row: RunRow) -> None:
        self._row = row
        # Any: columns hold values of any kind.
        self.changed: dict[str, Any] = {}
        """Columns that have changed since the row was made: many do before anybody looks."""
        self.entries: list[Entry] = []
        self.completions: set[tuple[str | None, int | None]] = set()
        self.body_bytes = 0
        self.parts: set[bytes] = set()
        """Digests of what its entries name."""

    @property
    def owner(self) -> str | None:
        return self._row.owner

    @property
    def steps_done(self) -> int:
        done: int = self.changed.get("steps_done", self._row.steps_done)
        return done

    @property
    def has_finished(self) -> bool:
        finished_at_ns = self.changed.get("finished_at_ns", self._row.finished_at_ns)
        return finished_at_ns is not None

    @property
    def row(self) -> RunRow:
        if self.changed:
            self._row, self.changed = replace(self._row, **self.changed), {}
        return self._row

    @row.setter
    def row(self, row: RunRow) -> None:
        self._row, self.changed = row, {}


_Unread = tuple[str, EndedRun, int]
"""An ended run that nobody has asked for yet: its owner, itself, and its bytes."""


class MemoryStore:
    """Runs, records, controls and owners, in dicts. One thread at a time."""

    def __init__(
        self, bounds: Bounds | None = None, wall_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.bounds = bounds or Bounds()
        self._wall_ns = wall_ns
        self._runs: dict[str, _Run] = {}
        self._keys: dict[str, KeyUse] = {}
        self._controls: dict[str, Control] = {}
        self._owners: dict[str, Owner] = {}
        self._body_bytes = 0
        self._ended: OrderedDict[str, None] = OrderedDict()  # run ids in the order they ended
        self._unread: OrderedDict[str, _Unread] = OrderedDict()
        self._unread_bytes = 0
        self.outputs = MemoryOutputs()
        self.changes = Changes()
        self.timetable = MemoryTimetable(self.is_alive)

    def take_lease(self, owner: str) -> None:
        """Note that ``owner`` is there. Raises: JournalError if it holds a lease already."""
        if owner in self._owners:
            raise JournalError(f"owner {owner} has or had a lease; an id is for one opening")
        token = len(self._owners) + 1
        self._owners[owner] = Owner(
            owner, token, os.getpid(), socket.gethostname(), self._wall_ns(), True
        )

    def give_lease_back(self, owner: str) -> None:
        """Note that ``owner`` is gone."""
        if owner in self._owners:
            self._owners[owner] = replace(self._owners[owner], alive=False)
        self.changes.tell()

    def is_alive(self, owner: str) -> bool:
        """Tell whether ``owner`` holds its lease."""
        return owner in self._owners and self._owners[owner].alive

    def holds(self, run_id: str) -> bool:
        """Tell whether a run is kept here."""
        return run_id in self._runs or run_id in self._unread

    def remember(self, owner: str, run_id: str, run: EndedRun, body_bytes: int) -> None:
        """Keep an ended run; its events are made, and encoded, when somebody reads them."""
        unread = self._unread
        unread[run_id] = (owner, run, body_bytes)
        self._unread_bytes += body_bytes
        if len(unread) > self.bounds.memory_runs_max:
            self._unread_bytes -= unread.popitem(last=False)[1][2]
        if self._unread_bytes + self._body_bytes > self.bounds.memory_bytes_max:
            self._make_room_of_unread(0)

    def _make_room_of_unread(self, body_bytes: int) -> None:
        bytes_max = self.bounds.memory_bytes_max - self._body_bytes - body_bytes
        while self._unread and self._unread_bytes > bytes_max:
            self._unread_bytes -= self._unread.popitem(last=False)[1][2]

    def _read(self, run_id: str | None = None) -> None:
        """Make the events of one unread run, or of all of them."""
        for wanted in list(self._unread) if run_id is None else [run_id]:
            kept = self._unread.pop(wanted, None)
            if kept is not None:
                owner, ended, body_bytes = kept
                self._unread_bytes -= body_bytes
                self.append(owner, wanted, entries_of(wanted, ended.events(wanted), self.bounds))

    def append(self, owner: str, run_id: str, entries: Sequence[Entry]) -> JournalError | None:
        """Write entries, all or none; gives the refusal if they may not be written.

        Raises: Busy if the bound on memory is reached and no ended run can be dropped for it.
        """
        run = self._runs.get(run_id)
        rest = list(entries)
        key: str | None = None
        use = KeyUse(run_id, "")
        if run is None:
            first = rest[0].event if rest else None
            if not isinstance(first, RunAccepted) or first.run_id != run_id:
                return OwnerChanged(run_id, None)
            if (key := first.idempotency_key) is not None:
                if (taken := self._keys.get(key)) is not None:
                    return KeyTaken(key, taken.run_id, taken.digest)
                use = KeyUse(run_id, request_digest(first.document, first.inputs))
            run = _Run(first_row(first, owner=owner))
        elif isinstance(rest[0].event, RunAccepted):
            return JournalError(f"run {run_id} has been accepted already")
        elif run.owner != owner:
            return OwnerChanged(run_id, run.owner)
        if any(isinstance(entry.event, RunAccepted) for entry in rest[1:]):
            return JournalError(f"run {run_id}: run_accepted does not begin this run")
        ended: set[tuple[str | None, int | None]] = set()
        for entry in rest:
            unit = (entry.unit, entry.attempt)
            if entry.kind in COMPLETIONS:
                if unit in run.completions or unit in ended:
                    return CompletionTaken(run_id, str(entry.unit), entry.attempt or 0)
                ended.add(unit)
        body_bytes = sum(len(entry.body) for entry in rest)
        parts = parts_of(rest)
        added_bytes = -1
        while added_bytes != (added_bytes := self.outputs.added_bytes(parts)):
            self._make_room(body_bytes + added_bytes)  # which may drop what they share
        self._runs[run_id] = run
        if parts:
            self._body_bytes += self.outputs.keep(parts, run.parts)
            rest = [entry.without_parts() for entry in rest]
        if key is not None:
            self._keys[key] = use
        run.entries += rest
        run.completions |= ended
        run.body_bytes += body_bytes
        self._body_bytes += body_bytes
        run.changed["records"] = len(run.entries)
        for entry in rest:
            run.changed |= changed_columns(entry.event, steps_done=run.steps_done)
        self._ended.pop(run_id, None)
        if run.has_finished:
            self._ended[run_id] = None
            self._make_room(0)
        self.changes.tell()
        return None

    def _make_room(self, body_bytes: int) -> None:
        bounds = self.bounds
        self._make_room_of_unread(body_bytes)
        while self._ended and (
            len(self._ended) > bounds.memory_runs_max
            or self._body_bytes + body_bytes > bounds.memory_bytes_max
        ):
            self._drop(next(iter(self._ended)))
        if self._body_bytes + body_bytes > bounds.memory_bytes_max:
            raise Busy(
                f"memory_bytes_max={bounds.memory_bytes_max}: {self._body_bytes} bytes of events "
                "of unfinished runs are kept in memory; retry when some have ended"
            )

    def _drop(self, run_id: str) -> None:
        run = self._runs.pop(run_id)
        del self._ended[run_id]
        self._body_bytes -= run.body_bytes + self.outputs.drop(run.parts)
        self._keys = {k: use for k, use in self._keys.items() if use.run_id != run_id}
        self._controls = {k: c for k, c in self._controls.items() if c.run_id != run_id}

    def remove_runs(self, before_ns: int | None, bytes_max: int | None, runs_max: int) -> int:
        """Drop ended runs, oldest end first; see ``Journal.remove_runs``."""
        self._read()
        last = {timed.last_run for timed in self.timetable.rows.values()}
        ends = [(self._runs[name].row.finished_at_ns or 0, name) for name in self._ended]
        removed = 0
        for finished_at_ns, run_id in sorted(ends):
            is_due = before_ns is not None and finished_at_ns < before_ns
            is_over = bytes_max is not None and self._body_bytes > bytes_max
            if removed == runs_max or not (is_due or is_over):
                break
            if run_id not in last:
                self._drop(run_id)
                removed += 1
        return removed

    def records(self, run_id: str, after: int, limit: int | None) -> list[Record]:
        """Read records in order, from ``after + 1``."""
        self._read(run_id)
        run = self._runs.get(run_id)
        if run is None:
            return []
        end = len(run.entries) if limit is None else after + limit
        chosen = run.entries[after:end]
        load = self.outputs.load
        return [entry.record(run_id, after + n, load) for n, entry in enumerate(chosen, 1)]

    def find(self, kind: str, choose: Chooser[_T], run_id: str | None, limit: int) -> list[_T]:
        """Look through the records of one kind, newest first."""
        self._read(run_id)
        places = [
            (entry.at_ns, name, seq, entry)
            for name, run in self._runs.items()
            if run_id in (None, name)
            for seq, entry in enumerate(run.entries, 1)
            if entry.kind == kind
        ]
        found: list[_T] = []
        for _, name, seq, entry in sorted(places, key=lambda at: at[:3], reverse=True):
            if len(found) >= limit:
                break
            if (made := choose(entry.record(name, seq, self.outputs.load))) is not None:
                found.append(made)
        return found

    def run(self, run_id: str) -> RunRow | None:
        """Read one row."""
        self._read(run_id)
        run = self._runs.get(run_id)
        return None if run is None else self._shown(run.row)

    def _shown(self, row: RunRow) -> RunRow:
        status = shown_status(row.status, owner_alive=self.is_alive(row.owner))
        return row if status == row.status else replace(row, status=status)

    def runs(
        self, status: str | None, name: str | None, limit: int, edge: tuple[int, str] | None
    ) -> list[RunRow]:
        """List rows, newest first, older than ``edge`` (time, run id)."""
        self._read()
        rows = sorted(
            (
                self._shown(run.row)
                for run in self._runs.values()
                if edge is None or (run.row.created_at_ns, run.row.run_id) < edge
            ),
            key=lambda row: (row.created_at_ns, row.run_id),
            reverse=True,
        )
        chosen = [row for row in rows if status in (None, row.status) and name in (None, row.name)]
        return chosen[:limit]

    def adopt(self, owner: str, run_id: str, *, ended: bool = False) -> bool:
        """Give a run to ``owner``: one whose owner is dead and that has not ended, or has."""
        self._read(run_id)
        run = self._runs.get(run_id)
        if run is None or (run.row.finished_at_ns is not None) != ended:
            return False
        if not ended and self.is_alive(run.row.owner):
            return False
        run.row = replace(run.row, owner=owner, waiting_for=())
        self.changes.tell()
        return True

    def wait_for(self, run_id: str, waiting_for: Sequence[str]) -> bool:
        """Note what a run whose owner is dead waits for."""
        run = self._runs.get(run_id)
        if run is None or run.row.finished_at_ns is not None or self.is_alive(run.row.owner):
            return False
        run.row = replace(run.row, waiting_for=tuple(waiting_for))
        return True

    def request(self, control: Control) -> None:
        """Keep a wish. Raises: CommandError, IdempotencyMismatch, NotAValue."""
        control = replace(control, body=msgspec.msgpack.decode(control.encoded_body()))
        if (known := self._controls.get(control.id)) is not None:
            if not known.asks_the_same_as(control):
                raise IdempotencyMismatch(f"control id '{control.id}' was used for another wish")
            return
        self._read(control.run_id)
        run = self._runs.get(control.run_id)
        if run is None:
            raise CommandError(f"run {control.run_id} is not in this journal")
        if RunStatus(run.row.status).is_final and control.kind != RETRY:
            raise CommandError(f"run {control.run_id} has ended: it is {run.row.status}")
        self._controls[control.id] = control
        self.changes.tell()

    def controls(self, owner: str) -> list[Control]:
        """List the unanswered wishes about the runs of ``owner``, oldest first."""
        return [
            control
            for control in self._controls.values()
            if control.answer is None
            and control.run_id in self._runs
            and self._runs[control.run_id].row.owner == owner
        ]

    def answer(self, control_id: str, text: str) -> None:
        """Note the first answer. Raises: CommandError if there is no such wish."""
        if control_id not in self._controls:
            raise CommandError(f"control '{control_id}' is not in this journal")
        known = self._controls[control_id]
        if known.answer is None:
            self._controls[control_id] = replace(known, answer=text)
            self.changes.tell()

    def control(self, control_id: str) -> Control | None:
        """Read one wish."""
        return self._controls.get(control_id)

    def owners(self) -> list[Owner]:
        """List owners that are alive or have runs that have not ended."""
        needed = {r.row.owner for r in self._runs.values() if r.row.finished_at_ns is None}
        return [o for o in self._owners.values() if o.alive or o.id in needed]

    def key_use(self, key: str) -> KeyUse | None:
        """Find where a key was used."""
        return self._keys.get(key)
