"""Places for attempts: so many at one time, the urgent ones first."""

from __future__ import annotations

import asyncio
import heapq
import itertools

from tandem_orchestrator.engine.ageing import Ageing
from tandem_orchestrator.layers.layer import CancelToken


class Places:
    """A bounded number of places and a queue by priority in front of them.

    Args:
        places: Attempts in progress at one time, over all runs.
        ageing: Who of those that wait is next.
    """

    def __init__(self, places: int, ageing: Ageing) -> None:
        self._free, self._ageing = places, ageing
        self._queue: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._order = itertools.count()

    async def enter(self, priority: int, cancel: CancelToken) -> bool:
        """Wait for a place; False if the attempt was asked to stop meanwhile.

        Higher priorities go first, but for ageing; equals in the order in which they came.
        """
        if cancel.requested:
            return False
        if self._free > 0:
            self._free -= 1
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        rank = self._ageing.rank(priority)
        heapq.heappush(self._queue, (rank, next(self._order), turn))
        cancel.on_cancel(lambda: None if turn.done() else turn.set_result(False))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave()  # It was given a place in the moment in which it went.
            raise

    def leave(self) -> None:
        """Give a place back to whoever is next."""
        while self._queue:
            turn = heapq.heappop(self._queue)[2]
            if not turn.done():
                turn.set_result(True)
                return
        self._free += 1
