"""Time, passed in: nobody in Tandem asks the machine for the hour on their own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A call that waits for its moment; ``cancel`` is safe at any time."""

    def cancel(self) -> None:
        """Drop the call if it has not been made."""


class Clock(Protocol):
    """The two times Tandem needs, and a way to be called later."""

    def monotonic_ns(self) -> int:
        """Read CLOCK_MONOTONIC in nanoseconds: for durations and deadlines, never stored."""

    def wall_ns(self) -> int:
        """Read nanoseconds since the epoch, UTC: for the journal and for people."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call ``callback`` on the running loop after ``delay_s`` seconds (0 or more)."""


class SystemClock:
    """The machine's own clocks and the running asyncio loop's timers."""

    def monotonic_ns(self) -> int:
        """Read CLOCK_MONOTONIC, the same clock that deadlines in C use."""
        return time.monotonic_ns()

    def wall_ns(self) -> int:
        """Read the wall clock in nanoseconds since the epoch."""
        return time.time_ns()

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Arm a timer of the running loop."""
        return asyncio.get_running_loop().call_later(delay_s, callback)
