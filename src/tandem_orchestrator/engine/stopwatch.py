"""How long steps take that consist of many attempts: from the first start to the step's end.

What their attempts took, added up, says how much work it was; several run at one time. The state of
a run knows no clock, so that this is measured where events get their times.
"""

from __future__ import annotations

import msgspec

from tandem_orchestrator.model.events import AttemptStarted, StepEnded
from tandem_orchestrator.model.plans import PlannedStep

NONE_RUNS: dict[str, int] = {}
"""What is at work where nothing is."""


class Stopwatch:
    """Knows when the steps of one run began that have items or parts."""

    __slots__ = ("began",)

    def __init__(self, began: dict[str, int] | None = None) -> None:
        self.began = began or NONE_RUNS
        """Step to when its first attempt started, in nanoseconds since the epoch."""

    def started(self, step: PlannedStep, at_ns: int) -> None:
        """Note an attempt that starts."""
        if step.for_each is not None or step.batch is not None:
            self.began = self.began or {}
            self.began.setdefault(step.id, at_ns)

    def ended(self, event: StepEnded, at_ns: int) -> StepEnded:
        """Give a step's end with the time it took."""
        began_ns = self.began.pop(event.step, None) if self.began else None
        if began_ns is None:
            return event
        seconds = max(0, at_ns - began_ns) / 1e9
        return msgspec.structs.replace(event, seconds=seconds, work_seconds=event.seconds)

    def replayed(self, event: object, step: PlannedStep | None) -> None:
        """Take in what was recorded before."""
        if isinstance(event, AttemptStarted) and step is not None:
            self.started(step, event.at_ns)
        elif isinstance(event, StepEnded) and self.began:
            self.began.pop(event.step, None)
