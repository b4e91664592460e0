"""An ending: what a step, an item of it, or a part of its batch came to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.engine.state import UnitState
from tandem_orchestrator.model.outcomes import Failure, Outcome


@dataclass(frozen=True, slots=True)
class Ending:
    """How it went, once its twins have been judged."""

    outcome: Outcome
    # Any: an output is any value.
    output: Any = None
    failure: Failure | None = None
    disagrees: bool = False
    """Whether it failed because its twins differ: the other items are still compared."""

    @classmethod
    def of(cls, unit: UnitState) -> Ending:
        """Give a unit's own end."""
        return cls(unit.outcome or Outcome.FAILED, unit.output, unit.failure)

    @classmethod
    def stopped(cls, reason: str, text: str) -> Ending:
        """Give the end of what was asked to stop: ``cancelled`` or ``timed_out``."""
        if reason == "timed_out":
            return cls(Outcome.TIMED_OUT, failure=Failure("TimeoutError", text))
        return cls(Outcome.CANCELLED, failure=Failure("Cancelled", text))
