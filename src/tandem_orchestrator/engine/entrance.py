"""What an attempt waits for before it takes a place: budgets, limits, and objects that were lost."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.engine.gates import Passage
from tandem_orchestrator.engine.instructions import Dispatch
from tandem_orchestrator.engine.regenerate import Regenerator
from tandem_orchestrator.engine.request import RunRequest
from tandem_orchestrator.engine.state import RunState, StepState
from tandem_orchestrator.engine.surroundings import Surroundings
from tandem_orchestrator.engine.turn import resolve_payload
from tandem_orchestrator.layers.layer import CancelToken
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.refs import Missing


class Entrance:
    """The way in for the attempts of one run."""

    def __init__(self, around: Surroundings, request: RunRequest, state: RunState) -> None:
        self._around, self._state, self._priority = around, state, request.priority
        self._lane = Priority(request.priority).lane
        self._regenerator = Regenerator(
            request.run_id, request.plan, state, around.layers, around.clock
        )

    async def passage(self, dispatch: Dispatch, cancel: CancelToken) -> Passage:
        """Wait for the agent's retry budget, then for its limits and its action's.

        Then have the objects that the step depends on, where this process never had them.
        """
        step, item = self._state.steps[dispatch.unit.step], dispatch.unit.item
        if dispatch.attempt > 1 and not _is_compared_again(step, dispatch):
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


def _is_compared_again(step: StepState, dispatch: Dispatch) -> bool:
    """Say whether what was done before succeeded: that keeps no agent down which just failed."""
    unit = step.units.get(dispatch.unit.label)
    return unit is not None and unit.compared and not unit.retries and not unit.losses
