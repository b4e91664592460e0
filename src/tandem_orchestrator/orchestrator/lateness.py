"""Lateness: whoever waits for longer than is usual is woken, with one timer for all of them."""

from __future__ import annotations

import asyncio
from collections import deque

from tandem_orchestrator.clock import Clock, Timer


class Lateness:
    """Settles futures with False that nobody has settled in time. Belongs to one loop's thread.

    Args:
        limit_s: How long each may take; it is woken within as long again.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._clock, self._limit_s = clock, limit_s
        self._waiting: deque[tuple[int, asyncio.Future[bool]]] = deque()
        self._timer: Timer | None = None

    def watch(self, turn: asyncio.Future[bool]) -> None:
        """Settle a future if nobody does; it may be forgotten once it is settled."""
        self._waiting.append((self._clock.monotonic_ns(), turn))
        if self._timer is None:
            self._timer = self._clock.call_later(self._limit_s, self._look)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        late_ns = self._clock.monotonic_ns() - int(self._limit_s * 1e9)
        waiting = self._waiting
        while waiting and (waiting[0][1].done() or waiting[0][0] <= late_ns):
            _, turn = waiting.popleft()
            if not turn.done():
                turn.set_result(False)
        if waiting:
            self._timer = self._clock.call_later(self._limit_s, self._look)
