"""Instructions: what ``advance`` wants done, as plain values; one loop does them."""

from __future__ import annotations

from dataclasses import dataclass

from tandem_orchestrator.model.events import AnyEvent


@dataclass(frozen=True, slots=True)
class UnitKey:
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


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Give one attempt of a unit to a layer."""

    unit: UnitKey
    layer: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Ask a running attempt to stop; its end still comes as an event."""

    unit: UnitKey
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Deliver ``event`` after ``delay_s`` seconds, unless dropped first."""

    key: str
    delay_s: float
    event: AnyEvent


@dataclass(frozen=True, slots=True)
class Drop:
    """Forget a wait; an unknown key is fine."""

    key: str


@dataclass(frozen=True, slots=True)
class Record:
    """Journal a conclusion and show it to the observers."""

    event: AnyEvent


Instruction = Dispatch | Stop | Wait | Drop | Record
"""Everything that ``advance`` can ask for."""
