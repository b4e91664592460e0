"""Changes: how a reader learns that there may be something new, without asking all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


class Changes:
    """Wakes those who wait whenever something was written. Belongs to one loop."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def tell(self) -> None:
        """Wake everybody who waits now."""
        self._next.set()
        self._next = asyncio.Event()

    async def first(
        self,
        look: Callable[[], Awaitable[list[_T]]],
        wait_s: float,
        *,
        poll_s: float | None = None,
    ) -> list[_T]:
        """Give what ``look`` finds as soon as it finds something; empty after ``wait_s``.

        Args:
            look: Asked at once, after each change, and once more at the end.
            poll_s: Asked this often as well, for changes that nobody tells; None: never.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + wait_s
        while True:
            change = self._next  # taken before the look: a change during it must wake us
            found = await look()
            left_s = deadline - clock()
            if found or left_s <= 0:
                return found
            try:
                pause_s = left_s if poll_s is None else min(left_s, poll_s)
                await asyncio.wait_for(change.wait(), pause_s)
            except TimeoutError:
                continue
