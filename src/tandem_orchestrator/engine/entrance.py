"""What an attempt waits for before it takes a place, and what it does once it has one.

It waits for budgets, limits, and objects that were lost.
"""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.engine.attempt import STOPPED, never_entered
from tandem_orchestrator.engine.gates import Passage
from tandem_orchestrator.engine.instructions import Dispatch
from tandem_orchestrator.engine.leaving import Leaving
from tandem_orchestrator.engine.regenerate import Regenerator
from tandem_orchestrator.engine.report import report_of
from tandem_orchestrator.engine.request import RunRequest
from tandem_orchestrator.engine.segment_attempt import perform_segment
from tandem_orchestrator.engine.state import RunState, StepState
from tandem_orchestrator.engine.surroundings import Surroundings
from tandem_orchestrator.engine.turn import resolve_payload
from tandem_orchestrator.layers.layer import (
    CancelToken,
    Report,
    RunSegment,
    SegmentBegun,
    SegmentLayer,
    SegmentReport,
    SegmentWork,
)
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.refs import Missing


class Entrance:
    """The way in for the attempts of one run."""

    def __init__(self, around: Surroundings, request: RunRequest, state: RunState) -> None:
        self._around, self._state, self._priority = around, state, request.priority
        self._lane = Priority(request.priority).lane
        self._request = request
        self.leaving = Leaving()
        """What becomes of those who are inside when the run is given back."""
        self._regenerator = Regenerator(
            request.run_id, request.plan, state, around.layers, around.clock
        )

    async def perform(self, dispatch: Dispatch, token: CancelToken) -> Report:
        """Run an attempt once it may: wait for its turn and for a place, and give both back."""
        around, step = self._around, self._state.steps[dispatch.unit.step].plan
        passage = await self._passage(dispatch, token)
        try:
            if passage.failure is not None:
                report = never_entered(passage.failure)
            elif await around.attempts.enter(self._priority, token):
                self.leaving.entered(dispatch.unit, step)
                try:
                    report = await report_of(around, self._request, self._state, dispatch, token)
                finally:
                    around.attempts.leave()
                    self.leaving.came_back(dispatch.unit, step)
            else:
                report = never_entered(STOPPED)
        finally:
            passage.leave()
        return self.leaving.told(report, token)

    async def perform_segment(
        self, segment: int, work: SegmentWork, token: CancelToken
    ) -> SegmentReport:
        """Run a segment once it has a place."""
        around = self._around
        if not await around.attempts.enter(self._priority, token):
            return SegmentReport.not_started(work)
        self.leaving.segment_entered(segment, work)
        began_ns = around.clock.monotonic_ns()
        try:
            report = await perform_segment(
                self._run_segment(),
                work,
                self._request.callables,
                around.caller,
                around.output_bytes_max,
                token,
            )
            if around.witness is not None:
                waited_s = (around.clock.monotonic_ns() - began_ns) / 1e9
                around.witness.segment_returned(work, report, waited_s)
        finally:
            around.attempts.leave()
            self.leaving.segment_came_back(segment)
        return self.leaving.told_of_segment(report, token)

    def _run_segment(self) -> RunSegment | None:
        begun, layer = self._request.begun, self._around.layers.get("c")
        if isinstance(begun, SegmentBegun) and (under_way := begun.take()) is not None:
            return under_way
        return layer.run_segment if isinstance(layer, SegmentLayer) else None

    async def _passage(self, dispatch: Dispatch, cancel: CancelToken) -> Passage:
        """Wait for the agent's retry budget, then for its limits and its action's.

        Then have the objects that the step depends on, where this process never had them.
        """
        step, item = self._state.steps[dispatch.unit.step], dispatch.unit.item
        if dispatch.attempt > 1 and _failed_before(step, dispatch):
            await self._around.retries.wait(step.plan.agent, cancel)

        # Any: a payload is any plain value.
        def payload() -> Any:
            try:
                return resolve_payload(self._state, step, item)
            except Missing:
                return None  # its attempt will say which reference leads nowhere

        passage = await self._around.gates.enter(
            step.plan.agent, step.plan.action, payload, self._priority, cancel
        )
        if passage.failure is None:
            failure = await self._regenerator.restore(step, self._lane, cancel)
            if failure is not None:
                passage.leave()
                return Passage(None, failure)
        return passage


def _failed_before(step: StepState, dispatch: Dispatch) -> bool:
    """Say whether it is given out again because it failed or was lost.

    What succeeded and is compared once more keeps no agent down which just failed; and who asks for a
    run or its items again means it.
    """
    unit = step.units.get(dispatch.unit.label)
    return unit is None or unit.retries > 0 or unit.losses > 0
