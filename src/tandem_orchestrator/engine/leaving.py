"""What becomes of attempts whose run is given back while they are at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tandem_orchestrator.engine.attempt import STOPPED
from tandem_orchestrator.engine.instructions import UnitKey
from tandem_orchestrator.engine.units import HANDED_OVER
from tandem_orchestrator.layers.layer import CancelToken, Report, SegmentReport, SegmentWork
from tandem_orchestrator.model.events import SegmentRow
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.plans import PlannedStep

LEAVING = "handed over"
"""Why an attempt is asked to stop."""
GIVEN_BACK = "given back; the next program that opens its journal may go on with it"
"""What whoever waits for the run is told."""
_FAILURE = Failure(HANDED_OVER, "its program closed and gave the run back")


class Leaving:
    """Knows which work of one run must not be cut short, and how the rest of it ended."""

    __slots__ = ("_inside", "is_on")

    def __init__(self) -> None:
        self.is_on = False
        """Whether the run is being given back."""
        self._inside: frozenset[UnitKey | int] = frozenset()
        """Units, and segments by number, that have effects outside and have begun."""

    def entered(self, unit: UnitKey, step: PlannedStep) -> None:
        """An attempt begins."""
        if step.effects == "external":
            self._inside |= {unit}

    def came_back(self, unit: UnitKey, step: PlannedStep) -> None:
        """It has ended."""
        if step.effects == "external":
            self._inside -= {unit}

    def segment_entered(self, segment: int, work: SegmentWork) -> None:
        """A segment begins."""
        if any(step.effects == "external" for step in work.steps):
            self._inside |= {segment}

    def segment_came_back(self, segment: int) -> None:
        """It has ended."""
        self._inside -= {segment}

    def cut_short(self, tokens: Mapping[UnitKey | int, CancelToken]) -> None:
        """Stop what leaves nobody in doubt by that."""
        for name, token in list(tokens.items()):
            if name not in self._inside:
                token.cancel(LEAVING)

    def told(self, report: Report, token: CancelToken) -> Report:
        """Give an attempt's report; one that was cut short for this is to be done over."""
        if token.reason != LEAVING or report.outcome is Outcome.SUCCEEDED:
            return report
        waited = report.failure is not None and report.failure.type == STOPPED.type
        never_ran = (waited and not report.seconds) or report.outcome is Outcome.NOT_STARTED
        outcome = Outcome.NOT_STARTED if never_ran else Outcome.UNKNOWN
        return replace(report, outcome=outcome, output=None, failure=_FAILURE)

    def told_of_segment(self, report: SegmentReport, token: CancelToken) -> SegmentReport:
        """As ``told``, for each step of a segment."""
        if token.reason != LEAVING:
            return report
        return replace(report, rows=tuple(_row(row) for row in report.rows))


def _row(row: SegmentRow) -> SegmentRow:
    if row.is_final or row.outcome == Outcome.NOT_STARTED.value:
        return row
    failure = {"type": _FAILURE.type, "message": _FAILURE.message, "traceback": None}
    return SegmentRow(row.step, Outcome.UNKNOWN.value, failure=failure)
