"""Ageing: whoever waits long enough goes first, however urgent the others are.

A level of priority is worth so many seconds of waiting. Of two that wait, the one that is ahead
stays ahead, since both grow older alike: the rank of a waiter never changes, and a heap will do.

Source: linear ageing of priorities, as in L. Kleinrock, "Queueing Systems" II, 3.7 (delay-dependent
priorities), with one slope for all.
"""

from __future__ import annotations

from tandem_orchestrator.clock import Clock


class Ageing:
    """Ranks those that wait by their priority and by when they began to.

    Args:
        level_s: Seconds of waiting that are worth one level of priority; 0: waiting is worth
            nothing, the urgent always go first.
    """

    def __init__(self, clock: Clock, level_s: float = 0.0) -> None:
        self._clock, self._level_ns = clock, int(level_s * 1e9)

    def rank(self, priority: int, waited_ns: int = 0) -> int:
        """Give the rank of whoever begins to wait now; the lowest goes first.

        Args:
            priority: Higher is more urgent.
            waited_ns: How long it has waited already, as before its orchestrator died.
        """
        if self._level_ns == 0:
            return -priority
        return self._clock.monotonic_ns() - max(0, waited_ns) - priority * self._level_ns
