"""What a run has noted and not handed to the journal yet. Made when something is, gone with that."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.engine.instructions import Dispatch, DispatchSegment
from tandem_orchestrator.model.events import AnyEvent


class Noted:
    """What the turns since the last append have come to."""

    __slots__ = ("dispatches", "events", "segments", "told")

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self.dispatches: list[Dispatch] = []
        self.segments: list[DispatchSegment] = []
        # Any: a conflict, and its outcomes, as plain data.
        self.told: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        """Conflicts of which nobody has been told yet."""
