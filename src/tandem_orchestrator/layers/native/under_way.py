"""A segment that runs already when the engine gives it out: waiting for it, and stopping it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tandem_orchestrator.errors import Busy, CommandError, LayerUnavailable
from tandem_orchestrator.layers.layer import CancelToken, SegmentReport, SegmentWork
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.program import Program, ProgramRefused
from tandem_orchestrator.layers.native.program_outcome import lost_outcomes
from tandem_orchestrator.layers.native.programs import outcomes_of
from tandem_orchestrator.layers.native.segments import abandoned_rows, rows_of
from tandem_orchestrator.layers.native.session import Completion, Session
from tandem_orchestrator.layers.native.stop_request import StopRequest
from tandem_orchestrator.model.events import SegmentRow
from tandem_orchestrator.model.plans import PlannedStep

StopOf = Callable[[Session, int, "asyncio.Future[Completion]"], StopRequest]
"""Makes what asks a call to stop: (session, id of the call, its future)."""
Watch = Callable[[Sequence[PlannedStep], Sequence[SegmentRow]], None]
"""Told (steps, rows) of each segment that came back."""


class UnderWay:
    """One call of a program; an awaited ``run`` gives its report.

    Args:
        steps: Those of the program, in its order.
        stop_of, watch: See ``StopOf`` and ``Watch``.
    """

    def __init__(
        self,
        session: Session,
        program: Program,
        steps: Sequence[PlannedStep],
        call_id: int,
        future: asyncio.Future[Completion],
        stop_of: StopOf,
        watch: Watch,
    ) -> None:
        self._session, self._program, self._steps = session, program, steps
        self._call_id, self._future = call_id, future
        self._stop_of, self._watch = stop_of, watch

    def stop(self) -> None:
        """Ask it to stop; nobody waits for it."""
        if not self._future.done():
            self._session.cancel(self._call_id)

    async def run(self, work: SegmentWork, cancel: CancelToken) -> SegmentReport:
        """Wait for it; what never ran is reported as not started."""
        session, call_id = self._session, self._call_id
        stop = self._stop_of(session, call_id, self._future)
        session.works[call_id] = work
        cancel.on_cancel(stop.ask)
        try:
            outcomes = outcomes_of(self._program, await self._future)
        except CodecError:
            outcomes = lost_outcomes(self._program, len(self._program.order))
        except (Busy, CommandError, LayerUnavailable, ProgramRefused):
            return SegmentReport.not_started(work)
        finally:
            stop.done()
            session.works.pop(call_id, None)
        by_step = {row.step: row for row in rows_of(self._steps, outcomes, self._program)}
        rows = tuple(by_step[step.id] for step in work.steps)
        self._watch(work.steps, rows)
        return (
            SegmentReport(abandoned_rows(rows), stopped=False)
            if stop.abandoned
            else (SegmentReport(rows))
        )
