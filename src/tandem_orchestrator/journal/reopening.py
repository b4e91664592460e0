"""Going on after a full disk, in the same program.

A write that found no room was rolled back and nothing of it was acknowledged, so the file may be
opened anew and read, as a later program would. A failed fsync is another thing: pages that never
reached the disk may count as clean then, so only a program that comes later may trust the file.

What was appended in vain leaves its run behind: the journal takes a new lease, keeps the runs that
lost nothing, and leaves the others to the old one, which is dead then, for recovery to take over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from tandem_orchestrator.errors import JournalError

_log = logging.getLogger("tandem.journal")

TRY_S = 0.5
"""Seconds between two tries to write again."""


class Reopening:
    """Tries again and again, from the first failure until it works. Belongs to the loop.

    Args:
        reopen: Opens the journal's writer anew. Raises JournalError or OSError where it cannot.
    """

    def __init__(self, reopen: Callable[[], Awaitable[None]]) -> None:
        self._reopen = reopen
        self._task: asyncio.Task[None] | None = None

    def start_if(self, is_full: bool) -> None:
        """Begin where that is the case, unless it has begun."""
        if not is_full:
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._try(), name="tandem-journal-reopening")

    async def close(self) -> None:
        """Try no more; a try under way is waited for."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _try(self) -> None:
        while True:
            await asyncio.sleep(TRY_S)
            again = asyncio.ensure_future(self._reopen())
            try:
                await asyncio.shield(again)
            except asyncio.CancelledError:
                await asyncio.wait((again,))
                raise
            except (JournalError, OSError) as error:
                _log.debug("still no room: %s", error)
            else:
                return
