"""Reading sessions and the threads that use them, so that the loop never waits for the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.postgres.connection import DAMAGED, Connect, Place, comes_back

_T = TypeVar("_T")

READERS_MAX = 2
"""Threads, and sessions, that read at the same time."""
READ_WAIT_S = 60.0
"""How long one read may take."""


class ReaderPool:
    """At most ``READERS_MAX`` sessions, opened when needed."""

    def __init__(self, place: Place, connect: Connect) -> None:
        self._place = place
        self._connect = connect
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
        while self._free:
            connection = self._free.pop()
            try:
                return self._use(connection, look)
            except psycopg.Error as error:
                # It may be of before the server started anew: reading again does no harm.
                if not comes_back(error):
                    raise self._place.error(error, "reading") from None
            except DAMAGED as error:
                raise self._place.error(error, "reading") from error
        try:
            return self._use(self._connect(), look)
        except (psycopg.Error, *DAMAGED) as error:
            raise self._place.error(error, "reading") from None

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
        """Wait for reads under way and close the sessions."""
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
