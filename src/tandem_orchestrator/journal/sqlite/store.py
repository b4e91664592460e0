"""``SqliteJournal``: the journal that the engine sees; it hands work to writer and readers."""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

from tandem_orchestrator.errors import Closed, Forked, JournalError, NotInitialized
from tandem_orchestrator.journal.asking import Job, transact
from tandem_orchestrator.journal.backlog import Backlog, Counters
from tandem_orchestrator.journal.changes import Changes
from tandem_orchestrator.journal.counting import with_counts, with_outputs
from tandem_orchestrator.journal.entry import entries_of, parts_of
from tandem_orchestrator.journal.journal import (
    DURABILITIES,
    Bounds,
    Chooser,
    Control,
    EndedRun,
    JournalHealth,
    KeyTaken,
    KeyUse,
    Owner,
    Record,
    RunRow,
    Ticket,
)
from tandem_orchestrator.journal.lease import Lease, is_held, lease_folder
from tandem_orchestrator.journal.memory import MemoryTicket
from tandem_orchestrator.journal.memory_store import MemoryStore
from tandem_orchestrator.journal.reopening import Reopening
from tandem_orchestrator.journal.sqlite import controls, handover, outputs, reading
from tandem_orchestrator.journal.sqlite.connection import journal_error, prepare
from tandem_orchestrator.journal.sqlite.forked import leave_alone_in_children
from tandem_orchestrator.journal.sqlite.keeping import Keeping
from tandem_orchestrator.journal.sqlite.pool import ReaderPool, aside
from tandem_orchestrator.journal.sqlite.writer import Append, Writer
from tandem_orchestrator.journal.ticket import WriteTicket
from tandem_orchestrator.model.events import AnyEvent, RunAccepted

_T = TypeVar("_T")
_log = logging.getLogger("tandem.journal")

_CLOSE_WAIT_S = 30.0
_EXIT_WAIT_S = 1.0
_ANSWER_WAIT_S = 60.0
"""For one short transaction, beyond the wait for other processes."""


class SqliteJournal(Keeping):
    """A ``Journal`` in one SQLite file, which other processes may use at the same time.

    Runs with durability ``none`` stay in this process's memory: nothing of them is written, other
    processes do not see them, and they end with ``close``.

    Args:
        path: The file; made with its folder, for this user alone, when an owner opens it.
        vfs: Name of a registered SQLite VFS; None for the usual one.
        wall_ns: Source of the time in nanoseconds since the epoch, for leases.
    """

    def __init__(
        self,
        path: Path,
        *,
        bounds: Bounds | None = None,
        vfs: str | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._path = Path(path).absolute()
        self._folder = lease_folder(self._path)
        self._bounds = bounds or Bounds()
        self._vfs = vfs
        self._wall_ns = wall_ns
        self._state = "new"
        self._pid = os.getpid()
        self._owner: str | None = None
        self._token = 0
        self._leases = 0
        """Leases that were taken anew since it was opened."""
        self._lease: Lease | None = None
        self._writer: Writer | None = None
        self._readers: ReaderPool | None = None
        self._memory = MemoryStore(self._bounds)
        self._counters = Counters()
        self._prepared = False
        self._backlog: Backlog | None = None
        self._reopening: Reopening | None = None
        self._changes = Changes()
        self._loop: asyncio.AbstractEventLoop | None = None

    # --- opening and closing ---------------------------------------------------------------------

    async def open(self, owner: str | None) -> None:
        """Make or migrate the file, take the lease and start the writer.

        Without an owner a file that is not there is not made: it reads as empty.
        """
        if self._state == "open":
            raise JournalError(f"journal {self._path} is open already; close it first")
        self._loop, self._pid = asyncio.get_running_loop(), os.getpid()
        self._memory, self._counters = MemoryStore(self._bounds), Counters()
        self._prepared, self._writer, self._backlog, self._owner = False, None, None, owner
        self._readers = ReaderPool(self._path, self._vfs)
        leave_alone_in_children(self)
        self._state = "open"
        try:
            if owner is not None:
                await self._own(owner)
        except BaseException:
            await self._shut()
            self._state = "new"
            raise

    async def _own(self, owner: str) -> None:
        assert self._readers is not None
        await self._readers.run(self._prepare)
        self._lease = await self._taken_lease(owner)
        writer = self._started_writer()
        self._token = await self._write(lambda at: self._insert_lease(at, writer, owner))
        self._counters.outputs = await self._readers.read(outputs.count)
        self._memory.take_lease(owner)
        self._reopening = Reopening(self._reopen)

    async def _taken_lease(self, owner: str) -> Lease:
        assert self._readers is not None
        lease = Lease(self._folder, owner)
        try:
            await self._readers.run(lease.take)
        except OSError as error:
            raise journal_error(self._path, error, "cannot take the lease") from error
        return lease

    def _insert_lease(self, at: apsw.Connection, writer: Writer, owner: str) -> int:
        token = handover.insert_lease(at, owner, self._wall_ns())
        writer.own(at, token, owner)
        return token

    async def _reopen(self) -> None:
        """Open a writer and a lease of its own in place of one that found no room.

        Raises: JournalError if there is still none.
        """
        before, old, stale = self._writer, self._token, self._lease
        assert before is not None and stale is not None
        await aside(lambda: before.stop(_CLOSE_WAIT_S))
        self._leases += 1
        owner, left = f"{self._owner}.{self._leases}", set(before.left_behind)
        lease = await self._taken_lease(owner)
        writer = Writer(self._path, self._vfs, self._bounds, self._settled, before.counters)

        def take(connection: apsw.Connection) -> int:
            token = self._insert_lease(connection, writer, owner)
            handover.keep_runs(connection, old, token, left, self._wall_ns())
            return token

        try:
            writer.start()
            token = await self._write(take, writer)
        except BaseException:
            await aside(lambda: writer.stop(_CLOSE_WAIT_S))
            lease.give_back()
            raise
        self._writer, self._token, self._lease = writer, token, lease
        writer.left_behind |= (late := before.left_behind - left)
        try:
            if late:  # refused while the new lease was taken
                await self._write(lambda at: handover.leave_runs(at, token, old, late))
        finally:
            self._lost(frozenset(before.left_behind))
            stale.give_back()
        _log.warning("journal %s: there is room again; it goes on as owner %s", self._path, owner)
        self._changes.tell()

    def _prepare(self) -> None:
        if not self._prepared:
            prepare(self._path, self._vfs)
            self._prepared = True

    def _started_writer(self) -> Writer:
        if self._writer is None:
            bounds, counters = self._bounds, self._counters
            writer = Writer(self._path, self._vfs, bounds, self._settled, counters)
            writer.start()
            self._writer, self._backlog = writer, Backlog(bounds, counters)
            atexit.register(self._at_exit)
        return self._writer

    def _at_exit(self) -> None:
        if self._writer is not None and os.getpid() == self._pid:
            self._writer.stop(_EXIT_WAIT_S)

    async def close(self) -> None:
        """Write what is queued, give the lease back, close all.

        Raises: JournalError if the writer does not end in time; the lease is then kept, since it
            may still write.
        """
        if self._state != "open":
            return
        self._here()
        self._state = "closed"
        await self._shut()

    async def _shut(self) -> None:
        if self._reopening is not None:
            await self._reopening.close()
        writer, readers, lease = self._writer, self._readers, self._lease
        token, is_owner = self._token, self._token != 0
        self._token, self._lease = 0, None
        if readers is not None:
            # Before the writer: whoever closes last tidies the WAL away, and readers may not.
            await aside(readers.close)
        if writer is not None:
            if is_owner and writer.failure is None:
                end = partial(handover.end_lease, token=token, now_ns=self._wall_ns())
                writer.put(Job(end, lambda *_: None))
            stop = writer.stop
            ended = await aside(lambda: stop(_CLOSE_WAIT_S))
            atexit.unregister(self._at_exit)
            if not ended:
                raise JournalError(
                    f"journal {self._path}: the writer did not end in {_CLOSE_WAIT_S:.0f} s; the "
                    "disk hangs, or another process holds the file"
                )
        if lease is not None:
            lease.give_back()

    def forget_in_child(self) -> list[apsw.Connection]:
        """Let go of everything after a fork; gives the connections that must never be closed."""
        if self._lease is not None:
            self._lease.forget()
        ours = [*(self._readers.connections if self._readers else ())]
        if self._writer is not None and self._writer.connection is not None:
            ours.append(self._writer.connection)
        return ours

    def _here(self) -> None:
        if os.getpid() != self._pid:
            raise Forked(
                f"journal {self._path} was opened by process {self._pid}; open another one in "
                "the child"
            )

    def _opened(self) -> ReaderPool:
        self._here()
        if self._state == "new" or self._readers is None:
            raise NotInitialized(f"journal {self._path} has not been opened")
        if self._state == "closed":
            raise Closed(f"journal {self._path} has been closed")
        return self._readers

    def _owned(self) -> tuple[Writer, Backlog, str]:
        self._opened()
        if self._owner is None or self._writer is None or self._backlog is None:
            raise JournalError("the journal was opened without an owner: to read and ask only")
        return self._writer, self._backlog, self._owner

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
        if writer.failure is not None or not entries:
            if entries:
                writer.left_behind.add(run_id)
            return MemoryTicket(writer.failure)
        body_bytes, parts = sum(len(entry.body) for entry in entries), parts_of(entries)
        body_bytes += sum(len(part.body) for part in parts)
        first = entries[0].event
        key = first.idempotency_key if isinstance(first, RunAccepted) else None
        if key is not None and (use := self._memory.key_use(key)) is not None:
            return MemoryTicket(KeyTaken(key, use.run_id, use.digest))
        backlog.admit(len(entries), body_bytes)
        ticket = WriteTicket(waits=durability != "async" or key is not None)
        writer.put(Append(run_id, entries, durability, ticket, body_bytes, parts))
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
        """Wake who waits for news, and see to a disk that is full."""
        self._changes.tell()
        if self._reopening is not None and self._writer is not None and self._state == "open":
            self._reopening.start_if(self._writer.is_full)

    def _on_loop(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            if not self._loop.is_closed():  # a closed loop has nobody left who waits
                raise

    async def _write(
        self, work: Callable[[apsw.Connection], _T] | None, writer: Writer | None = None
    ) -> _T:
        """Run ``work`` as a transaction of its own on the thread of the (or that) writer."""
        chosen, wait_s = writer or self._started_writer(), self._bounds.lock_wait_s + _ANSWER_WAIT_S
        silence = f"journal {self._path}: no answer from the disk"
        return await transact(chosen, work, silence, wait_s, self._on_loop, self._told)

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

        def take(connection: apsw.Connection) -> bool:
            take_over = handover.take_ended if ended else handover.take_over
            taken = take_over(connection, run_id, token, self.is_alive)
            writer.forget(run_id)
            return taken

        return await self._write(take)

    async def wait_for(self, run_id: str, waiting_for: Sequence[str]) -> bool:
        """Note what an interrupted run waits for."""
        self._owned()
        return await self._write(
            lambda at: handover.note_waiting(at, run_id, waiting_for, self.is_alive)
        )

    async def request(self, control: Control) -> None:
        """Ask something of a run's owner; committed on return."""
        self._opened()
        if self._memory.holds(control.run_id):
            self._memory.request(control)
            self._changes.tell()
            return
        body = control.encoded_body()
        if not self._prepared and not self._path.exists():
            raise JournalError(f"journal {self._path} does not exist")
        await self._ready()
        await self._write(lambda at: controls.insert_control(at, control, body))

    async def answer(self, control_id: str, text: str) -> None:
        """Acknowledge a wish."""
        self._owned()
        if self._memory.control(control_id) is not None:
            self._memory.answer(control_id, text)
            return
        await self._write(lambda at: controls.answer_control(at, control_id, text))

    # --- reading ---------------------------------------------------------------------------------

    async def _read(self, look: Callable[[apsw.Connection], _T], nothing: _T) -> _T:
        readers = self._opened()
        if not self._prepared:
            if not self._path.exists():
                return nothing
            await readers.run(self._prepare)
        return await readers.read(look)

    async def records(
        self, run_id: str, *, after: int = 0, limit: int | None = None
    ) -> list[Record]:
        """Read records, their chain checked."""
        self._opened()
        if self._memory.holds(run_id):
            return self._memory.records(run_id, after, limit)
        path = self._path
        return await self._read(lambda at: reading.read_whole(at, path, run_id, after, limit), [])

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
            lambda at: reading.find_records(at, self._path, kind, choose, run_id, left), list[_T]()
        )

    async def run(self, run_id: str) -> RunRow | None:
        """Read one row."""
        self._opened()
        if self._memory.holds(run_id):
            return self._memory.run(run_id)
        return await self._read(lambda at: reading.read_run(at, run_id, self.is_alive), None)

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
                at, self.is_alive, status=status, name=name, limit=limit, edge=edge
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
        *_, owner = self._owned()

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
        return await self._read(lambda at: reading.read_owners(at, self.is_alive), [])

    def is_alive(self, owner: str) -> bool:
        """Tell whether an owner's lease is held."""
        return is_held(self._folder, owner)

    async def find_by_idempotency_key(self, key: str) -> KeyUse | None:
        """Find the run that was accepted with a key."""
        self._opened()
        if (use := self._memory.key_use(key)) is not None:
            return use
        return await self._read(lambda at: reading.read_key_use(at, key), None)

    def health(self) -> JournalHealth:
        """Say how it is, from memory."""
        writer = self._writer
        failure = writer.failure if writer is not None else None
        reason = str(failure or "")
        if self._state != "open":
            reason = f"the journal is {self._state}"
        health = JournalHealth(not reason, reason, "sqlite", str(self._path), self._owner)
        health = with_outputs(health, self._counters, self._memory.outputs)
        if writer is None or self._backlog is None:
            return health
        return with_counts(health, writer.counters, self._backlog, self._bounds)
