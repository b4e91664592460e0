"""What a run waits for: events by key, each delivered when its time has come unless dropped."""

from __future__ import annotations

from typing import Protocol

from tandem_orchestrator.clock import Clock, Timer
from tandem_orchestrator.model.events import AnyEvent
from tandem_orchestrator.model.none_yet import NONE_YET


class Receiver(Protocol):
    """Whoever waits."""

    def post(self, event: AnyEvent) -> None:
        """Take in an event."""


class Waits:
    """The waits of one run, on a clock that is passed in.

    Args:
        receiver: Told on the loop of an event that is due.
    """

    __slots__ = ("_clock", "_receiver", "_timers")

    def __init__(self, clock: Clock, receiver: Receiver) -> None:
        self._clock, self._receiver = clock, receiver
        self._timers: dict[str, Timer] = NONE_YET

    def add(self, key: str, delay_s: float, event: AnyEvent) -> None:
        """Deliver an event after ``delay_s`` seconds; a wait of the same key is dropped."""
        self.drop(key)
        self._timers = self._timers or {}
        self._timers[key] = self._clock.call_later(delay_s, _Due(self, key, event))

    def drop(self, key: str) -> None:
        """Forget a wait; an unknown key is fine."""
        if timer := self._timers.pop(key, None):
            timer.cancel()

    def drop_all(self) -> None:
        """Forget every wait."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def due(self, key: str, event: AnyEvent) -> None:
        """Deliver an event whose time has come."""
        self._timers.pop(key, None)
        self._receiver.post(event)


class _Due:
    """What a timer calls; smaller than a closure, and a program may have 100,000 timers."""

    __slots__ = ("_event", "_key", "_waits")

    def __init__(self, waits: Waits, key: str, event: AnyEvent) -> None:
        self._waits, self._key, self._event = waits, key, event

    def __call__(self) -> None:
        self._waits.due(self._key, self._event)
