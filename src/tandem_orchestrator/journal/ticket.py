"""Tickets: what one append waits for, and who waits for it."""

from __future__ import annotations

import asyncio

from tandem_orchestrator.errors import JournalError


class WriteTicket:
    """The receipt of one append. Settled and awaited on the loop's thread only."""

    __slots__ = ("_error", "_settled", "_waiters", "_waits")

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._settled = False
        self._error: JournalError | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    @property
    def is_unwatched(self) -> bool:
        """Whether the append was acknowledged before it was written."""
        return not self._waits

    def settle(self, error: JournalError | None) -> None:
        """Say how the write went; once."""
        self._settled, self._error = True, error
        for waiter in self._waiters or ():
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = None

    async def durable(self) -> None:
        """Wait for the commit, or return at once where nothing was promised."""
        if self._waits and not self._settled:
            # One future for each who waits: cancelling one must not cancel the others.
            waiter = asyncio.get_running_loop().create_future()
            self._waiters = [*(self._waiters or ()), waiter]
            await waiter
        if self._error is not None:
            raise self._error
