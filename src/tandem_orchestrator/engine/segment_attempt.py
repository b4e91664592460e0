"""One attempt of a segment, from its dispatch to the event that ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tandem_orchestrator.engine.attempt import Caller, bounded, idempotency_key, look_at
from tandem_orchestrator.engine.instructions import DispatchSegment, UnitKey
from tandem_orchestrator.engine.state import RunState
from tandem_orchestrator.layers.layer import (
    CancelToken,
    Report,
    RunSegment,
    SegmentReport,
    SegmentWork,
)
from tandem_orchestrator.model.events import SegmentEnded, SegmentRow, SegmentStarted
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import PlannedStep


def started(state: RunState, dispatch: DispatchSegment) -> SegmentStarted:
    """Make the record of a segment that is about to start."""
    external = (i for i in dispatch.steps if state.steps[i].plan.effects == "external")
    return SegmentStarted(
        segment=dispatch.segment,
        attempt=dispatch.attempt,
        steps=dispatch.steps,
        external=tuple(external),
    )


def make_segment_work(
    state: RunState, run_id: str, dispatch: DispatchSegment, lane: int
) -> SegmentWork:
    """Put together what a layer needs to know of a segment."""
    steps = tuple(state.steps[step_id].plan for step_id in dispatch.steps)
    inside = set(dispatch.steps)
    outer = {need for step in steps for need in step.depends_on if need not in inside}
    outputs = {i: state.steps[i].output for i in outer if not state.steps[i].gave_nothing}
    return SegmentWork(run_id, steps, state.inputs, outputs, lane, _keys(run_id, steps))


def _keys(run_id: str, steps: tuple[PlannedStep, ...]) -> dict[str, str]:
    """Give each step with effects the key that it would have if it ran alone."""
    return {
        step.id: idempotency_key(run_id, UnitKey(step.id, None, step.assignment.implementations[0]))
        for step in steps
        if step.effects != "none" and step.assignment is not None
    }


async def perform_segment(
    run: RunSegment | None,
    work: SegmentWork,
    callables: Mapping[str, Callable[..., Any]],
    caller: Caller,
    output_bytes_max: int,
    cancel: CancelToken,
) -> SegmentReport:
    """Run a segment and look at what it gave; never raises but for the loop's own end."""
    if run is None:
        return SegmentReport.refusing(work, "there is no layer that runs segments")
    try:
        report = await run(work, cancel)
        rows = [
            await _looked_at(row, step, callables, caller, output_bytes_max, cancel)
            for row, step in zip(report.rows, work.steps, strict=True)
        ]
    except Exception as error:  # noqa: BLE001 - a layer that raises is our bug; say so and go on
        text = f"the layer raised {type(error).__name__}: {error}"
        failure = {"type": "InternalError", "message": text, "traceback": None}
        rows = [SegmentRow(step.id, "failed", failure=failure) for step in work.steps]
        return SegmentReport(tuple(rows))
    return SegmentReport(tuple(rows), report.refused, report.stopped)


def ended(dispatch: DispatchSegment, report: SegmentReport, roll: float) -> SegmentEnded:
    """Make the record of a segment that came back."""
    return SegmentEnded(
        segment=dispatch.segment,
        attempt=dispatch.attempt,
        rows=report.rows,
        refused=report.refused,
        stopped=report.stopped,
        roll=roll,
    )


async def _looked_at(
    row: SegmentRow,
    step: PlannedStep,
    callables: Mapping[str, Callable[..., Any]],
    caller: Caller,
    output_bytes_max: int,
    cancel: CancelToken,
) -> SegmentRow:
    if row.outcome != Outcome.SUCCEEDED.value:
        return row
    report = Report(Outcome.SUCCEEDED, row.output, seconds=row.seconds)
    validation = None if step.validation is None else callables[step.validation]
    looked = bounded(await look_at(report, step, caller, validation, cancel), output_bytes_max)
    if looked is report:
        return row
    failure = None if looked.failure is None else looked.failure.to_value()
    return SegmentRow(row.step, looked.outcome.value, None, row.seconds, failure)
