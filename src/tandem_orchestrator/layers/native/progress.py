"""Progress of calls in flight: no frames, only words in shared memory, looked at now and then.

One timer for the layer, armed only while something is in flight, so that a call of a few
microseconds costs a dictionary entry and no more.
"""

from __future__ import annotations

from collections.abc import Callable

from tandem_orchestrator.clock import Clock, Timer
from tandem_orchestrator.errors import TandemError
from tandem_orchestrator.layers.native.session import Session

LOOK_EVERY_S = 0.1
"""Seconds between two looks."""


class ProgressWatch:
    """Tell listeners about progress that has changed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer: Timer | None = None
        self._watched: dict[tuple[Session, int], Callable[[int, int], None]] = {}
        self._last: dict[tuple[Session, int], tuple[int, int]] = {}

    def add(self, session: Session, call_id: int, listener: Callable[[int, int], None]) -> None:
        """Watch a call until ``remove``."""
        self._watched[session, call_id] = listener
        if self._timer is None:
            self._timer = self._clock.call_later(LOOK_EVERY_S, self._look)

    def remove(self, session: Session, call_id: int) -> None:
        """Stop watching a call."""
        self._watched.pop((session, call_id), None)
        self._last.pop((session, call_id), None)

    def close(self) -> None:
        """Stop watching everything."""
        self._watched.clear()
        self._last.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        for key, listener in list(self._watched.items()):
            session, call_id = key
            try:
                seen = session.progress(call_id)
            except TandemError:
                continue  # the session is ending; the call's report says so
            if seen != (0, 0) and seen != self._last.get(key):
                self._last[key] = seen
                listener(*seen)
        if self._watched:
            self._timer = self._clock.call_later(LOOK_EVERY_S, self._look)
