"""What of a run is done, or under way, before it is taken in as an ordinary one."""

from __future__ import annotations

from typing import NamedTuple

from tandem_orchestrator.layers.layer import Begun, SegmentBegun
from tandem_orchestrator.model.events import RunForked, SegmentEnded, StepsRan


class Ahead(NamedTuple):
    """Where an ordinary run begins: at its first step, where nothing is given."""

    run_id: str | None = None
    """The id that its steps have seen; None: they have seen none."""
    head: SegmentEnded | None = None
    """What its one segment came back with."""
    onward: RunForked | StepsRan | None = None
    """Steps that stand as they ended."""
    begun: Begun | SegmentBegun | None = None
    """What is under way."""

    def drop(self) -> None:
        """Stop what is under way: there will be no run."""
        if self.begun is not None:
            self.begun.drop()


NOTHING_AHEAD = Ahead()
"""Of a run that begins at its first step."""
