"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable

SETTLE_ROUNDS = 50
"""Turns of the loop given to what a timer started, before the next timer."""


class _FakeTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """Both times and all timers, moved by ``advance`` alone.

    Args:
        wall_ns: Nanoseconds since the epoch at the start.
    """

    def __init__(self, wall_ns: int = 1_700_000_000_000_000_000) -> None:
        self._start_wall_ns = wall_ns
        self._now_ns = 1_000_000_000
        self._timers: list[tuple[int, int, _FakeTimer]] = []
        self._order = itertools.count()

    def monotonic_ns(self) -> int:
        """Read nanoseconds that grow only by ``advance``."""
        return self._now_ns

    def wall_ns(self) -> int:
        """Read nanoseconds since the epoch, in step with ``monotonic_ns``."""
        return self._start_wall_ns + self._now_ns

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> _FakeTimer:
        """Arm a timer; it fires within ``advance``."""
        timer = _FakeTimer(callback)
        due_ns = self._now_ns + round(delay_s * 1e9)
        heapq.heappush(self._timers, (due_ns, next(self._order), timer))
        return timer

    @property
    def armed(self) -> int:
        """Timers that have neither fired nor been cancelled."""
        return sum(1 for _, _, timer in self._timers if timer.callback is not None)

    def next_ns(self) -> int | None:
        """Give the moment, on ``monotonic_ns``, at which the next timer fires; None: none will."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    async def advance(self, seconds: float) -> None:
        """Move both times on, firing timers in order and letting the loop run in between."""
        end_ns = self._now_ns + round(seconds * 1e9)
        await settle()
        while self._timers and self._timers[0][0] <= end_ns:
            due_ns, _, timer = heapq.heappop(self._timers)
            self._now_ns = max(self._now_ns, due_ns)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
                await settle()
        self._now_ns = end_ns
        await settle()


async def settle() -> None:
    """Let the loop run what is ready, and what that makes ready."""
    for _ in range(SETTLE_ROUNDS):
        await asyncio.sleep(0)
