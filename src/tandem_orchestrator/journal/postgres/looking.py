"""The part of ``PostgresJournal`` that reads: what is written, and beside it what is in memory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.changes import Changes
from tandem_orchestrator.journal.journal import (
    Bounds,
    Chooser,
    Control,
    KeyUse,
    Owner,
    Record,
    RunRow,
)
from tandem_orchestrator.journal.memory_store import MemoryStore
from tandem_orchestrator.journal.postgres import controls, leases, reading
from tandem_orchestrator.journal.postgres.keeping import Keeping
from tandem_orchestrator.journal.postgres.pool import ReaderPool
from tandem_orchestrator.journal.postgres.schema import SCHEMA_VERSION, require_known, version_of

_T = TypeVar("_T")


class Looking(Keeping):
    """Reads on the journal's readers; runs of durability ``none`` come from memory."""

    _bounds: Bounds
    _changes: Changes
    _memory: MemoryStore
    _living: leases.Living
    _prepared: bool

    @abstractmethod
    def _opened(self) -> ReaderPool:
        """Refuse at the wrong time and place."""

    @abstractmethod
    def _owner_id(self) -> str:
        """Give the owner. Raises: JournalError without one."""

    async def _read(self, look: Callable[[psycopg.Connection[Any]], _T], nothing: _T) -> _T:
        readers = self._opened()
        if not self._prepared:
            version = await readers.read(self._version)
            if version == 0:
                return nothing
            if version < SCHEMA_VERSION:
                await self._ready()
            self._prepared = True
        return await readers.read(look)

    def _version(self, connection: psycopg.Connection[Any]) -> int:
        try:
            version = version_of(connection)
            require_known(version)
        except JournalError as error:
            raise self._place.error(error, "cannot read it") from None
        return version

    async def records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[Record]:
        """Read records, their chain checked."""
        self._opened()
        if self._memory.holds(run_id):
            return self._memory.records(run_id, after, limit)
        return await self._read(
            lambda at: reading.read_records(at, self._place, run_id, after, limit), []
        )

    async def follow(
        self, run_id: str, *, after: int = 0, limit: int = 1000, timeout_s: float = 1.0
    ) -> list[Record]:
        """Wait for records after ``after``, from whichever process."""
        return await self._changes.first(
            lambda: self.records(run_id, after=after, limit=limit),
            timeout_s,
            poll_s=self._bounds.poll_interval_ms / 1000,
        )

    async def find(
        self, kind: str, choose: Chooser[_T], *, run_id: str | None = None, limit: int = 100
    ) -> list[_T]:
        """Look through the records of one kind; those in memory come first."""
        self._opened()
        kept = self._memory.find(kind, choose, run_id, limit)
        left = limit - len(kept)
        return kept + await self._read(
            lambda at: reading.find_records(at, self._place, kind, choose, run_id, left),
            list[_T](),
        )

    async def run(self, run_id: str) -> RunRow | None:
        """Read one row."""
        self._opened()
        if self._memory.holds(run_id):
            return self._memory.run(run_id)
        return await self._read(lambda at: reading.read_run(at, run_id, self._living), None)

    async def runs(
        self,
        *,
        status: str | None = None,
        name: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[RunRow]:
        """List rows, newest first, those in memory among them."""
        edge: tuple[int, str] | None = None
        if before is not None:
            row = await self.run(before)
            if row is None:
                return []
            edge = (row.created_at_ns, before)
        written = await self._read(
            lambda at: reading.read_runs(
                at, self._living, status=status, name=name, limit=limit, edge=edge
            ),
            list[RunRow](),
        )
        kept = self._memory.runs(status, name, limit, edge)
        rows = sorted(
            (*written, *kept), key=lambda row: (row.created_at_ns, row.run_id), reverse=True
        )
        return rows[:limit]

    async def controls(self, *, wait_s: float = 0.0) -> list[Control]:
        """Read the wishes that wait for this owner."""
        owner = self._owner_id()

        async def look() -> list[Control]:
            nothing = list[Control]()
            asked = await self._read(lambda at: controls.waiting_controls(at, self._token), nothing)
            return [*asked, *self._memory.controls(owner)]

        poll_s = self._bounds.poll_interval_ms / 1000
        return await self._changes.first(look, wait_s, poll_s=poll_s)

    async def control(self, control_id: str) -> Control | None:
        """Read one wish back."""
        self._opened()
        if (kept := self._memory.control(control_id)) is not None:
            return kept
        return await self._read(lambda at: controls.read_control(at, control_id), None)

    async def owners(self) -> list[Owner]:
        """List owners that live or have runs that have not ended."""
        found = await self._read(leases.read_owners, list[Owner]())
        self._living.note({owner.id: owner.alive for owner in found})
        return found

    def is_alive(self, owner: str) -> bool:
        """Tell whether an owner's lease was held when last looked at: a second ago, or just now."""
        return self._living.has(owner)

    async def find_by_idempotency_key(self, key: str) -> KeyUse | None:
        """Find the run that was accepted with a key."""
        self._opened()
        if (use := self._memory.key_use(key)) is not None:
            return use
        return await self._read(lambda at: reading.read_key_use(at, key), None)
