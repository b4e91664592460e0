"""``PostgresJournal``: the journal that the engine sees; it hands work to writer and readers."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import psycopg

from tandem_orchestrator.errors import Closed, Forked, JournalError, NotAValue, NotInitialized
from tandem_orchestrator.journal.asking import Job, transact
from tandem_orchestrator.journal.backlog import Backlog
from tandem_orchestrator.journal.changes import Changes
from tandem_orchestrator.journal.counting import with_counts
from tandem_orchestrator.journal.entry import Entry, entries_of
from tandem_orchestrator.journal.journal import (
    DURABILITIES,
    Bounds,
    Control,
    EndedRun,
    JournalHealth,
    KeyTaken,
    Ticket,
)
from tandem_orchestrator.journal.memory import MemoryTicket
from tandem_orchestrator.journal.memory_store import MemoryStore
from tandem_orchestrator.journal.postgres import controls, leases
from tandem_orchestrator.journal.postgres.connection import POINT_PLANS, Place, connect
from tandem_orchestrator.journal.postgres.looking import Looking
from tandem_orchestrator.journal.postgres.pool import ReaderPool, aside
from tandem_orchestrator.journal.postgres.schema import migrate
from tandem_orchestrator.journal.postgres.writer import Append, Writer
from tandem_orchestrator.journal.reopening import Reopening
from tandem_orchestrator.journal.ticket import WriteTicket
from tandem_orchestrator.model.events import AnyEvent, RunAccepted

_T = TypeVar("_T")
_log = logging.getLogger("tandem.journal")

LEASE_S = 4.0
"""How long a lease holds where nothing else is said: a dead owner is noticed after that."""
_CLOSE_WAIT_S = 30.0
_EXIT_WAIT_S = 1.0
_ANSWER_WAIT_S = 60.0
"""For one short transaction, beyond the wait for other sessions."""


class PostgresJournal(Looking):
    """A ``Journal`` in one PostgreSQL database, which other processes may use at the same time.

    Runs with durability ``none`` stay in this process's memory: nothing of them is written, other
    processes do not see them, and they end with ``close``.

    Args:
        url: ``postgresql://user@host/database``, as libpq reads it; what it does not say comes
            from the ``PG…`` variables and ``~/.pgpass``. The database is there; its tables are
            made, in the schema ``tandem``, when an owner opens it.
        lease_s: Seconds that an owner may be silent before others count it as dead; 1 or more.
        wall_ns: Source of the time in nanoseconds since the epoch, for people to read. Leases go
            by the server's clock.
    """

    def __init__(
        self,
        url: str,
        *,
        bounds: Bounds | None = None,
        lease_s: float = LEASE_S,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if lease_s < 1:
            raise ValueError(f"lease_s={lease_s}: 1 or more is expected")
        self._place = Place(url)
        bounds = bounds or Bounds()
        # Large outputs stay in their records: orchestrators on several machines share no folder.
        self._bounds = replace(bounds, inline_bytes_max=bounds.event_bytes_max)
        self._lease_s = lease_s
        self._wall_ns = wall_ns
        self._state = "new"
        self._pid = os.getpid()
        self._owner: str | None = None
        self._token = 0
        self._leases = 0
        """Leases that were taken anew since it was opened."""
        self._living = leases.Living()
        self._writer: Writer | None = None
        self._readers: ReaderPool | None = None
        self._memory = MemoryStore(self._bounds)
        self._prepared = False
        self._backlog: Backlog | None = None
        self._reopening: Reopening | None = None
        self._changes = Changes()
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- opening and closing ---------------------------------------------------------------------

    async def open(self, owner: str | None) -> None:
        """Make or migrate the tables, take the lease and start the writer.

        Without an owner tables that are not there are not made: they read as empty.
        """
        if self._state == "open":
            raise JournalError(f"journal {self._place} is open already; close it first")
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        self._memory = MemoryStore(self._bounds)
        self._prepared, self._writer, self._backlog, self._owner = False, None, None, owner
        self._living = leases.Living()
        self._readers = ReaderPool(
            self._place, partial(self._connect, "reads"), self._bounds.lock_wait_s
        )
        self._state = "open"
        atexit.register(self._at_exit)
        try:
            if owner is not None:
                await self._ready()
                self._token = await self._take_lease(self._started_writer(), owner)
                self._memory.take_lease(owner)
                self._reopening = Reopening(self._reopen)
        except BaseException:
            await self._shut()
            self._state = "new"
            raise

    def _connect(self, role: str) -> psycopg.Connection[Any]:
        """Open a session; its name says whose it is."""
        bounds, name = self._bounds, f"tandem {role} {self._owner or ''}".strip()
        wait_s = bounds.lock_wait_s
        return connect(
            self._place,
            application=name,
            lock_wait_s=wait_s,
            idle_s=self._lease_s,
            options=POINT_PLANS if role == "writes" else None,
        )

    async def _take_lease(
        self,
        writer: Writer,
        owner: str,
        also: Callable[[psycopg.Connection[Any], int], None] | None = None,
    ) -> int:
        def take(connection: psycopg.Connection[Any]) -> int:
            token = leases.insert_lease(connection, owner, self._wall_ns(), self._lease_s)
            if also is not None:
                also(connection, token)
            self._living.replace(leases.living(connection))
            writer.own(token, owner)
            return token

        return await self._write_on(writer, take)

    async def _reopen(self) -> None:
        """Go on with a writer and a lease of its own in place of one that gave up.

        Raises: JournalError if the server is still away.
        """
        before, old = self._writer, self._token
        assert before is not None
        await aside(lambda: before.stop(_CLOSE_WAIT_S))
        self._leases += 1
        owner, left = f"{self._owner}.{self._leases}", set(before.left_behind)
        # Now: their lease may have run out while nobody answered, and others may take them over.
        self._lost(frozenset(left))

        def keep(connection: psycopg.Connection[Any], token: int) -> None:
            leases.keep_runs(connection, old, token, left, self._wall_ns())

        writer = self._new_writer(before)
        writer.start()
        try:
            token = await self._take_lease(writer, owner, keep)
        except BaseException:
            await aside(lambda: writer.stop(_CLOSE_WAIT_S))
            raise
        self._writer, self._token = writer, token
        if late := before.left_behind - left:  # refused while the new lease was taken
            writer.left_behind |= late
            self._lost(frozenset(late))
            await self._write(lambda at: leases.leave_runs(at, token, old, late))
        _log.warning("journal %s: it can be written again; going on as %s", self._place, owner)
        self._changes.tell()

    async def _ready(self) -> None:
        readers = self._opened()
        if not self._prepared:
            await readers.read(self._prepare)

    def _prepare(self, connection: psycopg.Connection[Any]) -> None:
        try:
            migrate(connection)
        except (psycopg.Error, JournalError) as error:
            raise self._place.error(error, "cannot make its tables") from None
        self._prepared = True

    def _new_writer(self, before: Writer | None = None) -> Writer:
        counters = None if before is None else before.counters
        return Writer(
            self._place,
            partial(self._connect, "writes"),
            self._bounds,
            self._lease_s,
            self._living,
            self._settled,
            counters,
        )

    def _started_writer(self) -> Writer:
        if self._writer is None:
            self._writer = self._new_writer()
            self._backlog = Backlog(self._bounds, self._writer.counters)
            self._writer.start()
        return self._writer

    def _at_exit(self) -> None:
        if os.getpid() != self._pid:
            return
        if self._writer is not None:
            self._writer.stop(_EXIT_WAIT_S)
        if self._readers is not None:
            self._readers.close()

    async def close(self) -> None:
        """Write what is queued, give the lease back, close all.

        Raises: JournalError if the writer does not end in time.
        """
        if self._state != "open":
            return
        self._here()
        self._state = "closed"
        await self._shut()

    async def _shut(self) -> None:
        if self._reopening is not None:
            await self._reopening.close()
        writer, readers, token = self._writer, self._readers, self._token
        self._token = 0
        atexit.unregister(self._at_exit)
        if readers is not None:
            await aside(readers.close)
        if writer is None:
            return
        if token and writer.failure is None:
            end = partial(leases.end_lease, token=token, now_ns=self._wall_ns())
            writer.put(Job(end, lambda *_: None))
        ended = await aside(lambda: writer.stop(_CLOSE_WAIT_S))
        if not ended:
            raise JournalError(
                f"journal {self._place}: the writer did not end in {_CLOSE_WAIT_S:.0f} s; the "
                "server does not answer"
            )

    def _here(self) -> None:
        if os.getpid() != self._pid:
            raise Forked(
                f"journal {self._place} was opened by process {self._pid}; open another one in "
                "the child"
            )

    def _opened(self) -> ReaderPool:
        self._here()
        if self._state == "new" or self._readers is None:
            raise NotInitialized(f"journal {self._place} has not been opened")
        if self._state == "closed":
            raise Closed(f"journal {self._place} has been closed")
        return self._readers

    def _owned(self) -> tuple[Writer, Backlog, str]:
        self._opened()
        if self._owner is None or self._writer is None or self._backlog is None:
            raise JournalError("the journal was opened without an owner: to read and ask only")
        return self._writer, self._backlog, self._owner

    def _require_lease(self) -> None:
        self._owned()

    def _owner_id(self) -> str:
        return self._owned()[2]

    # --- writing ---------------------------------------------------------------------------------

    def append(self, run_id: str, events: Sequence[AnyEvent], durability: str) -> Ticket:
        """Queue events for the writer; ``none`` goes to memory at once."""
        if durability not in DURABILITIES:
            raise ValueError(f"durability={durability!r}: one of {', '.join(DURABILITIES)}")
        writer, backlog, owner = self._owned()
        entries = entries_of(run_id, events, self._bounds)
        if durability == "none":
            self._changes.tell()
            return MemoryTicket(self._memory.append(owner, run_id, entries) if entries else None)
        _require_texts(run_id, entries)
        if writer.failure is not None or not entries:
            if entries:
                writer.left_behind.add(run_id)
            return MemoryTicket(writer.failure)
        body_bytes = sum(len(entry.body) for entry in entries)
        first = entries[0].event
        key = first.idempotency_key if isinstance(first, RunAccepted) else None
        if key is not None and (use := self._memory.key_use(key)) is not None:
            return MemoryTicket(KeyTaken(key, use.run_id, use.digest))
        backlog.admit(len(entries), body_bytes)
        ticket = WriteTicket(waits=durability != "async" or key is not None)
        writer.put(Append(run_id, entries, durability, ticket, body_bytes))
        return ticket

    def remember(self, run_id: str, run: EndedRun, body_bytes: int) -> None:
        """Keep an ended run of durability ``none``, whose events are made when they are read."""
        self._memory.remember(self._owned()[2], run_id, run, body_bytes)

    def _settled(self, results: list[tuple[WriteTicket, JournalError | None]]) -> None:
        """Take results from the writer's thread to the loop's."""
        self._on_loop(lambda: self._settle(results))

    def _settle(self, results: list[tuple[WriteTicket, JournalError | None]]) -> None:
        for ticket, error in results:
            if error is not None and ticket.is_unwatched:
                _log.warning("an append that nobody waits for was not written: %s", error)
            ticket.settle(error)
        self._told()

    def _told(self) -> None:
        """Wake who waits for news, and see to a writer that gave up."""
        self._changes.tell()
        if self._reopening is not None and self._writer is not None and self._state == "open":
            self._reopening.start_if(self._writer.may_come_back)

    def _on_loop(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            if not self._loop.is_closed():  # a closed loop has nobody left who waits
                raise

    async def _write(self, work: Callable[[psycopg.Connection[Any]], _T] | None) -> _T:
        """Run ``work`` as a transaction of its own on the writer's thread."""
        return await self._write_on(self._started_writer(), work)

    async def _write_on(
        self, writer: Writer, work: Callable[[psycopg.Connection[Any]], _T] | None
    ) -> _T:
        wait_s = self._bounds.lock_wait_s + _ANSWER_WAIT_S
        silence = f"journal {self._place}: no answer from the server"
        return await transact(writer, work, silence, wait_s, self._on_loop, self._told)

    async def flush(self) -> None:
        """Wait until all that was appended so far is written or refused."""
        self._opened()
        if self._writer is not None:
            await self._write(None)

    async def adopt(self, run_id: str, *, ended: bool = False) -> bool:
        """Take over a dead owner's run, or one that has ended."""
        writer, _, owner = self._owned()
        if self._memory.holds(run_id):
            return self._memory.adopt(owner, run_id, ended=ended)
        token = self._token

        def take(connection: psycopg.Connection[Any]) -> bool:
            take_over = leases.take_ended if ended else leases.take_over
            taken = take_over(connection, run_id, token)
            writer.forget(run_id)
            return taken

        return await self._write(take)

    async def wait_for(self, run_id: str, waiting_for: Sequence[str]) -> bool:
        """Note what an interrupted run waits for."""
        self._owned()
        return await self._write(lambda at: leases.note_waiting(at, run_id, waiting_for))

    async def request(self, control: Control) -> None:
        """Ask something of a run's owner; committed on return."""
        self._opened()
        if self._memory.holds(control.run_id):
            self._memory.request(control)
            self._changes.tell()
            return
        body = control.encoded_body()
        await self._ready()
        await self._write(lambda at: controls.insert_control(at, control, body))

    async def answer(self, control_id: str, text: str) -> None:
        """Acknowledge a wish."""
        self._owned()
        if self._memory.control(control_id) is not None:
            self._memory.answer(control_id, text)
            return
        await self._write(lambda at: controls.answer_control(at, control_id, text))

    def health(self) -> JournalHealth:
        """Say how it is, from memory."""
        writer = self._writer
        wrong = None if writer is None else writer.failure or writer.trouble
        reason = str(wrong or "")
        if self._state != "open":
            reason = f"the journal is {self._state}"
        health = JournalHealth(not reason, reason, "postgres", str(self._place), self._owner)
        if writer is None or self._backlog is None:
            return health
        return with_counts(health, writer.counters, self._backlog, self._bounds)


def _require_texts(run_id: str, entries: Sequence[Entry]) -> None:
    """Refuse what SQLite keeps and PostgreSQL cannot: a zero character, in what becomes a column.

    Raises: NotAValue naming the run.
    """
    for entry in entries:
        texts = [entry.unit]
        if isinstance(event := entry.event, RunAccepted):
            texts += [run_id, event.command_set_id, event.name, event.idempotency_key]
        if any(text is not None and "\0" in text for text in texts):
            raise NotAValue(
                f"run {run_id}: {entry.kind} has a name with a zero character, which PostgreSQL "
                "does not keep"
            )
