"""Reading sessions and the threads that use them, so that the loop never waits for the server."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.postgres.connection import DAMAGED, Connect, Place, comes_back

_T = TypeVar("_T")

READERS_MAX = 2
"""Threads, and sessions, that read at the same time."""
_PAUSE_S, _PAUSE_MAX_S = 0.05, 0.5
READ_WAIT_S = 60.0
"""How long one read may take."""


class ReaderPool:
    """At most ``READERS_MAX`` sessions, opened when needed.

    Args:
        patience_s: How long a read is tried again where the server answered before and is away
            now. The first read is not: a wrong place is told at once.
    """

    def __init__(self, place: Place, connect: Connect, patience_s: float) -> None:
        self._place = place
        self._connect = connect
        self._patience_s = patience_s
        self._has_answered = False
        self._is_closing = threading.Event()
        self._threads = ThreadPoolExecutor(READERS_MAX, thread_name_prefix="tandem-journal-read")
        self._free: list[psycopg.Connection[Any]] = []  # append and pop are atomic

    async def read(
        self, look: Callable[[psycopg.Connection[Any]], _T], *, wait_s: float = READ_WAIT_S
    ) -> _T:
        """Run ``look`` on a session.

        Raises: JournalError, also if it takes longer than ``wait_s``.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(wait_s):
                return await loop.run_in_executor(self._threads, self._look, look)
        except TimeoutError as error:
            raise JournalError(f"journal {self._place}: reading took over {wait_s} s") from error

    def _look(self, look: Callable[[psycopg.Connection[Any]], _T]) -> _T:
        give_up_at = time.monotonic() + (self._patience_s if self._has_answered else 0.0)
        pause_s = _PAUSE_S
        while True:
            # One that is kept may be of before the server started anew.
            is_kept = bool(self._free)
            try:
                found = self._use(self._free.pop() if is_kept else self._connect(), look)
            except psycopg.Error as error:
                # Reading again does no harm.
                is_late = not is_kept and time.monotonic() + pause_s > give_up_at
                if not comes_back(error) or is_late:
                    raise self._place.error(error, "reading") from None
                if not is_kept and self._is_closing.wait(pause_s):
                    raise self._place.error(error, "reading") from None
                pause_s = min(pause_s * 2, _PAUSE_MAX_S)
            except DAMAGED as error:
                raise self._place.error(error, "reading") from error
            else:
                self._has_answered = True
                return found

    def _use(
        self, connection: psycopg.Connection[Any], look: Callable[[psycopg.Connection[Any]], _T]
    ) -> _T:
        try:
            found = look(connection)
        except BaseException:
            _close(connection)
            raise
        self._free.append(connection)
        return found

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run blocking ``work`` that needs no session of ours on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Wait for reads under way and close the sessions; a server that is away is not waited for."""
        self._is_closing.set()
        self._threads.shutdown(wait=True, cancel_futures=True)
        while self._free:
            _close(self._free.pop())


def _close(connection: psycopg.Connection[Any]) -> None:
    with contextlib.suppress(psycopg.Error):  # it only read: nothing is lost with it
        connection.close()


async def aside(work: Callable[[], _T]) -> _T:
    """Run blocking ``work`` on a thread of its own.

    The loop's default pool may be full of the user's work, and keeps its threads.
    """
    threads = ThreadPoolExecutor(1, thread_name_prefix="tandem-journal-close")
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
    finally:
        threads.shutdown(wait=False)
