"""The life of a unit: attempts, time limits, retries, losses.

Pure: everything happens to the ``RunState`` of the turn and nowhere else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from tandem_orchestrator.engine.instructions import Dispatch, Drop, Stop, UnitKey, Wait
from tandem_orchestrator.engine.state import Phase, RunState, StepState, UnitState
from tandem_orchestrator.engine.turn import Turn
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.events import (
    AttemptEnded,
    FallbackPlanned,
    RetryDue,
    StepTimedOut,
)
from tandem_orchestrator.model.outcomes import Failure, Outcome

LOSSES_MAX = 5
"""Times a unit is given out again after its process died under it: beyond that its input is
taken to be what kills (a poison pill), and the step fails."""
OWNER_DIED = "OrchestratorDied"
"""Type of the failure of an attempt whose orchestrator ended before it did."""
OWNER_LOSSES_MAX = 20
"""The same limit where the orchestrator died: programs are ended for many reasons."""


HANDED_OVER = "HandedOver"
"""Type of the failure of an attempt that was cut short because its program gave the run back."""


def may_have_run(unit: UnitState) -> bool:
    """Whether only a person can say what it did: it has effects, and its orchestrator died."""
    died = unit.failure is not None and unit.failure.type == OWNER_DIED
    return unit.outcome is Outcome.UNKNOWN and died


def key_of(step: StepState, unit: UnitState) -> UnitKey:
    """Give the unit's name."""
    return UnitKey(step.plan.id, unit.item, unit.implementation, unit.part)


def start_all(turn: Turn, step: StepState, made: Sequence[UnitState], rounds: int = 0) -> None:
    """Give out the first attempt of units that belong together, twins in an order that is drawn.

    Args:
        made: The implementations at work on one step, one item or one part of it.
        rounds: How often they were run again; each time the order is drawn anew.
    """
    for unit in made:
        unit.attempts = max(unit.attempts, step.before)
        step.put_unit(key_of(step, unit).label, unit)
    roll = turn.state.roll
    if len(made) > 1 and roll:
        made = sorted(made, key=lambda unit: _lot(f"{roll!r}/{rounds}/{key_of(step, unit)}"))
    for unit in made:
        start_or_wait(turn, step, unit)


def _lot(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def start(turn: Turn, step: StepState, unit: UnitState) -> None:
    """Give out a unit's next attempt, with its time limit."""
    unit.move(Phase.RUNNING)
    unit.is_due = False
    unit.attempts += 1
    step.highest = max(step.highest, unit.attempts)
    unit.stopping = ""
    key = key_of(step, unit)
    if step.plan.timeout_s is not None:
        event = StepTimedOut(
            step=key.step,
            item=key.item,
            part=key.part,
            implementation=key.implementation,
            attempt=unit.attempts,
        )
        limit = Wait(f"limit:{key}", step.plan.timeout_s, event)
        turn.give_out(str(key), limit, Dispatch(key, unit.layer, unit.attempts, unit.reason))
    else:
        turn.give_out(str(key), Dispatch(key, unit.layer, unit.attempts, unit.reason))


def stop(turn: Turn, step: StepState, unit: UnitState, reason: str, text: str) -> None:
    """Ask a unit to stop, whatever it is doing.

    Args:
        reason: ``cancelled`` or ``timed_out``.
        text: For people: whose time limit it was, or who asked.
    """
    key = key_of(step, unit)
    if unit.phase is Phase.RUNNING:
        unit.move(Phase.STOPPING)
        unit.stopping, unit.stop_text = reason, text
        turn.bring_out(str(key))
        turn.out.append(Stop(key, unit.attempts, reason))
    elif unit.phase is Phase.RETRYING:
        turn.out.append(Drop(f"retry:{key}"))
        unit.move(Phase.ENDED)
        if reason == "cancelled":
            unit.outcome, unit.failure = Outcome.CANCELLED, Failure("Cancelled", text)


def give_up_retrying(turn: Turn, step: StepState, unit: UnitState) -> None:
    """End a unit that waits for its next attempt with the failure it had."""
    turn.out.append(Drop(f"retry:{key_of(step, unit)}"))
    unit.move(Phase.ENDED)


def time_limit_passed(turn: Turn, event: StepTimedOut) -> None:
    """Ask the attempt that outlived its limit to stop."""
    step, unit = _find(turn.state, event)
    if unit is not None and unit.phase is Phase.RUNNING and unit.attempts == event.attempt:
        limit_s = step.plan.timeout_s or 0.0
        stop(turn, step, unit, "timed_out", f"the step's time limit of {limit_s:g} s passed")


def retry_due(turn: Turn, event: RetryDue) -> None:
    """Give out the next attempt after the wait."""
    step, unit = _find(turn.state, event)
    if unit is not None and unit.phase is Phase.RETRYING:
        start_or_wait(turn, step, unit)


def start_or_wait(turn: Turn, step: StepState, unit: UnitState) -> None:
    """Give out the next attempt, or let it wait for the steps before it.

    Of a segment that was lost with its bridge or its orchestrator, several steps in a row may have
    run: those before are done over, or tried again, first.
    """
    if step.missing:
        if unit.phase is not Phase.RETRYING:
            unit.move(Phase.RETRYING)
        unit.is_due = True
    else:
        start(turn, step, unit)


def start_due(turn: Turn, step: StepState) -> None:
    """Give out what waited for the steps before this one only."""
    for unit in step.units.values():
        if unit.phase is Phase.RETRYING and unit.is_due:
            start(turn, step, unit)


def attempt_ended(turn: Turn, event: AttemptEnded) -> StepState | None:
    """Take in an attempt's end.

    Returns: the step, if the unit has ended with it; None if it goes on or the event is stale.
    """
    step, unit = _find(turn.state, event)
    if unit is None or unit.phase not in (Phase.RUNNING, Phase.STOPPING):
        return None
    if unit.attempts != event.attempt:
        return None
    if step.plan.timeout_s is not None:
        turn.out.append(Drop(f"limit:{key_of(step, unit)}"))
    unit.outcome, unit.failure = _judge_end(unit, event)
    unit.output = event.output if unit.outcome is Outcome.SUCCEEDED else None
    unit.cleaned = event.cleaned if unit.outcome is Outcome.SUCCEEDED else None
    unit.seconds += event.seconds
    unit.stopped = event.stopped
    unit.cached = event.cached
    if unit.outcome is Outcome.SUCCEEDED:
        unit.move(Phase.ENDED)
        return step
    if unit.outcome in (Outcome.NOT_STARTED, Outcome.UNKNOWN) and _lost(turn, step, unit):
        return None
    if _may_retry(turn.state, step, unit):
        unit.retries += 1
        unit.move(Phase.RETRYING)
        key = key_of(step, unit)
        delay_s = step.plan.retry.delay_s(unit.retries, event.roll)
        due = RetryDue(
            step=key.step, item=key.item, part=key.part, implementation=key.implementation
        )
        turn.out.append(Wait(f"retry:{key}", delay_s, due))
        return None
    unit.move(Phase.ENDED)
    return step


def _judge_end(unit: UnitState, event: AttemptEnded) -> tuple[Outcome, Failure | None]:
    """Say what an attempt ended with, given what it had been asked to do."""
    outcome = Outcome(event.outcome)
    failure = Failure(**event.failure) if event.failure else None
    if outcome is Outcome.SUCCEEDED or not unit.stopping:
        # It finished before the request reached it: what it did counts.
        return outcome, failure
    if outcome in (Outcome.UNKNOWN, Outcome.NOT_STARTED):
        return outcome, failure
    if outcome is Outcome.ABANDONED:
        text = f"{unit.stop_text}; it did not stop within the grace"
        return outcome, Failure("Abandoned", text)
    if unit.stopping == "timed_out":
        return Outcome.TIMED_OUT, Failure("TimeoutError", unit.stop_text)
    return Outcome.CANCELLED, Failure("Cancelled", unit.stop_text)


def _lost(turn: Turn, step: StepState, unit: UnitState) -> bool:
    """Give lost work out again where that is allowed; True if it was."""
    never_ran = unit.outcome is Outcome.NOT_STARTED
    if not never_ran and not may_repeat(step.plan.effects):
        return False  # Also when it was asked to stop: what it did before that nobody knows.
    if unit.stopping or turn.state.cancelled or step.cancel_asked:
        timed_out = unit.stopping == "timed_out"
        unit.outcome = Outcome.TIMED_OUT if timed_out else Outcome.CANCELLED
        kind = "TimeoutError" if timed_out else "Cancelled"
        unit.failure = Failure(kind, "its process died after it was asked to stop")
        return False
    if unit.failure is not None and unit.failure.type == HANDED_OVER:
        start(turn, step, unit)  # Nothing went wrong: it does not count.
        return True
    unit.losses += 1
    owner_died = unit.failure is not None and unit.failure.type == OWNER_DIED
    if unit.losses > (OWNER_LOSSES_MAX if owner_died else LOSSES_MAX):
        unit.outcome, unit.failure = Outcome.FAILED, _given_up(unit, never_ran=never_ran)
        return False
    away = unit.failure is not None and unit.failure.type == "LayerUnavailable"
    if away and not _fall_back(turn, step, unit):
        unit.outcome = Outcome.FAILED
        return False
    start(turn, step, unit)
    return True


def _given_up(unit: UnitState, *, never_ran: bool) -> Failure:
    """Say why a unit is not given out once more; only what ran can be what kills."""
    cause = unit.failure.line() if unit.failure else "its process died"
    if never_ran:
        kind = unit.failure.type if unit.failure else "NotStarted"
        return Failure(kind, f"given out {unit.losses} times without a start; last: {cause}")
    text = f"its process was lost {unit.losses} times while running it; last: {cause}"
    return Failure("Quarantined", text)


def _fall_back(turn: Turn, step: StepState, unit: UnitState) -> bool:
    """Move a unit to its planned fallback; False if there is none."""
    assignment = step.plan.assignment
    assert assignment is not None
    if assignment.fallback is None or assignment.fallback == unit.implementation:
        return False
    reason = unit.failure.message if unit.failure else "the layer is away"
    turn.record(
        FallbackPlanned(
            step=step.plan.id,
            left=unit.implementation,
            right=assignment.fallback,
            reason=reason,
        )
    )
    del step.units[key_of(step, unit).label]
    unit.implementation, unit.layer = assignment.fallback, "python"
    unit.reason = f"fallback to {assignment.fallback}: {reason}"
    step.put_unit(key_of(step, unit).label, unit)
    return True


def _may_retry(state: RunState, step: StepState, unit: UnitState) -> bool:
    if unit.stopping == "cancelled" or step.cancel_asked or state.cancelled:
        return False
    if unit.outcome is None or any(group.halted for group in state.around(step.plan.parent)):
        return False
    failure_type = unit.failure.type if unit.failure else None
    policy = step.plan.retry
    return unit.retries < policy.max_retries and policy.wants(unit.outcome.value, failure_type)


def _find(
    state: RunState, event: AttemptEnded | RetryDue | StepTimedOut
) -> tuple[StepState, UnitState | None]:
    step = state.steps[event.step]
    key = UnitKey(event.step, event.item, event.implementation, event.part)
    return step, step.units.get(key.label)
