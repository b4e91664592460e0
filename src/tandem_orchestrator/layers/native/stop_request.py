"""Asking one call to stop, and how long to wait for it to obey."""

from __future__ import annotations

import asyncio

from tandem_orchestrator.clock import Clock, Timer
from tandem_orchestrator.layers.native import reports
from tandem_orchestrator.layers.native.session import Completion, Session


class StopRequest:
    """Ask one call to stop, and end the wait for it when its grace is over."""

    __slots__ = ("_call_id", "_clock", "_future", "_grace_s", "_session", "_timer", "abandoned")

    def __init__(
        self,
        session: Session,
        call_id: int,
        future: asyncio.Future[Completion],
        grace_s: float,
        clock: Clock,
    ) -> None:
        self._session = session
        self._call_id = call_id
        self._future = future
        self._grace_s = grace_s
        self._clock = clock
        self._timer: Timer | None = None
        self.abandoned = False
        """Whether its grace is over and nothing had come back."""

    def ask(self) -> None:
        """Ask now; harmless once the call has ended."""
        if not self._future.done():
            self._session.cancel(self._call_id)
            self._timer = self._clock.call_later(self._grace_s, self._abandon)

    def done(self) -> None:
        """The wait is over."""
        if self._timer is not None:
            self._timer.cancel()

    def _abandon(self) -> None:
        if not self._future.done():
            self.abandoned = True
            mark, _ = self._session.progress(self._call_id)  # of a program: steps that began
            self._future.set_result(Completion(reports.ABANDONED, 0, 0, b"", mark))
