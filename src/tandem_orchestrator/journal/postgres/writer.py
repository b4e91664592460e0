"""The writer: the one thread of a process that writes to the database, and group commit.

It takes what is queued in order. Alone, an append is committed at once; what arrives during a commit
forms the next one, as in the SQLite journal. A lease is renewed with every batch, and by itself
while there is nothing to write.

When the server is away (or full, or turned read-only) the batch under way stays: the writer
connects again and again, for ``lock_wait_s``, and then goes on where it was. Health says so
meanwhile. After that the batch and what is queued fail, and the journal takes a new lease as soon as
there is a server again.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg

from tandem_orchestrator.errors import JournalError, TandemError
from tandem_orchestrator.journal.asking import Job
from tandem_orchestrator.journal.backlog import Counters
from tandem_orchestrator.journal.entry import Entry
from tandem_orchestrator.journal.journal import Bounds
from tandem_orchestrator.journal.postgres.connection import Connect, Place, comes_back
from tandem_orchestrator.journal.postgres.leases import Living, renew
from tandem_orchestrator.journal.postgres.transaction import Transaction
from tandem_orchestrator.journal.ticket import WriteTicket

_T = TypeVar("_T")

_COMMITS_KEPT = 256
_COMMIT_BYTES_MAX = 8 * 2**20
_PAUSE_S, _PAUSE_MAX_S = 0.05, 1.0
EVENTS_FACTOR = 8
"""Times ``commit_events_max`` that one commit takes: it is a round trip, and holds up nobody else."""
RENEWALS_A_LEASE = 4
"""How often a lease is renewed while it lasts."""


@dataclass(frozen=True, slots=True)
class Append:
    """Entries of one run that are to be written together."""

    run_id: str
    entries: Sequence[Entry]
    durability: str
    ticket: WriteTicket
    body_bytes: int


class Writer:
    """Owns the writing connection, on a thread of its own.

    Args:
        connect: Opens a session.
        lease_s: How long a lease holds.
        living: Who lives; brought up to date with each renewal.
        settled: Called on the writer's thread after each commit, with tickets and refusals.
        counters: Those of the writer before, to be counted on.
    """

    def __init__(
        self,
        place: Place,
        connect: Connect,
        bounds: Bounds,
        lease_s: float,
        living: Living,
        settled: Callable[[list[tuple[WriteTicket, JournalError | None]]], None],
        counters: Counters | None = None,
    ) -> None:
        self._place = place
        self._connect = connect
        self._bounds = bounds
        self._lease_s = lease_s
        self._living = living
        self._settled = settled
        self._queue: queue.SimpleQueue[Append | Job | None] = queue.SimpleQueue()
        self._pending: deque[Append | Job | None] = deque()
        self._thread = threading.Thread(target=self._serve, name="tandem-journal", daemon=True)
        self._connection: psycopg.Connection[Any] | None = None
        self._transaction: Transaction | None = None
        self._renew_at = float("inf")
        self._is_stopping = threading.Event()
        self.counters = counters or Counters()
        self.trouble: JournalError | None = None
        """What keeps it from writing at this moment; it is trying again."""
        self.failure: JournalError | None = None
        """Why it stopped acknowledging; set once, by the writer's thread."""
        self.may_come_back = False
        """Whether it stopped for something that may be over later."""
        self.left_behind: set[str] = set()
        """Runs of which something was appended in vain."""

    def start(self) -> None:
        """Start the thread; it opens its own connection."""
        self._thread.start()

    def put(self, item: Append | Job) -> None:
        """Queue an item. Never blocks."""
        self._queue.put(item)

    def stop(self, wait_s: float) -> bool:
        """Write what is queued, close the connection, end the thread; False if it took longer.

        A server that is away is not waited for any more.
        """
        self._is_stopping.set()
        self._queue.put(None)
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def own(self, token: int, owner: str) -> None:
        """Fence what is appended from now on by this lease. Called inside a ``Job``."""
        self._transaction = Transaction(token, owner, self._lease_s)
        self._renew_at = time.monotonic() + self._lease_s / RENEWALS_A_LEASE

    def forget(self, run_id: str) -> None:
        """Read a run's head anew. Called inside a ``Job``."""
        if self._transaction is not None:
            self._transaction.forget(run_id)

    # --- the thread ------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            if time.monotonic() >= self._renew_at:
                self._renew()
            try:
                item = self._next()
            except queue.Empty:
                continue
            if item is None:
                break
            try:
                self._do(item) if isinstance(item, Job) else self._commit(item)
            except Exception as error:  # noqa: BLE001 - a dead thread would leave others waiting
                self._fail(error, "internal error")
        self._disconnect()

    def _next(self) -> Append | Job | None:
        if self._pending:
            return self._pending.popleft()
        if self._renew_at == float("inf"):
            return self._queue.get()
        return self._queue.get(True, max(0.0, self._renew_at - time.monotonic()))

    def _renew(self) -> None:
        """Hold the lease, and look who else does."""
        transaction = self._transaction
        self._renew_at = time.monotonic() + self._lease_s / RENEWALS_A_LEASE
        if transaction is None or self.failure is not None:
            return
        try:
            self._living.replace(renew(self._connected(), transaction.token, self._lease_s))
        except (psycopg.Error, JournalError) as error:
            # Only said: an append, should there be one, finds out for itself.
            self._note_trouble(error, "renewing the lease")
        else:
            self.trouble = None

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(
                psycopg.Error
            ):  # it is given up: what was acknowledged is there
                connection.close()

    def _note_trouble(self, error: BaseException, doing: str) -> None:
        self.trouble = self._place.error(error, doing)
        self._disconnect()

    def _patiently(self, work: Callable[[], _T], doing: str) -> _T:
        """Do what may be done again, as long as the server is away and ``lock_wait_s`` last.

        Raises: what ``work`` raised last.
        """
        give_up_at = time.monotonic() + self._bounds.lock_wait_s
        pause_s = _PAUSE_S
        while True:
            try:
                result = work()
            except psycopg.Error as error:
                self._note_trouble(error, doing)
                is_late = time.monotonic() + pause_s > give_up_at
                if not comes_back(error) or is_late or self._is_stopping.wait(pause_s):
                    raise
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            else:
                self.trouble = None
                return result

    def _fail(self, error: BaseException, doing: str) -> JournalError:
        if self.failure is None:
            self.may_come_back = comes_back(error)
            self.failure = self._place.error(error, doing)
            if self._transaction is not None:
                self._transaction.drop()
            self._disconnect()
        return self.failure

    def _commit(self, first: Append) -> None:
        batch = [first]
        if self.failure is None and first.durability == "async":
            self._linger(batch)
        refusals: list[JournalError | None] = []
        began = time.perf_counter()
        if self.failure is None:
            if first.durability != "sync":
                self._gather(batch, None)
            try:
                refusals = self._patiently(lambda: self._write(batch), "writing")
            except (psycopg.Error, JournalError) as error:
                self._fail(error, "writing")
            except Exception as error:  # noqa: BLE001 - a bug here must stop acknowledging, too
                self._fail(error, "internal error while writing")
        seconds = time.perf_counter() - began
        if self.failure is not None:
            self.left_behind.update(append.run_id for append in batch)
            refusals = [self.failure] * len(batch)
        self._count(batch, refusals, seconds)
        self._settled(
            [(append.ticket, refusal) for append, refusal in zip(batch, refusals, strict=True)]
        )

    def _write(self, batch: Sequence[Append]) -> list[JournalError | None]:
        if self._transaction is None:
            raise JournalError("the lease was not taken")
        appends = [(append.run_id, append.entries) for append in batch]
        return self._transaction.commit(self._connected(), appends)

    def _linger(self, batch: list[Append]) -> None:
        """Wait for company: nobody waits for the first one."""
        self._gather(batch, time.monotonic() + self._bounds.sync_interval_ms / 1000)

    def _gather(self, batch: list[Append], wait_until: float | None) -> None:
        """Take along what is queued: nothing after a job or a ``sync`` append, which stand alone."""
        events = sum(len(append.entries) for append in batch)
        size = sum(append.body_bytes for append in batch)
        events_max = self._bounds.commit_events_max * EVENTS_FACTOR
        while events < events_max and size < _COMMIT_BYTES_MAX:
            if not self._pending:
                try:
                    left_s = wait_until - time.monotonic() if wait_until else 0.0
                    self._pending.append(self._queue.get(left_s > 0, max(left_s, 0.0)))
                except queue.Empty:
                    return
            item = self._pending[0]
            if not isinstance(item, Append) or item.durability == "sync":
                return
            if events + len(item.entries) > events_max:
                return
            if wait_until and item.durability != "async":
                return  # somebody waits for that one: no more lingering, it joins this commit
            batch.append(item)
            self._pending.popleft()
            events += len(item.entries)
            size += item.body_bytes

    def _do(self, job: Job) -> None:
        if self.failure is not None or job.work is None:
            job.done(None, self.failure)
            return
        work, result, error = job.work, None, None
        try:
            result = self._patiently(lambda: self._transact(work), "writing")
        except TandemError as refusal:
            error = refusal
        except psycopg.Error as fault:
            error = self._place.error(fault, "writing")
        except Exception as fault:  # noqa: BLE001 - whatever it was, the caller hears and we stop
            error = self._fail(fault, "internal error")
        job.done(result, error)

    def _transact(self, work: Callable[[psycopg.Connection[Any]], _T]) -> _T:
        """Run a job's work in a transaction.

        Raises: JournalError if the answer to its commit was lost: it is not known then whether it
            happened, and repeating it is up to whoever asked.
        """
        connection = self._connected()
        connection.execute("BEGIN")
        try:
            result = work(connection)
        except BaseException:
            if not connection.closed:
                connection.execute("ROLLBACK")
            raise
        try:
            connection.execute("COMMIT")
        except psycopg.Error as error:
            self._note_trouble(error, "writing")
            raise self._place.error(error, "writing; whether it was written is not known") from None
        return result

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
