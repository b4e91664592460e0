"""Reading connections and the threads that use them, so that the loop never waits for the disk."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.sqlite.connection import connect_reader, journal_error

_T = TypeVar("_T")
_log = logging.getLogger("tandem.journal")

READERS_MAX = 2
"""Threads, and connections, that read at the same time."""

READ_WAIT_S = 60.0
"""How long one read may take."""


class ReaderPool:
    """At most ``READERS_MAX`` read-only connections, opened when needed."""

    def __init__(self, path: Path, vfs: str | None) -> None:
        self._path = path
        self._vfs = vfs
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="tandem-journal-read")
        self._free: list[apsw.Connection] = []  # append and pop are atomic

    async def read(
        self, look: Callable[[apsw.Connection], _T], *, wait_s: float | None = READ_WAIT_S
    ) -> _T:
        """Run ``look`` on a reading connection.

        Raises: JournalError, also if it takes longer than ``wait_s``.
        """
        try:
            async with asyncio.timeout(wait_s):
                return await self.run(lambda: self._look(look))
        except TimeoutError as error:
            raise JournalError(f"journal {self._path}: reading took over {wait_s} s") from error

    def _look(self, look: Callable[[apsw.Connection], _T]) -> _T:
        connection: apsw.Connection | None = None
        try:
            connection = self._free.pop() if self._free else connect_reader(self._path, self._vfs)
            found = look(connection)
        except (apsw.Error, ValueError, TypeError, msgspec.MsgspecError) as error:
            # The latter three: a row of a damaged file holds what no writer of ours wrote.
            if connection is not None:
                _close(connection, self._path)
            raise journal_error(self._path, error, "reading") from error
        except BaseException:
            if connection is not None:
                _close(connection, self._path)
            raise
        self._free.append(connection)
        return found

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run blocking ``work`` that needs no connection on one of the threads.

        Raises: JournalError where no thread is to be had.
        """
        doing = _handed_to(self._threads, work)
        if doing is None:
            raise JournalError(f"journal {self._path}: the system gives no thread to read with")
        return await asyncio.wrap_future(doing)

    def close(self) -> None:
        """Wait for reads under way and close the connections."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._free:
            _close(self._free.pop(), self._path)

    @property
    def connections(self) -> list[apsw.Connection]:
        """Idle connections, for a forked child to leave alone."""
        return self._free


def _close(connection: apsw.Connection, path: Path) -> None:
    """Close a connection that only read: an error of the disk meanwhile loses nothing."""
    try:
        connection.close()
    except apsw.Error as error:
        _log.warning("journal %s: closing a reader: %s", path, error)


async def aside(work: Callable[[], _T]) -> _T:
    """Run blocking ``work`` on a thread of its own; where none is to be had, here: it must be done.

    The loop's default pool may be full of the user's work, and keeps its threads.
    """
    threads = ThreadPoolExecutor(1, thread_name_prefix="tandem-journal-close")
    try:
        doing = _handed_to(threads, work)
        return work() if doing is None else await asyncio.wrap_future(doing)
    finally:
        threads.shutdown(wait=False)


def _handed_to(threads: ThreadPoolExecutor, work: Callable[[], _T]) -> Future[_T] | None:
    """Give ``work`` to a pool; None where the system has no thread for it, and it is not done.

    A pool that cannot start a thread raises, and still has the work in its queue, for a thread
    that is there already: hence a Future of ours, which one side or the other takes.
    """
    doing: Future[_T] = Future()

    def do() -> None:
        if doing.set_running_or_notify_cancel():
            try:
                doing.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is whoever waits who gets it
                doing.set_exception(error)

    try:
        threads.submit(do)
    except RuntimeError:
        if doing.cancel():
            return None
    return doing
