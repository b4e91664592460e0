"""A journal whose acknowledgements wait for the test: for barriers and failing disks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal import JournalHealth, MemoryJournal, MemoryStore, Ticket
from tandem_orchestrator.journal.entry import entries_of
from tandem_orchestrator.model.events import AnyEvent, RunAccepted


class GatedTicket:
    """A ticket that is settled when the gate opens, or fails."""

    def __init__(self, waits: bool) -> None:
        self._waits = waits
        self._settled = asyncio.Event()
        self._error: JournalError | None = None

    def settle(self, error: JournalError | None) -> None:
        """Let those who wait go on."""
        self._error = error
        self._settled.set()

    async def wait(self) -> None:
        """Wait for the gate, however durable the append was to be."""
        await self._settled.wait()

    async def durable(self) -> None:
        """Wait for the gate, unless nothing was promised."""
        if self._waits:
            await self.wait()
        if self._error is not None:
            raise self._error


class GatedJournal(MemoryJournal):
    """A memory journal that writes and acknowledges only while its gate is open."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        super().__init__(store)
        self._held: list[tuple[str, list[AnyEvent], str, GatedTicket]] | None = None
        self._failure: JournalError | None = None

    @property
    def waiting(self) -> list[AnyEvent]:
        """Events that were appended and are not durable, in order."""
        return [event for _, events, _, _ in self._held or () for event in events]

    def hold(self) -> None:
        """Close the gate: what is appended from now on is neither written nor acknowledged."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Open the gate: write and acknowledge what waits, in order."""
        held, self._held = self._held or [], None
        for run_id, events, durability, ticket in held:
            ticket.settle(self._write(run_id, events, durability).refusal)

    def fail(self, reason: str = "input/output error") -> None:
        """Break as a disk does: what waits and what comes fails, until it is opened again."""
        self._failure = JournalError(f"journal in memory: writing: {reason}")
        held, self._held = self._held or [], None
        for *_, ticket in held:
            ticket.settle(self._failure)

    async def open(self, owner: str | None) -> None:
        """Open again, whole again."""
        await super().open(owner)
        self._failure = None

    def append(self, run_id: str, events: Sequence[AnyEvent], durability: str) -> Ticket:
        """Write, or hold, or refuse with the failure."""
        first = events[0] if events else None
        has_key = isinstance(first, RunAccepted) and first.idempotency_key is not None
        ticket = GatedTicket(durability in ("sync", "group") or has_key)
        if self._failure is not None:
            ticket.settle(self._failure)
        elif self._held is None:
            return super().append(run_id, events, durability)
        else:
            entries_of(run_id, events, self._opened().bounds)  # the same refusals as ever
            self._held.append((run_id, list(events), durability, ticket))
        return ticket

    async def flush(self) -> None:
        """Wait until the gate has let everything through."""
        for _, _, _, ticket in list(self._held or ()):
            await ticket.wait()

    def health(self) -> JournalHealth:
        """Say how it is."""
        health = super().health()
        if self._failure is None:
            return health
        return JournalHealth(False, str(self._failure), "memory", None, health.owner)
