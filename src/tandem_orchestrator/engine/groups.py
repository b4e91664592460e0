"""The life of a group, and of the run, which is the outermost one. Pure."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.engine import segments, steps
from tandem_orchestrator.engine.instructions import Drop, Wait
from tandem_orchestrator.engine.state import ROOT, GroupState, Phase, RunState
from tandem_orchestrator.engine.turn import Turn
from tandem_orchestrator.engine.verdict import DISAGREE
from tandem_orchestrator.model.events import GroupTimedOut, RunEnded
from tandem_orchestrator.model.outcomes import Failure, Outcome, RunStatus

HUNG_NAMED_MAX = 5
"""Sides that hang and that the error of a run names."""


def start(turn: Turn, group: GroupState) -> None:
    """Open a group: its time limit begins, and its first steps may start."""
    state = turn.state
    group.started = True
    limit_s = state.plan.timeout_s if group.id == ROOT else state.steps[group.id].plan.timeout_s
    if limit_s is not None:
        turn.out.append(Wait(f"group:{group.id}", limit_s, GroupTimedOut(group=group.id)))
    for child in group.children:
        _one_less(turn, child, None)
    if group.id == ROOT and group.open == 0:  # All of it ran before it was written down.
        _end(turn, group)


def step_ended(turn: Turn, step_id: str) -> None:
    """Tell a step's dependents and its group that it has ended."""
    state = turn.state
    step = state.steps[step_id]
    group = state.groups[step.plan.parent]
    group.open -= 1
    if step.blocked_by == step_id and not group.failed_step:
        group.failed_step = step_id
        if _on_failure(state, group) == "stop":
            ended = str(step.outcome).replace("_", " ")
            halt(turn, group, f"not started: step {step_id!r} {ended}")
    for dependent in step.dependents:
        _one_less(turn, dependent, step_id)
    if group.open == 0:
        _end(turn, group)


def halt(
    turn: Turn,
    group: GroupState,
    reason: str,
    *,
    stop_running: str | None = None,
    stop_text: str = "",
) -> None:
    """Start nothing more in a group, or below it.

    Args:
        reason: Why, for the steps that never start.
        stop_running: ``cancelled`` or ``timed_out`` to stop what runs; None lets it finish.
        stop_text: Why, for those that are stopped.
    """
    todo = [group]
    while todo:
        current = todo.pop()
        current.halted = current.halted or reason
        current.stopped = current.stopped or bool(stop_running)
        for child in current.children:
            step = turn.state.steps[child]
            if step.phase is Phase.WAITING:
                step.blocked_by = step.blocked_by or current.failed_step
                steps.skip(turn, step, reason)
                if step.plan.is_group:
                    _skip_below(turn, child, reason)
            elif step.phase is Phase.RUNNING and step.plan.is_group:
                todo.append(turn.state.groups[child])
            elif step.phase is Phase.RUNNING and step.segment is not None:
                if stop_running:
                    segments.stop(turn, step.segment, stop_running, stop_text)
            elif step.phase is Phase.RUNNING and stop_running:
                steps.stop(turn, step, stop_running, stop_text)
            elif step.phase is Phase.RUNNING:
                steps.stop_retrying(turn, step)


def cancel_run(turn: Turn, by: str) -> None:
    """Cancel everything."""
    state = turn.state
    if state.status.is_final or state.cancelled:
        return
    state.cancelled = True
    who = f" by {by}" if by else ""
    text = f"the run was cancelled{who}"
    halt(
        turn,
        state.groups[ROOT],
        f"not started: {text}",
        stop_running="cancelled",
        stop_text=text,
    )


def cancel_step(turn: Turn, step_id: str, by: str) -> None:
    """Cancel one step, or everything in a group."""
    step = turn.state.steps.get(step_id)
    if step is None or step.phase is Phase.ENDED:
        return
    step.cancel_asked = True
    text = f"cancelled{f' by {by}' if by else ''}"
    if step.phase is Phase.WAITING:
        step.reason = f"{text} before it started"
        steps.end(turn, step, Outcome.CANCELLED, failure=Failure("Cancelled", step.reason))
        if step.plan.is_group:
            _skip_below(turn, step_id, step.reason)
    elif step.plan.is_group:
        group = turn.state.groups[step_id]
        halt(turn, group, f"not started: {text}", stop_running="cancelled", stop_text=text)
    elif step.segment is not None:
        segments.stop(turn, step.segment, "cancelled", text)
    else:
        steps.stop(turn, step, "cancelled", text)


def time_limit_passed(turn: Turn, event: GroupTimedOut) -> None:
    """Stop a group, or the run, that outlived its limit."""
    group = turn.state.groups[event.group]
    if group.open and group.started:
        group.timed_out = True
        group.hung = _hung_sides(turn.state)
        text = f"{_whose(turn.state, group)} time limit passed"
        halt(turn, group, f"not started: {text}", stop_running="timed_out", stop_text=text)


def _hung_sides(state: RunState) -> str:
    """Name the sides that still run while their twins have ended; empty if there are none."""
    found = []
    for step in state.steps.values():
        if step.is_moving and len(step.units) > 1:
            ended = {unit.item: unit for unit in step.units.values() if unit.phase is Phase.ENDED}
            for unit in step.units.values():
                if unit.item in ended and unit.phase is not Phase.ENDED:
                    where = "" if unit.item is None else f" item {unit.item}"
                    other = ended[unit.item].implementation
                    text = f"step {step.plan.id!r}{where}: {unit.implementation} had not ended"
                    found.append(f"{text}, {other} had")
        if len(found) >= HUNG_NAMED_MAX:
            break
    return "; ".join(found[:HUNG_NAMED_MAX])


def _whose(state: RunState, group: GroupState) -> str:
    return "the run's" if group.id == ROOT else f"command set {group.id!r}'s"


def _skip_below(turn: Turn, group_id: str, reason: str) -> None:
    """Skip everything in a group that never started; its own step has ended already."""
    todo = [group_id]
    while todo:
        for child in turn.state.groups[todo.pop()].children:
            step = turn.state.steps[child]
            if step.phase is Phase.WAITING:
                steps.skip(turn, step, reason)
                if step.plan.is_group:
                    todo.append(child)


def _one_less(turn: Turn, step_id: str, ended: str | None) -> None:
    """A step waits for one thing less: the step that ended, or None for the start of its group."""
    step = turn.state.steps[step_id]
    step.missing -= 1
    if step.segment is None:
        if step.missing == 0:
            turn.starting.append(step_id)
        return
    segment = turn.state.segments[step.segment]
    if segment.phase is Phase.WAITING and ended not in segment.steps:
        segment.missing -= 1
        if segment.missing == 0:
            turn.ready.append(segment.id)


def _on_failure(state: RunState, group: GroupState) -> str:
    return state.plan.on_failure if group.id == ROOT else state.steps[group.id].plan.on_failure


def _end(turn: Turn, group: GroupState) -> None:
    state = turn.state
    if group.id == ROOT:
        if not state.status.is_final:
            _end_run(turn)
        return
    step = state.steps[group.id]
    if step.phase is Phase.ENDED:
        return
    turn.out.append(Drop(f"group:{group.id}"))
    prefix = f"{group.id}/"
    outputs = {child.removeprefix(prefix): state.steps[child].output for child in group.children}
    if group.timed_out:
        failure = Failure("TimeoutError", "the command set's time limit passed")
        steps.end(turn, step, Outcome.TIMED_OUT, failure=failure)
    elif step.cancel_asked or (state.cancelled and group.halted):
        steps.end(turn, step, Outcome.CANCELLED, failure=Failure("Cancelled", "asked to stop"))
    elif group.failed_step:
        cause = state.steps[group.failed_step].failure
        detail = cause.line() if cause else str(state.steps[group.failed_step].outcome)
        failure = Failure(
            cause.type if cause else "StepFailed", f"step {group.failed_step!r}: {detail}"
        )
        steps.end(turn, step, Outcome.FAILED, outputs, failure)
    else:
        steps.end(turn, step, Outcome.SUCCEEDED, outputs)


def _end_run(turn: Turn) -> None:
    state = turn.state
    root = state.groups[ROOT]
    turn.out.append(Drop(f"group:{ROOT}"))
    error: str | None = None
    detail: dict[str, Any] | None = None
    unfinished = any(
        step.outcome in (Outcome.CANCELLED, Outcome.SKIPPED, Outcome.ABANDONED)
        for step in state.steps.values()
    )
    if root.timed_out:
        state.status = RunStatus.TIMED_OUT
        error = f"the run's time limit of {state.plan.timeout_s:g} s passed"
        error += f"; {root.hung}" if root.hung else ""
        detail = {"type": "TimeoutError", "step": None, "message": error, "traceback": None}
    elif state.cancelled and unfinished:
        state.status = RunStatus.CANCELLED
        error = "cancelled"
        detail = {"type": "Cancelled", "step": None, "message": error, "traceback": None}
    elif root.failed_step:
        state.status = RunStatus.FAILED
        error, detail = _describe(state, root.failed_step)
    else:
        state.status = RunStatus.COMPLETED
    achieved = None
    if state.compared:
        share = max(0, state.agreed - state.doubted) / state.compared
        achieved = share >= state.plan.agreement_threshold and not state.critical_conflict
        # What failed because its twins differ has found no consensus, however many others did.
        failures = (step.failure for step in state.steps.values() if step.failure is not None)
        achieved = achieved and all(one.type != DISAGREE for one in failures)
    turn.record(
        RunEnded(
            status=state.status.value,
            error=error,
            error_detail=detail,
            consensus_achieved=achieved,
            conflicts=list(state.conflicts) if state.compared else None,
        )
    )


def _describe(state: RunState, step_id: str) -> tuple[str, dict[str, Any]]:
    """Give (one line, detail) for the step that failed the run, down to the innermost one."""
    step = state.steps[step_id]
    while step.plan.is_group and (inner := state.groups[step.plan.id].failed_step):
        step = state.steps[inner]
    failure = step.failure or Failure("StepFailed", str(step.outcome))
    line = f"step {step.plan.id!r} {str(step.outcome).replace('_', ' ')}: {failure.line()}"
    return line, {
        "type": failure.type,
        "step": step.plan.id,
        "message": failure.message,
        "traceback": failure.traceback,
    }
