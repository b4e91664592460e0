"""Admission: how many runs go on at one time, and who is next."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from tandem_orchestrator.engine.ageing import Ageing
from tandem_orchestrator.errors import Busy

STALE_MAX = 64
"""Entries of runs that do not wait any more which are no reason to look through the queue."""


class Admission:
    """A bounded queue by priority in front of a bounded number of places.

    Args:
        places: Runs that go on at one time (``orchestrator.max_parallel_workflows``).
        waiting_max: Runs that may wait for a place.
        ageing: Who of them is next.
        begin: Called with the id of a run that has got its place.
    """

    def __init__(
        self, places: int, waiting_max: int, ageing: Ageing, begin: Callable[[str], None]
    ) -> None:
        self._places, self._waiting_max, self._ageing = places, waiting_max, ageing
        self._begin = begin
        self._queue: list[tuple[int, int, str]] = []
        """Rank, order and id; entries of those that do not wait any more are passed over."""
        self._orders: dict[str, int] = {}
        """Those that wait, with the order of the entry that counts."""
        self._order = itertools.count()
        self.active = 0

    @property
    def waiting(self) -> int:
        """Runs that wait for a place."""
        return len(self._orders)

    def check(self, runs: int) -> None:
        """Refuse when not one more may wait.

        Args:
            runs: Runs that have not ended, those whose acceptance is still being written too.

        Raises: Busy, naming the bound.
        """
        if runs >= self._places + self._waiting_max:
            raise Busy(
                f"{runs} runs go on or wait; at most {self._places} go on and {self._waiting_max} "
                "wait (orchestrator.max_parallel_workflows, orchestrator.max_queued_runs)"
            )

    def enter(self, priority: int, run_id: str, waited_ns: int = 0) -> None:
        """Call ``begin`` now if there is a place, else when it is this run's turn.

        Higher priorities go first, but for ageing; equals in the order in which they came.

        Args:
            waited_ns: How long it has waited before, elsewhere.
        """
        if self.active < self._places:
            self.active += 1
            self._begin(run_id)
        else:
            rank, order = self._ageing.rank(priority, waited_ns), next(self._order)
            self._orders[run_id] = order
            heapq.heappush(self._queue, (rank, order, run_id))

    def enter_at_once(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self.active >= self._places or self._orders:
            return False
        self.active += 1
        return True

    def leave(self) -> None:
        """Give a place back to whoever is next."""
        self.active -= 1
        if self.active >= self._places:
            return
        while self._queue:
            _, order, run_id = heapq.heappop(self._queue)
            if self._orders.get(run_id) == order:
                del self._orders[run_id]
                self.active += 1
                self._begin(run_id)
                return

    def come_back(self) -> None:
        """Take a place without waiting, even beyond the bound: who gave one away goes on."""
        self.active += 1

    def withdraw(self, run_id: str) -> None:
        """Take a run out of the queue if it waits there."""
        if self._orders.pop(run_id, None) is None:
            return
        if len(self._queue) > 2 * len(self._orders) + STALE_MAX:
            self._queue = [one for one in self._queue if self._orders.get(one[2]) == one[1]]
            heapq.heapify(self._queue)
