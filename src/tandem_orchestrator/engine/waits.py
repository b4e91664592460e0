"""What a run waits for: events by key, each delivered when its time has come unless dropped."""

from __future__ import annotations

from collections.abc import Callable

from tandem_orchestrator.clock import Clock, Timer
from tandem_orchestrator.model.events import AnyEvent


class Waits:
    """The waits of one run, on a clock that is passed in.

    Args:
        deliver: Called on the loop with an event that is due.
    """

    def __init__(self, clock: Clock, deliver: Callable[[AnyEvent], None]) -> None:
        self._clock, self._deliver = clock, deliver
        self._timers: dict[str, Timer] = {}

    def add(self, key: str, delay_s: float, event: AnyEvent) -> None:
        """Deliver an event after ``delay_s`` seconds; a wait of the same key is dropped."""
        self.drop(key)
        self._timers[key] = self._clock.call_later(delay_s, lambda: self._due(key, event))

    def drop(self, key: str) -> None:
        """Forget a wait; an unknown key is fine."""
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def drop_all(self) -> None:
        """Forget every wait."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: str, event: AnyEvent) -> None:
        self._timers.pop(key, None)
        self._deliver(event)
