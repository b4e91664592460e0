"""Admission: how many runs go on at one time, and who is next."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from tandem_orchestrator.engine.ageing import Ageing
from tandem_orchestrator.errors import Busy


class Admission:
    """A bounded queue by priority in front of a bounded number of places.

    Args:
        places: Runs that go on at one time (``orchestrator.max_parallel_workflows``).
        waiting_max: Runs that may wait for a place.
        ageing: Who of them is next.
    """

    def __init__(self, places: int, waiting_max: int, ageing: Ageing) -> None:
        self._places, self._waiting_max, self._ageing = places, waiting_max, ageing
        self._queue: list[tuple[int, int, str, Callable[[], None]]] = []
        self._order = itertools.count()
        self.active = 0

    @property
    def waiting(self) -> int:
        """Runs that wait for a place."""
        return len(self._queue)

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

    def enter(
        self, priority: int, run_id: str, begin: Callable[[], None], waited_ns: int = 0
    ) -> None:
        """Call ``begin`` now if there is a place, else when it is this run's turn.

        Higher priorities go first, but for ageing; equals in the order in which they came.

        Args:
            waited_ns: How long it has waited before, elsewhere.
        """
        if self.active < self._places:
            self.active += 1
            begin()
        else:
            rank = self._ageing.rank(priority, waited_ns)
            heapq.heappush(self._queue, (rank, next(self._order), run_id, begin))

    def enter_at_once(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        if self.active >= self._places or self._queue:
            return False
        self.active += 1
        return True

    def leave(self) -> None:
        """Give a place back to whoever is next."""
        self.active -= 1
        if self._queue and self.active < self._places:
            self.active += 1
            heapq.heappop(self._queue)[3]()

    def come_back(self) -> None:
        """Take a place without waiting, even beyond the bound: who gave one away goes on."""
        self.active += 1

    def withdraw(self, run_id: str) -> None:
        """Take a run out of the queue if it waits there."""
        self._queue = [entry for entry in self._queue if entry[2] != run_id]
        heapq.heapify(self._queue)
