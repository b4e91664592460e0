"""The retry budget of each agent: so many further attempts in a second, over all runs.

Back-off and jitter spread the retries of one step; a thousand steps whose agent just failed would
still come back together and keep it down. Past the budget a retry waits for its turn and is not
refused: ``max_retries`` keeps its promise, only later. One second's worth may come at once.

Source: the retry budgets of Finagle and gRPC (proposal A6), which drop what is over; a workflow
has the time to wait instead.
"""

from __future__ import annotations

import asyncio

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.layers.layer import CancelToken

AGENTS_MAX = 10_000
"""Agents whose budgets are remembered; beyond it those that are full again are forgotten."""


class RetryPace:
    """Budgets by agent, as token buckets of one second's worth.

    Args:
        per_s: Retries of one agent in a second; 0: no budget.
    """

    def __init__(self, clock: Clock, per_s: float) -> None:
        self._clock, self._per_s = clock, per_s
        self._full_at_ns: dict[str, int] = {}
        """When each agent's bucket is full, if nothing more is taken from it."""

    async def wait(self, agent: str, cancel: CancelToken) -> None:
        """Wait until the agent's budget has room for one more, or the attempt is asked to stop."""
        wait_s = self._take(agent)
        if wait_s <= 0 or cancel.requested:
            return
        over = asyncio.Event()
        timer = self._clock.call_later(wait_s, over.set)
        cancel.on_cancel(over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    def _take(self, agent: str) -> float:
        """Take one from the bucket, also ahead of its time; give the seconds until it is there."""
        if self._per_s <= 0:
            return 0.0
        now_ns = self._clock.monotonic_ns()
        if len(self._full_at_ns) >= AGENTS_MAX:
            self._full_at_ns = {a: at for a, at in self._full_at_ns.items() if at > now_ns}
        full_at_ns = max(self._full_at_ns.get(agent, 0), now_ns) + int(1e9 / self._per_s)
        self._full_at_ns[agent] = full_at_ns
        # A bucket that would be full again within a second had something in it.
        return max(0.0, (full_at_ns - now_ns) / 1e9 - 1.0)
