"""The journal in memory: for tests, and for runs whose durability is ``none``.

``MemoryStore`` is the record, plain and without waiting; ``MemoryJournal`` is one owner's view of
it. Several journals may share a store, as several processes share a file. Ended runs are dropped,
oldest first, when a bound is reached.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from tandem_orchestrator.errors import (
    Busy,
    Closed,
    CommandError,
    IdempotencyMismatch,
    JournalError,
    NotInitialized,
)
from tandem_orchestrator.journal.entry import COMPLETION, Entry, entries_of
from tandem_orchestrator.journal.journal import (
    DURABILITIES,
    Bounds,
    CompletionTaken,
    Control,
    JournalHealth,
    KeyTaken,
    KeyUse,
    Owner,
    OwnerChanged,
    Record,
    RunRow,
    request_digest,
)
from tandem_orchestrator.journal.projection import changed_columns, first_row, shown_status
from tandem_orchestrator.model.events import AnyEvent, RunAccepted
from tandem_orchestrator.model.outcomes import RunStatus

_T = TypeVar("_T")


@dataclass(slots=True)
class _Run:
    row: RunRow
    entries: list[Entry] = field(default_factory=list)
    completions: set[tuple[str | None, int | None]] = field(default_factory=set)
    body_bytes: int = 0


class MemoryStore:
    """Runs, records, controls and owners, in dicts. One thread at a time."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self.bounds = bounds or Bounds()
        self._runs: dict[str, _Run] = {}
        self._keys: dict[str, KeyUse] = {}
        self._controls: dict[str, Control] = {}
        self._owners: dict[str, Owner] = {}
        self._body_bytes = 0
        self.changed = asyncio.Event()
        """Set, and replaced by a new one, at every change."""

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def take_lease(self, owner: str) -> None:
        """Note that ``owner`` is there. Raises: JournalError if it holds a lease already."""
        if self.is_alive(owner):
            raise JournalError(f"owner {owner} holds its lease already; ids are for one opening")
        token = len(self._owners) + 1
        self._owners[owner] = Owner(
            owner, token, os.getpid(), socket.gethostname(), time.time_ns(), True
        )

    def give_lease_back(self, owner: str) -> None:
        """Note that ``owner`` is gone."""
        if owner in self._owners:
            self._owners[owner] = replace(self._owners[owner], alive=False)
        self._tell()

    def is_alive(self, owner: str) -> bool:
        """Tell whether ``owner`` holds its lease."""
        return owner in self._owners and self._owners[owner].alive

    def holds(self, run_id: str) -> bool:
        """Tell whether a run is kept here."""
        return run_id in self._runs

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
        elif run.row.owner != owner:
            return OwnerChanged(run_id, run.row.owner)
        if any(isinstance(entry.event, RunAccepted) for entry in rest[not run.entries :]):
            return JournalError(f"run {run_id} has been accepted already")
        ended: set[tuple[str | None, int | None]] = set()
        for entry in rest:
            unit = (entry.unit, entry.attempt)
            if entry.kind == COMPLETION:
                if unit in run.completions or unit in ended:
                    return CompletionTaken(run_id, str(entry.unit), entry.attempt or 0)
                ended.add(unit)
        body_bytes = sum(len(entry.body) for entry in rest)
        self._make_room(body_bytes)
        self._runs[run_id] = run
        if key is not None:
            self._keys[key] = use
        run.entries += rest
        run.completions |= ended
        run.body_bytes += body_bytes
        self._body_bytes += body_bytes
        columns: dict[str, Any] = {"records": len(run.entries)}
        for entry in rest:
            done = columns.get("steps_done", run.row.steps_done)
            columns |= changed_columns(entry.event, steps_done=done)
        run.row = replace(run.row, **columns)
        self._tell()
        return None

    def _make_room(self, body_bytes: int) -> None:
        bounds = self.bounds
        ended = [r.row.run_id for r in self._runs.values() if r.row.finished_at_ns is not None]
        extra = len(ended) - bounds.memory_runs_max
        for run_id in ended:
            if extra < 0 and self._body_bytes + body_bytes <= bounds.memory_bytes_max:
                return
            extra -= 1
            self._drop(run_id)
        if self._body_bytes + body_bytes > bounds.memory_bytes_max:
            raise Busy(
                f"memory_bytes_max={bounds.memory_bytes_max}: {self._body_bytes} bytes of events "
                "of unfinished runs are kept in memory; retry when some have ended"
            )

    def _drop(self, run_id: str) -> None:
        run = self._runs.pop(run_id)
        self._body_bytes -= run.body_bytes
        self._keys = {k: use for k, use in self._keys.items() if use.run_id != run_id}
        self._controls = {k: c for k, c in self._controls.items() if c.run_id != run_id}

    def records(self, run_id: str, after: int, limit: int | None) -> list[Record]:
        """Read records in order, from ``after + 1``."""
        run = self._runs.get(run_id)
        if run is None:
            return []
        end = len(run.entries) if limit is None else after + limit
        chosen = run.entries[after:end]
        return [entry.record(run_id, after + n) for n, entry in enumerate(chosen, 1)]

    def run(self, run_id: str) -> RunRow | None:
        """Read one row."""
        run = self._runs.get(run_id)
        return None if run is None else self._shown(run.row)

    def _shown(self, row: RunRow) -> RunRow:
        status = shown_status(row.status, owner_alive=self.is_alive(row.owner))
        return row if status == row.status else replace(row, status=status)

    def runs(
        self, status: str | None, name: str | None, limit: int, before: str | None
    ) -> list[RunRow]:
        """List rows, newest first."""
        rows = sorted(
            (self._shown(run.row) for run in self._runs.values()),
            key=lambda row: (row.created_at_ns, row.run_id),
            reverse=True,
        )
        if before is not None:
            edge = self._runs[before].row if before in self._runs else None
            rows = [
                row
                for row in rows
                if edge is not None
                and (row.created_at_ns, row.run_id) < (edge.created_at_ns, edge.run_id)
            ]
        chosen = [row for row in rows if status in (None, row.status) and name in (None, row.name)]
        return chosen[:limit]

    def adopt(self, owner: str, run_id: str) -> bool:
        """Give a run whose owner is dead, and that has not ended, to ``owner``."""
        run = self._runs.get(run_id)
        if run is None or run.row.finished_at_ns is not None or self.is_alive(run.row.owner):
            return False
        run.row = replace(run.row, owner=owner)
        self._tell()
        return True

    def request(self, control: Control) -> None:
        """Keep a wish. Raises: CommandError, IdempotencyMismatch."""
        if (known := self._controls.get(control.id)) is not None:
            if not same_wish(known, control):
                raise IdempotencyMismatch(f"control id '{control.id}' was used for another wish")
            return
        run = self._runs.get(control.run_id)
        if run is None:
            raise CommandError(f"run {control.run_id} is not in this journal")
        if RunStatus(run.row.status).is_final:
            raise CommandError(f"run {control.run_id} has ended: it is {run.row.status}")
        self._controls[control.id] = control
        self._tell()

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
            self._tell()

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


def same_wish(left: Control, right: Control) -> bool:
    """Tell whether two controls ask for the same thing, whoever asks and whenever."""
    return (left.run_id, left.kind, dict(left.body)) == (right.run_id, right.kind, dict(right.body))


class MemoryTicket:
    """A ticket that is settled when it is given: memory does not wait."""

    __slots__ = ("_refusal",)

    def __init__(self, refusal: JournalError | None = None) -> None:
        self._refusal = refusal

    async def durable(self) -> None:
        """Return at once, or raise the refusal."""
        if self._refusal is not None:
            raise self._refusal


class MemoryJournal:
    """A ``Journal`` that lives and dies with this process."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = store or MemoryStore()
        self._owner: str | None = None
        self._state = "new"
        self._appends_total = 0
        self._events_total = 0
        self._refused_total = 0

    async def open(self, owner: str | None) -> None:
        """Take the lease in the store."""
        if self._state == "open":
            raise JournalError("the journal is open already; close it first")
        if owner is not None:
            self._store.take_lease(owner)
        self._owner, self._state = owner, "open"

    async def close(self) -> None:
        """Give the lease back; what was written stays in the store."""
        if self._state == "open":
            self._state = "closed"
            if self._owner is not None:
                self._store.give_lease_back(self._owner)

    def _opened(self) -> MemoryStore:
        if self._state == "new":
            raise NotInitialized("the journal has not been opened")
        if self._state == "closed":
            raise Closed("the journal has been closed")
        return self._store

    def _owned(self) -> tuple[MemoryStore, str]:
        store = self._opened()
        if self._owner is None:
            raise JournalError("the journal was opened without an owner: to read and ask only")
        return store, self._owner

    def append(self, run_id: str, events: Sequence[AnyEvent], durability: str) -> MemoryTicket:
        """Write events at once."""
        if durability not in DURABILITIES:
            raise ValueError(f"durability={durability!r}: one of {', '.join(DURABILITIES)}")
        store, owner = self._owned()
        entries = entries_of(run_id, events, store.bounds)
        refusal = store.append(owner, run_id, entries)
        self._appends_total += 1
        if refusal is None:
            self._events_total += len(entries)
        else:
            self._refused_total += 1
        return MemoryTicket(refusal)

    async def flush(self) -> None:
        """Return at once: nothing is ever queued."""
        self._opened()

    async def records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[Record]:
        """Read records in order."""
        return self._opened().records(run_id, after, limit)

    async def follow(
        self, run_id: str, *, after: int = 0, limit: int = 1000, timeout_s: float = 1.0
    ) -> list[Record]:
        """Wait for records after ``after``."""
        return await _when(
            self._opened(), lambda store: store.records(run_id, after, limit), timeout_s
        )

    async def run(self, run_id: str) -> RunRow | None:
        """Read one row."""
        return self._opened().run(run_id)

    async def runs(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[RunRow]:
        """List rows, newest first."""
        return self._opened().runs(status, name, limit, before)

    async def adopt(self, run_id: str) -> bool:
        """Take over a dead owner's run."""
        store, owner = self._owned()
        return store.adopt(owner, run_id)

    async def request(self, control: Control) -> None:
        """Ask something of a run's owner."""
        self._opened().request(control)

    async def controls(self, *, wait_s: float = 0.0) -> list[Control]:
        """Read the wishes that wait for this owner."""
        store, owner = self._owned()
        return await _when(store, lambda at: at.controls(owner), wait_s)

    async def answer(self, control_id: str, text: str) -> None:
        """Acknowledge a wish."""
        self._owned()[0].answer(control_id, text)

    async def control(self, control_id: str) -> Control | None:
        """Read one wish back."""
        return self._opened().control(control_id)

    async def owners(self) -> list[Owner]:
        """List owners."""
        return self._opened().owners()

    def is_alive(self, owner: str) -> bool:
        """Tell whether an owner's lease is held."""
        return self._opened().is_alive(owner)

    async def find_by_idempotency_key(self, key: str) -> KeyUse | None:
        """Find the run that was accepted with a key."""
        return self._opened().key_use(key)

    async def check(self) -> list[str]:
        """Find nothing: memory has no file that could be damaged."""
        self._opened()
        return []

    def health(self) -> JournalHealth:
        """Say how it is."""
        ok = self._state == "open"
        return JournalHealth(
            ok=ok,
            reason="" if ok else f"the journal is {self._state}",
            kind="memory",
            path=None,
            owner=self._owner,
            commits_total=self._appends_total,
            events_total=self._events_total,
            refused_total=self._refused_total,
        )


async def _when(
    store: MemoryStore, look: Callable[[MemoryStore], list[_T]], wait_s: float
) -> list[_T]:
    """Return what ``look`` finds as soon as it is not empty, or empty after ``wait_s``."""
    deadline = time.monotonic() + wait_s
    while True:
        changed = store.changed
        if found := look(store):
            return found
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return found
        try:
            await asyncio.wait_for(changed.wait(), left_s)
        except TimeoutError:
            return look(store)
