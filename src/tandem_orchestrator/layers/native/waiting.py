"""Waits with a limit, on a clock that is passed in."""

from __future__ import annotations

import asyncio
from typing import Any

from tandem_orchestrator.clock import Clock


async def settled_within(
    # Any: whatever the future holds; only whether it is done counts.
    future: asyncio.Future[Any],
    limit_s: float,
    clock: Clock,
) -> bool:
    """Wait until ``future`` is done, at most ``limit_s`` seconds; never cancels it.

    Returns: Whether it is done.
    """
    if future.done():
        return True
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # Any: as above.
    def open_gate(_: asyncio.Future[Any] | None = None) -> None:
        if not gate.done():
            gate.set_result(None)

    timer = clock.call_later(limit_s, open_gate)
    future.add_done_callback(open_gate)
    try:
        await gate
    finally:
        timer.cancel()
        future.remove_done_callback(open_gate)
    return future.done()


async def pause(limit_s: float, clock: Clock) -> None:
    """Let ``limit_s`` seconds pass on the clock."""
    await settled_within(asyncio.get_running_loop().create_future(), limit_s, clock)


class GrowingWait:
    """Pauses that double, up to 50 ms, until a limit has passed.

    Args:
        limit_s: Seconds from now.
        first_s: The first pause, in seconds.
    """

    def __init__(self, clock: Clock, limit_s: float, first_s: float) -> None:
        self._clock = clock
        self._give_up_ns = clock.monotonic_ns() + int(limit_s * 1e9)
        self._pause_s = first_s

    async def again(self) -> bool:
        """Wait once more; False when the limit has passed."""
        if self._clock.monotonic_ns() >= self._give_up_ns:
            return False
        await pause(self._pause_s, self._clock)
        self._pause_s = min(self._pause_s * 2, 0.05)
        return True
