"""``advance``: what one event means for one run.

It owns ``RunState``, changes it in place and gives back what is to be done, in order. It costs
O(changed steps) and depends on nothing but its arguments: the same events give the same state and
the same instructions in every process, so that any run can be replayed, recovered and simulated.
"""

from __future__ import annotations

from collections.abc import Iterable

from tandem_orchestrator.engine import (
    again,
    groups,
    holding,
    pausing,
    restarting,
    segments,
    steps,
    units,
    waiting,
)
from tandem_orchestrator.engine.instructions import Instruction
from tandem_orchestrator.engine.state import ROOT, RunState
from tandem_orchestrator.engine.turn import Turn
from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptEnded,
    CancelRequested,
    ConflictSettled,
    GroupTimedOut,
    RetryDue,
    RunContinued,
    RunForked,
    RunPaused,
    RunRestarted,
    RunRetried,
    RunStarted,
    SegmentEnded,
    SignalReceived,
    StepApproved,
    StepsRan,
    StepTimedOut,
)
from tandem_orchestrator.model.outcomes import RunStatus


def advance(state: RunState, event: AnyEvent) -> list[Instruction]:
    """Take in one event and say what follows from it.

    Events that no longer matter (a late completion, a timer of an ended attempt) change nothing.
    """
    turn = Turn(state)
    if state.status.is_final:
        if isinstance(event, RunRetried):
            again.go_back(turn, event)
        return turn.out
    match event:
        case RunForked() | StepsRan():
            if not state.groups[ROOT].started:
                again.take_over(turn, event)
        case RunRestarted():
            restarting.restart(state, event)
        case RunStarted():
            if not state.groups[ROOT].started:
                state.status = RunStatus.RUNNING
                state.roll = event.roll
                groups.start(turn, state.groups[ROOT])
        case AttemptEnded():
            step = units.attempt_ended(turn, event)
            if step is not None:
                steps.unit_ended(turn, step, event.item, event.part)
        case SegmentEnded():
            segments.ended(turn, event)
        case RetryDue():
            units.retry_due(turn, event)
        case StepTimedOut() if event.step in state.waiting:
            steps.answered(turn, event)
        case StepTimedOut():
            units.time_limit_passed(turn, event)
        case GroupTimedOut():
            groups.time_limit_passed(turn, event)
        case ConflictSettled():
            steps.settled(turn, event)
        case SignalReceived(step=None):
            waiting.keep(state, event)
        case StepApproved() | SignalReceived():
            steps.answered(turn, event)
        case RunPaused():
            pausing.pause(turn, event)
        case RunContinued():
            pausing.go_on(turn)
        case CancelRequested(step=None):
            groups.cancel_run(turn, event.by)
        case CancelRequested():
            groups.cancel_step(turn, event.step or "", event.by)
        case _:
            # What is only told to readers (accepted, started, derived) changes nothing here.
            pass
    _settle(turn)
    holding.see(turn)
    return turn.out


def replay(state: RunState, events: Iterable[AnyEvent]) -> RunState:
    """Fold what was observed into a fresh state; conclusions are drawn again, not read."""
    for event in events:
        if not event.derived:
            advance(state, event)
    return state


def _settle(turn: Turn) -> None:
    """Follow consequences until there are none left."""
    state = turn.state
    while turn.ended or turn.starting or turn.ready:
        if turn.ended:
            groups.step_ended(turn, turn.ended.popleft())
            continue
        if turn.ready:
            segments.start(turn, turn.ready.popleft())
            continue
        step = state.steps[turn.starting.popleft()]
        if steps.start(turn, step):
            groups.start(turn, state.groups[step.plan.id])
