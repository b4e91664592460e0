"""Instructions: what ``advance`` wants done, as plain values; one loop does them.

Structs rather than dataclasses: there is one for every attempt, and making one costs a third.
"""

from __future__ import annotations

import msgspec

from tandem_orchestrator.model.events import AnyEvent


class UnitKey(msgspec.Struct, frozen=True):
    """Names one unit: a step, its item, its implementation."""

    step: str
    item: int | None
    implementation: str

    @property
    def label(self) -> str:
        """Name it within its step: ``c``, or ``3/c`` for an item."""
        return self.implementation if self.item is None else f"{self.item}/{self.implementation}"

    def __str__(self) -> str:
        item = "" if self.item is None else f"[{self.item}]"
        return f"{self.step}{item}/{self.implementation}"


class Dispatch(msgspec.Struct, frozen=True):
    """Give one attempt of a unit to a layer."""

    unit: UnitKey
    layer: str
    attempt: int
    reason: str


class DispatchSegment(msgspec.Struct, frozen=True):
    """Give one attempt of a segment to the C layer."""

    segment: int
    attempt: int
    steps: tuple[str, ...]


class StopSegment(msgspec.Struct, frozen=True):
    """Ask a running segment to stop; its end still comes as an event."""

    segment: int
    attempt: int
    reason: str


class Stop(msgspec.Struct, frozen=True):
    """Ask a running attempt to stop; its end still comes as an event."""

    unit: UnitKey
    attempt: int
    reason: str


class Wait(msgspec.Struct, frozen=True):
    """Deliver ``event`` after ``delay_s`` seconds, unless dropped first."""

    key: str
    delay_s: float
    event: AnyEvent


class Drop(msgspec.Struct, frozen=True):
    """Forget a wait; an unknown key is fine."""

    key: str


class Record(msgspec.Struct, frozen=True):
    """Journal a conclusion and show it to the observers."""

    event: AnyEvent


Instruction = Dispatch | DispatchSegment | Stop | StopSegment | Wait | Drop | Record
"""Everything that ``advance`` can ask for."""
