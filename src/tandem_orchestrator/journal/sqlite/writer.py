"""The writer: the one thread of a process that writes to the journal, and group commit.

It takes what is queued in order. Alone, an append is committed at once. What arrives while a
commit is under way (or while the file's lock is awaited) forms the next commit, up to
``commit_events_max`` events: under load the batches grow by themselves and nobody waits for
company. Only ``async`` events linger, up to ``sync_interval_ms``, since nobody waits for them. A
``sync`` append has a commit of its own.

The first write that fails stops it: what is queued and what comes later fails with the reason,
until the journal is opened anew. After a failed fsync the kernel may call dirty pages clean, so
that trying again could acknowledge what is not on disk ("fsyncgate", PostgreSQL, 2018).
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw

from tandem_orchestrator.errors import JournalError, TandemError
from tandem_orchestrator.journal.asking import Job
from tandem_orchestrator.journal.backlog import Counters
from tandem_orchestrator.journal.entry import Entry
from tandem_orchestrator.journal.journal import Bounds
from tandem_orchestrator.journal.outputs import OutputFiles, output_folder
from tandem_orchestrator.journal.parts import Part
from tandem_orchestrator.journal.sqlite import outputs
from tandem_orchestrator.journal.sqlite.connection import connect_writer, journal_error, means_full
from tandem_orchestrator.journal.sqlite.transaction import Transaction
from tandem_orchestrator.journal.ticket import WriteTicket

_COMMITS_KEPT = 256
_CHECKPOINT_PAGES = 1_000
"""Pages in the WAL from which on an idle writer copies them into the file (4 MiB)."""
_CHECKPOINT_PAGES_BUSY = 8_000
"""The same for a writer that has more to do (32 MiB)."""
_COMMIT_BYTES_MAX = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Append:
    """Entries of one run that are to be written together."""

    run_id: str
    entries: Sequence[Entry]
    durability: str
    ticket: WriteTicket
    body_bytes: int
    parts: Sequence[Part] = ()
    """What its entries name; kept in files before they are written."""


class Writer:
    """Owns the writing connection, on a thread of its own.

    Args:
        path: The journal file, which exists.
        vfs: Name of the SQLite VFS, None for the usual one.
        settled: Called on the writer's thread after each commit, with tickets and refusals.
        counters: Those of the writer before, to be counted on.
    """

    def __init__(
        self,
        path: Path,
        vfs: str | None,
        bounds: Bounds,
        settled: Callable[[list[tuple[WriteTicket, JournalError | None]]], None],
        counters: Counters | None = None,
    ) -> None:
        self._path = path
        self._vfs = vfs
        self._bounds = bounds
        self._settled = settled
        self._outputs = OutputFiles(output_folder(path))
        self._queue: queue.SimpleQueue[Append | Job | None] = queue.SimpleQueue()
        self._pending: deque[Append | Job | None] = deque()
        self._thread = threading.Thread(target=self._serve, name="tandem-journal", daemon=True)
        self._connection: apsw.Connection | None = None
        self._transaction: Transaction | None = None
        self._wal_pages = 0
        self.counters = counters or Counters()
        self.failure: JournalError | None = None
        """Why it stopped acknowledging; set once, by the writer's thread."""
        self.is_full = False
        """Whether it stopped for want of room alone."""
        self.left_behind: set[str] = set()
        """Runs of which something was appended in vain."""

    def start(self) -> None:
        """Start the thread; it opens its own connection.

        Raises: JournalError where no thread is to be had.
        """
        try:
            self._thread.start()
        except RuntimeError as error:
            raise JournalError(
                f"journal {self._path}: the system gives no thread to write with: {error}"
            ) from error

    def put(self, item: Append | Job) -> None:
        """Queue an item. Never blocks."""
        self._queue.put(item)

    def stop(self, wait_s: float) -> bool:
        """Write what is queued, close the connection, end the thread; False if it took longer."""
        if self._thread.ident is None:
            return True  # it never began
        self._queue.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def own(self, connection: apsw.Connection, token: int, owner: str) -> None:
        """Fence what is appended from now on by this lease. Called inside a ``Job``."""
        self._transaction = Transaction(connection, token, owner)

    def forget(self, run_id: str) -> None:
        """Read a run's head anew. Called inside a ``Job``."""
        if self._transaction is not None:
            self._transaction.forget(run_id)

    @property
    def connection(self) -> apsw.Connection | None:
        """The connection, for a forked child to leave alone."""
        return self._connection

    # --- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        self._open()
        while (item := self._next()) is not None:
            self._serve_one(item)
        self._close()

    def _open(self) -> None:
        try:
            self._connection = connect_writer(self._path, self._vfs, self._bounds.lock_wait_s)
            self._connection.set_wal_hook(self._note_wal)
        except (apsw.Error, JournalError, OSError) as error:
            self._fail(error, "cannot open it for writing")

    def _serve_one(self, item: Append | Job) -> None:
        try:
            self._do(item) if isinstance(item, Job) else self._commit(item)
        except Exception as error:  # noqa: BLE001 - a dead thread would leave others waiting
            self._fail(error, "internal error")

    def _close(self) -> None:
        if self._connection is not None:
            try:
                self._connection.close()
            except apsw.Error as error:
                # All that was acknowledged is in the WAL; only the copy into the file failed.
                self._fail(error, "closing")

    def _next(self) -> Append | Job | None:
        return self._pending.popleft() if self._pending else self._queue.get()

    def _note_wal(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _fail(self, error: BaseException, doing: str) -> JournalError:
        if self.failure is None:
            self.is_full = means_full(error)
            self.failure = journal_error(self._path, error, doing)
        return self.failure

    def _commit(self, first: Append) -> None:
        batch = [first]
        if self.failure is None and first.durability == "async":
            self._linger(batch)
        refusals: list[JournalError | None] = []
        began = time.perf_counter()
        if self.failure is None:
            try:
                refusals = self._write(batch)
            except (apsw.Error, OSError) as error:
                self._fail(error, "writing")
            except Exception as error:  # noqa: BLE001 - a bug here must stop acknowledging, too
                self._fail(error, "internal error while writing")
            self._roll_back()
        if self.failure is not None:
            refusals = [self.failure] * len(batch)
            self.left_behind.update(append.run_id for append in batch)
        self._count(batch, refusals, time.perf_counter() - began)
        self._settled([(a.ticket, r) for a, r in zip(batch, refusals, strict=True)])
        self._checkpoint()

    def _write(self, batch: list[Append]) -> list[JournalError | None]:
        connection, transaction = self._connection, self._transaction
        assert connection is not None
        if transaction is None:
            raise JournalError("appended before the lease was taken")
        parts = batch[0].parts  # the others have none
        self._outputs.keep(parts)
        connection.execute("BEGIN IMMEDIATE")
        # Whoever removes files holds this lock, too: one that is there now stays.
        self._outputs.keep(self._outputs.lacks(parts))
        self._gather(batch, wait_until=0.0)
        refusals = transaction.append_all([(a.run_id, a.entries) for a in batch])
        transaction.finish()
        connection.execute("COMMIT")
        if parts:
            self.counters.outputs = outputs.count(connection)
        return refusals

    def _linger(self, batch: list[Append]) -> None:
        self._gather(batch, wait_until=time.monotonic() + self._bounds.sync_interval_ms / 1000)

    def _gather(self, batch: list[Append], *, wait_until: float) -> None:
        """Add what is queued; with ``wait_until``, wait for more as long as all are async."""
        if batch[0].durability == "sync":
            return
        events = sum(len(append.entries) for append in batch)
        size = sum(append.body_bytes for append in batch)
        while events < self._bounds.commit_events_max and size < _COMMIT_BYTES_MAX:
            if not self._pending:
                try:
                    left_s = wait_until - time.monotonic() if wait_until else 0.0
                    self._pending.append(self._queue.get(left_s > 0, max(left_s, 0.0)))
                except queue.Empty:
                    return
            item = self._pending[0]
            if not isinstance(item, Append) or item.durability == "sync":
                return
            if events + len(item.entries) > self._bounds.commit_events_max:
                return
            if item.parts:
                return  # its files are written before the lock is taken, not under it
            if wait_until and item.durability != "async":
                return  # somebody waits for that one: no more lingering, it joins this commit
            batch.append(item)
            self._pending.popleft()
            events += len(item.entries)
            size += item.body_bytes

    def _do(self, job: Job) -> None:
        connection = self._connection
        if self.failure is not None or connection is None:
            job.done(None, self.failure)
            return
        if job.work is None:
            job.done(None, None)
            return
        result, error = None, None
        try:
            connection.execute("BEGIN IMMEDIATE")
            result = job.work(connection)
            connection.execute("COMMIT")
        except TandemError as refusal:
            error = refusal
        except Exception as fault:  # noqa: BLE001 - whatever it was, the caller hears and we stop
            error = self._fail(fault, "writing")
        self._roll_back()
        job.done(None if error is not None else result, error)
        self._checkpoint()

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is not None and connection.in_transaction:
            try:
                connection.execute("ROLLBACK")
            except apsw.Error as error:
                self._fail(error, "rolling back")

    def _count(
        self, batch: list[Append], refusals: list[JournalError | None], seconds: float
    ) -> None:
        counters = self.counters
        for append, refusal in zip(batch, refusals, strict=True):
            counters.events_written += len(append.entries)
            counters.bytes_written += append.body_bytes
            if refusal is None:
                counters.events_kept += len(append.entries)
            else:
                counters.refused += 1
        if self.failure is None:
            if len(counters.commit_seconds) < _COMMITS_KEPT:
                counters.commit_seconds.append(seconds)
            else:
                counters.commit_seconds[counters.commits % _COMMITS_KEPT] = seconds
            counters.commits += 1

    def _checkpoint(self) -> None:
        """Copy the WAL into the file when it is long: after the acknowledgement, never before."""
        is_idle = not self._pending and self._queue.empty()
        pages_max = _CHECKPOINT_PAGES if is_idle else _CHECKPOINT_PAGES_BUSY
        if self.failure is not None or self._connection is None or self._wal_pages < pages_max:
            return
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except (apsw.BusyError, apsw.LockedError):
            return  # another process copies right now
        except apsw.Error as error:
            self._fail(error, "checkpoint")
        self._wal_pages = 0
