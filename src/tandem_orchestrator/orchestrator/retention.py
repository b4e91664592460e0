"""Retention: one task that has the journal remove finished runs, a little at a time.

Off until ``journal.keep_days`` or ``journal.keep_bytes`` is set; both are read at each look, so
that a change counts at the next. Large outputs that no run names go at each look, set or not. Several processes on one journal may all do it: a run that one
has removed is not there for the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import Closed, JournalError
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.layers.native.waiting import pause
from tandem_orchestrator.settings import Settings

_log = logging.getLogger(__name__)

LOOK_S = 60.0
"""Seconds between two looks."""
BATCH_PAUSE_S = 0.05
"""Seconds between two batches, in which other writes have the journal to themselves."""
CLOSE_S = 5.0
_DAY_NS = 86_400 * 10**9


class Retention:
    """Removes old runs from ``start`` to ``close``. Belongs to the loop.

    Args:
        settings: Gives those of this moment.
    """

    def __init__(self, journal: Journal, settings: Callable[[], Settings], clock: Clock) -> None:
        self._journal, self._settings, self._clock = journal, settings, clock
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    def start(self) -> None:
        """Look now, and from now on."""
        self._task = asyncio.create_task(self._serve(), name="tandem-retention")

    async def close(self) -> None:
        """Remove nothing any more."""
        self._is_closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=CLOSE_S)

    async def _serve(self) -> None:
        is_well = True
        while not self._is_closing:
            try:
                await self.look()
                await self._journal.remove_outputs()
                is_well = True
            except Closed:
                return
            except (JournalError, OSError) as error:
                if is_well:
                    _log.warning("old runs cannot be removed: %s", error)
                is_well = False
            await pause(LOOK_S, self._clock)

    async def look(self) -> int:
        """Remove all that may go at this moment, batch by batch; gives the number of runs."""
        removed = 0
        while not self._is_closing:
            settings = self._settings()
            days, bytes_max = settings.journal.keep_days, settings.journal.keep_bytes
            if days is None and bytes_max is None:
                break
            before_ns = None if days is None else self._clock.wall_ns() - int(days * _DAY_NS)
            batch = await self._journal.remove_runs(before_ns=before_ns, bytes_max=bytes_max)
            if batch == 0:
                break
            removed += batch
            await pause(BATCH_PAUSE_S, self._clock)
        if removed:
            _log.info("%d finished runs were removed from the journal", removed)
        return removed
