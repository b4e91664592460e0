"""The journal in memory, for tests: nothing outlives the process.

It keeps every promise of the seam but durability. Journals that share a ``MemoryStore`` are as
several processes that share a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from tandem_orchestrator.errors import Closed, JournalError, NotInitialized
from tandem_orchestrator.journal.entry import entries_of
from tandem_orchestrator.journal.journal import (
    DURABILITIES,
    Chooser,
    Control,
    EndedRun,
    JournalHealth,
    KeyUse,
    Owner,
    Record,
    RunRow,
    ScheduleRow,
    Ticket,
)
from tandem_orchestrator.journal.memory_store import MemoryStore
from tandem_orchestrator.model.events import AnyEvent

_T = TypeVar("_T")


class MemoryTicket:
    """A ticket that is settled when it is given: memory does not wait."""

    __slots__ = ("refusal",)

    def __init__(self, refusal: JournalError | None = None) -> None:
        self.refusal = refusal
        """Why nothing was written, or None."""

    async def durable(self) -> None:
        """Return at once, or raise the refusal."""
        if self.refusal is not None:
            raise self.refusal


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

    def append(self, run_id: str, events: Sequence[AnyEvent], durability: str) -> Ticket:
        """Write events at once."""
        return self._write(run_id, events, durability)

    def _write(self, run_id: str, events: Sequence[AnyEvent], durability: str) -> MemoryTicket:
        if durability not in DURABILITIES:
            raise ValueError(f"durability={durability!r}: one of {', '.join(DURABILITIES)}")
        store, owner = self._owned()
        entries = entries_of(run_id, events, store.bounds)
        refusal = store.append(owner, run_id, entries) if entries else None
        self._appends_total += 1
        if refusal is None:
            self._events_total += len(entries)
        else:
            self._refused_total += 1
        return MemoryTicket(refusal)

    def remember(self, run_id: str, run: EndedRun, body_bytes: int) -> None:
        """Keep an ended run whose events are made when they are read."""
        store, owner = self._owned()
        store.remember(owner, run_id, run, body_bytes)

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
        store = self._opened()

        async def look() -> list[Record]:
            return store.records(run_id, after, limit)

        return await store.changes.first(look, timeout_s)

    async def find(
        self, kind: str, choose: Chooser[_T], *, run_id: str | None = None, limit: int = 100
    ) -> list[_T]:
        """Look through the records of one kind, newest first."""
        return self._opened().find(kind, choose, run_id, limit)

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
        store = self._opened()
        edge: tuple[int, str] | None = None
        if before is not None:
            row = store.run(before)
            if row is None:
                return []
            edge = (row.created_at_ns, before)
        return store.runs(status, name, limit, edge)

    async def adopt(self, run_id: str, *, ended: bool = False) -> bool:
        """Take over a dead owner's run."""
        store, owner = self._owned()
        return store.adopt(owner, run_id, ended=ended)

    async def wait_for(self, run_id: str, waiting_for: Sequence[str]) -> bool:
        """Note what an interrupted run waits for."""
        store, _ = self._owned()
        return store.wait_for(run_id, waiting_for)

    async def request(self, control: Control) -> None:
        """Ask something of a run's owner."""
        self._opened().request(control)

    async def controls(self, *, wait_s: float = 0.0) -> list[Control]:
        """Read the wishes that wait for this owner."""
        store, owner = self._owned()

        async def look() -> list[Control]:
            return store.controls(owner)

        return await store.changes.first(look, wait_s)

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

    async def remove_runs(
        self, *, before_ns: int | None = None, bytes_max: int | None = None, runs_max: int = 32
    ) -> int:
        """Remove finished runs, oldest end first."""
        return self._opened().remove_runs(before_ns, bytes_max, runs_max)

    async def remove_outputs(self, *, grace_s: float = 60.0) -> int:
        """Remove nothing: a large output goes with the last run that names it."""
        self._opened()
        return 0

    # Any: values of any kind.
    async def put_schedule(self, name: str, body: Mapping[str, Any], done_ns: int) -> bool:
        """Keep a schedule."""
        return self._opened().timetable.put(name, body, done_ns)

    async def remove_schedule(self, name: str) -> bool:
        """Drop a schedule."""
        return self._opened().timetable.remove(name)

    async def schedules(self) -> list[ScheduleRow]:
        """List all schedules by name."""
        rows = self._opened().timetable.rows
        return [rows[name] for name in sorted(rows)]

    async def claim_occurrence(self, name: str, *, done_ns: int, at_ns: int) -> bool:
        """Take an occurrence on."""
        store, owner = self._owned()
        return store.timetable.claim(name, done_ns, at_ns, owner)

    async def settle_occurrence(
        self, name: str, *, at_ns: int, run_id: str | None = None, left_out: int = 0
    ) -> bool:
        """Note what became of an occurrence."""
        store, owner = self._owned()
        return store.timetable.settle(name, at_ns, owner, run_id, left_out)

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
            outputs_files=self._store.outputs.files,
            outputs_bytes=self._store.outputs.body_bytes,
        )
