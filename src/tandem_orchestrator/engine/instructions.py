"""Instructions: what ``advance`` wants done, as plain values; one loop does them.

Structs rather than dataclasses: there is one for every attempt, and making one costs a third.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tandem_orchestrator.model.events import AnyEvent, Judged


class UnitKey(msgspec.Struct, frozen=True):
    """Names one unit: a step, its item, the part of its batch, its implementation."""

    step: str
    item: int | None
    implementation: str
    part: tuple[int, int] | None = None
    """From which item of a batch that was split to which, exclusive; None: the whole."""

    @property
    def label(self) -> str:
        """Name it within its step: ``c``, ``3/c`` for an item, ``0:5/c`` for a part."""
        if self.part is None:
            if self.item is None:
                return self.implementation
            return f"{self.item}/{self.implementation}"
        return f"{self.place}/{self.implementation}"

    @property
    def place(self) -> str:
        """Name what its twins have in common: an empty string, ``3``, ``0:5`` or ``3/0:5``."""
        item = "" if self.item is None else f"{self.item}"
        if self.part is None:
            return item
        part = f"{self.part[0]}:{self.part[1]}"
        return f"{item}/{part}" if item else part

    def __str__(self) -> str:
        item = "" if self.item is None else f"[{self.item}]"
        part = "" if self.part is None else f"[{self.part[0]}:{self.part[1]}]"
        return f"{self.step}{item}{part}/{self.implementation}"


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


class Evidence(msgspec.Struct, frozen=True):
    """What a conflict was about."""

    # Any: payloads and outputs are any values.
    payload: Any
    inputs: dict[str, Any]
    outcomes: list[dict[str, Any]]
    """``{implementation, outcome, output, failure, seconds}`` of each twin."""


class RecordConflict(msgspec.Struct, frozen=True):
    """Journal a conflict with a capsule of the evidence, and tell who wants to know."""

    event: Judged
    evidence: Evidence


Instruction = (
    Dispatch | DispatchSegment | Stop | StopSegment | Wait | Drop | Record | RecordConflict
)
"""Everything that ``advance`` can ask for."""
