"""The life of a segment: steps that C runs in one crossing, and what is left when it comes back.

Pure. A segment starts when none of its steps waits for anything outside of it. What came back
decides itself where a step succeeded or was skipped; any other end goes the way of a step that ran
alone, with its retries and losses. Steps that never started wait again: those that nothing holds
up form the segment anew, the others one of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

from tandem_orchestrator.engine import steps, units
from tandem_orchestrator.engine.instructions import DispatchSegment, StopSegment
from tandem_orchestrator.engine.state import Phase, SegmentState, StepState, UnitState
from tandem_orchestrator.engine.turn import Turn
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.events import AttemptEnded, SegmentEnded, SegmentRow
from tandem_orchestrator.model.none_yet import NO_LIST
from tandem_orchestrator.model.outcomes import Failure, Outcome

LOSSES_MAX = 2
"""Times a segment is given out again after it came back with nothing done; then each of its steps
goes on by itself, so that the one which cannot be run is found."""


def start(turn: Turn, id: int) -> None:
    """Give out a segment that waits for nothing, or group anew what is left of one."""
    segment = turn.state.segments.get(id)
    if segment is None or segment.phase is Phase.RUNNING:
        return
    for step_id in list(segment.steps):
        if turn.state.steps[step_id].phase is not Phase.WAITING:
            _leave(turn, segment, step_id)
    if segment.phase is Phase.ENDED:
        _regroup(turn, segment)
    elif not segment.steps or segment.losses > LOSSES_MAX:
        _dissolve(turn, segment)
    else:
        segment.phase = Phase.RUNNING
        segment.attempts += 1
        segment.stopping = segment.stop_text = ""
        for step_id in segment.steps:
            turn.state.move(turn.state.steps[step_id], Phase.RUNNING)
        dispatch = DispatchSegment(id, segment.attempts, tuple(segment.steps))
        turn.give_out(f"segment {id}", dispatch)


def stop(turn: Turn, id: int, reason: str, text: str) -> None:
    """Ask a running segment to stop; arguments as for ``units.stop``. Once is enough."""
    segment = turn.state.segments[id]
    if segment.phase is Phase.RUNNING and not segment.stopping:
        segment.stopping, segment.stop_text = reason, text
        turn.bring_out(f"segment {id}")
        turn.out.append(StopSegment(id, segment.attempts, reason))


def ended(turn: Turn, event: SegmentEnded) -> None:
    """Take in what came back; a stale end changes nothing."""
    segment = turn.state.segments.get(event.segment)
    if segment is None or segment.phase is not Phase.RUNNING or segment.attempts != event.attempt:
        return
    segment.phase = Phase.ENDED
    waiting: list[StepState] = []
    again: list[StepState] = []
    for row in event.rows:
        step = turn.state.steps[row.step]
        if row.is_final:
            _leave(turn, segment, row.step)
            _final(step, event, row)
            steps.end(turn, step, Outcome(row.outcome), row.output, recorded=True)
        elif _goes_on(turn, segment, step, row):
            waiting.append(step)
            turn.state.move(step, Phase.WAITING)
        elif _is_done_over(segment, step, row):
            # By itself, so that what kills is found; its turn comes when those before it are back.
            _leave(turn, segment, row.step)
            step.attempts += row.attempts
            turn.state.move(step, Phase.WAITING)
            again.append(step)
        else:
            _leave(turn, segment, row.step)
            _as_a_unit(turn, segment, step, event, row)
    if halted := _halted(turn, waiting + again):
        for step in waiting + again:
            steps.skip(turn, step, halted)
    turn.starting.extend(step.plan.id for step in again if step.missing == 0)
    segment.losses = segment.losses + 1 if len(waiting) == len(event.rows) else 0
    if event.refused:
        _dissolve(turn, segment)
    else:
        turn.ready.append(segment.id)  # once the ends above have been told


def _leave(turn: Turn, segment: SegmentState, step_id: str) -> None:
    del segment.steps[step_id]
    turn.state.steps[step_id].segment = None


def _final(step: StepState, event: SegmentEnded, row: SegmentRow) -> None:
    step.reason = row.reason
    step.failed_items = list(row.failed_items) or NO_LIST
    if row.outcome == "succeeded":
        assignment = step.plan.assignment
        step.layer, step.implementation = event.layer, event.implementation
        step.reason = assignment.reason if assignment is not None else ""
        step.attempts += row.attempts
        step.seconds += row.seconds


def _goes_on(turn: Turn, segment: SegmentState, step: StepState, row: SegmentRow) -> bool:
    """Say whether a step waits again: it never started, or was stopped for another one's sake."""
    if step.cancel_asked:
        return False
    if row.outcome == "not_started":
        return True
    meant_another = row.outcome == "cancelled" and segment.stopping and not _is_halted(turn, step)
    return bool(meant_another) and may_repeat(step.plan.effects)


def _is_done_over(segment: SegmentState, step: StepState, row: SegmentRow) -> bool:
    """Say whether a step that may have run, with nobody left to tell, runs once more."""
    lost = row.outcome == "unknown" and not segment.stopping and not step.cancel_asked
    return lost and may_repeat(step.plan.effects)


def _is_halted(turn: Turn, step: StepState) -> bool:
    return any(group.stopped for group in turn.state.around(step.plan.parent))


def _halted(turn: Turn, waiting: list[StepState]) -> str:
    """Say why none of these steps, all of one group, may start any more; empty if they may."""
    groups = turn.state.around(waiting[0].plan.parent) if waiting else ()
    return next((group.halted for group in groups if group.halted), "")


def _as_a_unit(
    turn: Turn, segment: SegmentState, step: StepState, event: SegmentEnded, row: SegmentRow
) -> None:
    """Let an end that leaves something to decide go the way of an attempt of the step alone."""
    assignment = step.plan.assignment
    assert assignment is not None, step.plan.id
    if step.plan.for_each is not None:
        _end_items(turn, segment, step, row)
        return
    name = assignment.implementations[0]
    unit = UnitState(name, event.layer, None, assignment.reason, Phase.RUNNING)
    unit.attempts = step.highest = step.before + 1
    if segment.stopping and (step.cancel_asked or _is_halted(turn, step)):
        unit.phase = Phase.STOPPING
        unit.stopping, unit.stop_text = segment.stopping, segment.stop_text
    step.put_unit(units.key_of(step, unit).label, unit)
    outcome = row.outcome
    if outcome == "not_started" and unit.stopping:
        outcome = "cancelled"
    attempt = AttemptEnded(
        step=step.plan.id,
        implementation=name,
        layer=event.layer,
        attempt=unit.attempts,
        outcome=outcome,
        output=row.output,
        failure=row.failure,
        seconds=row.seconds,
        stopped=event.stopped,
        roll=event.roll,
    )
    if units.attempt_ended(turn, attempt) is not None:
        steps.unit_ended(turn, step, None)


def _end_items(turn: Turn, segment: SegmentState, step: StepState, row: SegmentRow) -> None:
    """End a ``for_each`` that did not succeed; which of its items did is known to nobody else."""
    step.layer = step.implementation = "c"
    step.attempts += row.attempts
    step.seconds += row.seconds
    step.failed_items = list(row.failed_items) or NO_LIST
    assignment = step.plan.assignment
    step.reason = assignment.reason if assignment is not None else ""
    outcome = Outcome(row.outcome)
    failure = Failure(**row.failure) if row.failure else None
    if outcome is Outcome.NOT_STARTED or (segment.stopping and outcome is Outcome.CANCELLED):
        timed_out = segment.stopping == "timed_out"
        outcome = Outcome.TIMED_OUT if timed_out else Outcome.CANCELLED
        failure = Failure("TimeoutError" if timed_out else "Cancelled", segment.stop_text)
    steps.end(turn, step, outcome, failure=failure)


def _dissolve(turn: Turn, segment: SegmentState) -> None:
    """Let each step go on by itself."""
    del turn.state.segments[segment.id]
    _alone(turn, segment.steps)


def _alone(turn: Turn, step_ids: Iterable[str]) -> None:
    for step_id in step_ids:
        step = turn.state.steps[step_id]
        step.segment = None
        if step.phase is Phase.WAITING and step.missing == 0:
            turn.starting.append(step_id)


def _regroup(turn: Turn, segment: SegmentState) -> None:
    """Form segments of the steps that are left: those that nothing holds up, and the others."""
    state = turn.state
    del state.segments[segment.id]
    free: dict[str, None] = {}
    held: dict[str, None] = {}
    for step_id in segment.steps:
        needs = state.steps[step_id].plan.depends_on
        ready = all(need in free or state.steps[need].phase is Phase.ENDED for need in needs)
        (free if ready else held)[step_id] = None
    if len(free) > 1:
        made = state.add_segment(segment.id, free)
        made.attempts, made.losses = segment.attempts, segment.losses
        turn.ready.append(made.id)
    else:
        _alone(turn, free)
    if len(held) > 1:
        state.add_segment(state.segments_made, held)
        state.segments_made += 1
    else:
        _alone(turn, held)
