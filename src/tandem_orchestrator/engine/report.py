"""One attempt, from its payload to the report of its layer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tandem_orchestrator.engine.attempt import bounded, make_work, perform, perform_handler
from tandem_orchestrator.engine.instructions import Dispatch, UnitKey
from tandem_orchestrator.engine.request import RunRequest
from tandem_orchestrator.engine.state import RunState
from tandem_orchestrator.engine.surroundings import Surroundings
from tandem_orchestrator.engine.turn import inputs_of, part_of, resolve_payload
from tandem_orchestrator.layers.layer import Begun, CancelToken, Report
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.refs import Missing


async def report_of(
    around: Surroundings,
    request: RunRequest,
    state: RunState,
    dispatch: Dispatch,
    token: CancelToken,
) -> Report:
    """Run an attempt in its layer; whatever goes wrong is in the report."""
    unit = dispatch.unit
    if token.requested:
        failure = Failure("Cancelled", "asked to stop before it started")
        return Report(Outcome.CANCELLED, failure=failure)
    if request.plan.handler is not None:
        assert request.command_set is not None
        function = request.callables[request.plan.handler]
        report = await perform_handler(around.caller, function, request.command_set, token)
        return bounded(report, around.output_bytes_max)
    step = state.steps[unit.step]
    try:
        if unit.part is None:
            payload = resolve_payload(state, step, unit.item)
        else:
            payload = part_of(step, unit)
    except Missing as missing:
        text = f"the payload refers to {missing.args[0]}, which is not there"
        return Report(Outcome.FAILED, failure=Failure("BadReference", text))
    layer = around.layers.get(dispatch.layer)
    if layer is None:
        text = f"there is no {dispatch.layer} layer"
        return Report(Outcome.NOT_STARTED, failure=Failure("LayerUnavailable", text))
    inputs = inputs_of(state, step)
    begun = None
    if isinstance(request.begun, Begun):
        begun = request.begun.take(unit.step, dispatch.attempt, token)
    work = make_work(
        request.run_id,
        step,
        dispatch,
        payload,
        inputs,
        plan=request.plan,
        lane=Priority(request.priority).lane,
        clock=around.clock,
        on_progress=_progress_of(around, request.run_id, unit),
        begun=begun,
    )
    name = step.plan.validation
    validation = request.callables[name] if name is not None else None
    began_ns = around.clock.monotonic_ns()
    report = await perform(layer, work, step, around.caller, validation, token)
    if around.witness is not None:
        waited_s = (around.clock.monotonic_ns() - began_ns) / 1e9
        around.witness.attempted(step.plan, work, report, waited_s, request.callables)
    return bounded(report, around.output_bytes_max)


def _progress_of(around: Surroundings, run_id: str, unit: UnitKey) -> Callable[[int, int], None]:
    """Give what a handler may call from any thread."""
    loop, tell = asyncio.get_running_loop(), around.on_progress

    def progress(done: int, total: int) -> None:
        loop.call_soon_threadsafe(tell, run_id, unit.step, unit.item, done, total)

    return progress
