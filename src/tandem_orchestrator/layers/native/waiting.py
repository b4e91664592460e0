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
