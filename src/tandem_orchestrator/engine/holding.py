"""Conflicts that wait for a person, and the run that is held when nothing else can move. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tandem_orchestrator.engine import splits
from tandem_orchestrator.engine.ending import Ending
from tandem_orchestrator.engine.request import Decision
from tandem_orchestrator.engine.state import HeldState, RunState, StepState, UnitState
from tandem_orchestrator.engine.turn import Turn
from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.model.events import ConflictSettled, RunHeld
from tandem_orchestrator.model.none_yet import NO_LIST
from tandem_orchestrator.model.outcomes import Outcome, RunStatus


def keep(turn: Turn, step: StepState, conflict: str, mine: Sequence[UnitState]) -> None:
    """Have a conflict wait, with the ends to choose from."""
    first = mine[0]
    _put(turn, step, HeldState(conflict, first.item, first.part, list(mine)))
    if first.part is not None:
        splits.part_held(turn, step, first.item)


def keep_unstarted(turn: Turn, step: StepState) -> None:
    """Have a step wait before it starts: what it does may have been done already."""
    assignment = step.plan.assignment
    assert assignment is not None, step.plan.id
    conflict = f"unknown:{step.plan.id}/{assignment.implementations[0]}"
    _put(turn, step, HeldState(conflict, None, None, []))
    turn.state.pause(step, paused=True)


def _put(turn: Turn, step: StepState, held: HeldState) -> None:
    state = turn.state
    step.held, state.held = step.held or {}, state.held or {}
    step.held[held.conflict] = held
    state.held[held.conflict] = step.plan.id


def forget(turn: Turn, step: StepState, held: HeldState) -> None:
    """Wait no longer: the step's ending follows."""
    turn.state.pause(step, paused=False)
    del step.held[held.conflict]
    del turn.state.held[held.conflict]
    if held.part is not None:
        splits.part_released(step, held.item)


def take(turn: Turn, conflict: str) -> tuple[StepState, HeldState] | None:
    """Give what waited for a decision, which it does no more; None if nothing did."""
    state = turn.state
    step_id = state.held.get(conflict)
    if step_id is None:
        return None
    step = state.steps[step_id]
    held = step.held[conflict]
    forget(turn, step, held)
    return step, held


def release(turn: Turn, event: ConflictSettled) -> tuple[StepState, HeldState, Ending] | None:
    """Give what a decision is about, and what it makes of it; None if nobody waits for it."""
    taken = take(turn, event.conflict)
    if taken is None:
        return None
    step, held = taken
    if event.pick is None:
        output = event.output if held.part is None else [event.output]
        ending = Ending(Outcome.SUCCEEDED, output)
        step.implementation = step.layer = ""
        step.reason = f"decided{f' by {event.by}' if event.by else ''}"
    else:
        unit = next(unit for unit in held.units if unit.implementation == event.pick)
        ending = Ending.of(unit)
        step.implementation, step.layer = unit.implementation, unit.layer
    state = turn.state
    state.conflicts = [event.applied_to(conflict) for conflict in state.conflicts] or NO_LIST
    return step, held, ending


def see(turn: Turn) -> None:
    """Hold the run if only persons or signals can move it; let it go on if that is so no more."""
    state = turn.state
    waits = bool(state.held or state.waiting)
    is_held = waits and not state.moving and not state.paused
    if state.status is RunStatus.HELD and not is_held:
        state.status = RunStatus.RUNNING
        turn.record(RunHeld())
    if state.status is RunStatus.RUNNING and is_held:
        state.status = RunStatus.HELD
        turn.record(RunHeld(conflicts=tuple(state.held), waits=tuple(state.waiting)))


def decide(state: RunState, decision: Decision, output_bytes_max: int) -> ConflictSettled:
    """Check what a person decided.

    Raises: CommandError naming what waits, or what can be picked.
    """
    conflict, step, pick = decision.conflict, decision.step, decision.pick
    waiting = ", ".join(f"{name} (step {at!r})" for name, at in list(state.held.items())[:20])
    if conflict is None:
        mine = [name for name, at in state.held.items() if step is None or at == step]
        if len(mine) != 1:
            of = "" if step is None else f" of step {step!r}"
            text = f"{len(mine)} conflicts{of} wait for a decision; name one: {waiting or 'none'}"
            raise CommandError(text)
        conflict = mine[0]
    at = state.held.get(conflict)
    if at is None or (step is not None and at != step):
        raise CommandError(
            f"conflict {conflict!r} does not wait for a decision; those that do: {waiting or 'none'}"
        )
    if pick is not None:
        names = [unit.implementation for unit in state.steps[at].held[conflict].units]
        if not names:
            text = "has not started, there is nothing to pick; give output=, or retry it"
            raise CommandError(f"step {at!r} {text}")
        pick = {"left": names[0], "right": names[-1]}.get(pick, pick)
        if pick not in names:
            have = ", ".join(["left", "right", *names])
            raise CommandError(f"conflict {conflict}: pick={pick!r}, expected one of {have}")
    output = decision.output if pick is None and not decision.again else None
    size = len(msgspec.msgpack.encode(output))
    if output is not None and size > output_bytes_max:
        text = (
            f"the output takes {size} bytes, at most {output_bytes_max} (limits.output_bytes_max)"
        )
        raise CommandError(f"conflict {conflict}: {text}")
    return ConflictSettled(
        conflict=conflict,
        pick=pick,
        output=output,
        again=decision.again,
        by=decision.by,
        note=decision.note,
    )
