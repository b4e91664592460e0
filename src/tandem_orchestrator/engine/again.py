"""Runs that have ended and go on: retried as they are, or as another run that forks off. Pure.

What runs again is a step and all that follows from it: those that depend on it, the groups around
them, and what is inside of a group that runs again. Everything else stands as it was recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from tandem_orchestrator.engine.state import ROOT, GroupState, Phase, RunState, StepState
from tandem_orchestrator.engine.turn import Turn
from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.events import RunForked, RunRetried, StepsRan, steps_ended
from tandem_orchestrator.model.none_yet import NO_LIST
from tandem_orchestrator.model.outcomes import Failure, Outcome, RunStatus


def retried(state: RunState, step_id: str | None, by: str) -> RunRetried:
    """Say what runs again when a run that has ended is retried from a step.

    Args:
        step_id: None: from whatever did not succeed.

    Raises: CommandError if there is no such step, or nothing to retry.
    """
    seeds = seeds_of(state, step_id)
    if not seeds:
        raise CommandError("every step succeeded; name the one to retry from")
    reached = reach_of(state, seeds)
    inside = _caused(state, seeds)
    items_of = tuple(
        one for one in reached if one in seeds and one not in inside and _has_items(state, one)
    )
    return RunRetried(step=step_id, steps=tuple(reached), items_of=items_of, by=by)


def fork_reach(state: RunState, step_id: str) -> frozenset[str]:
    """Give the steps that a fork from a step does itself; it takes over the others.

    Raises: CommandError if there is no such step.
    """
    return frozenset(reach_of(state, seeds_of(state, step_id)))


def seeds_of(state: RunState, step_id: str | None) -> dict[str, None]:
    """Give the steps that are to run again for their own sake.

    Raises: CommandError if there is no such step.
    """
    if step_id is not None and step_id not in state.steps:
        hint = ", ".join(nearest(step_id, state.steps)) or ", ".join(list(state.steps)[:10])
        raise CommandError(f"there is no step {step_id!r}; it has: {hint}")
    found: dict[str, None] = {} if step_id is None else {step_id: None}
    went_well = state.status is RunStatus.COMPLETED
    for step in state.steps.values():
        if step.plan.is_group and state.groups[step.plan.id].started:
            continue  # It is opened by what is inside of it.
        if step.outcome is Outcome.SUCCEEDED:
            is_wanted = step_id is None and bool(step.failed_items)
        elif step.outcome is Outcome.SKIPPED:
            is_wanted = not went_well
        else:
            is_wanted = not step.plan.can_fail or step_id is None
        if is_wanted:
            found[step.plan.id] = None
    opened = {group.id for one in found for group in state.around(state.steps[one].plan.parent)}
    for step in state.steps.values():
        failed = step.outcome not in (Outcome.SUCCEEDED, Outcome.SKIPPED)
        if step.plan.is_group and failed and not step.plan.can_fail and step.plan.id not in opened:
            found.setdefault(step.plan.id)  # It failed with nothing in it that did: all of it.
    return found


def reach_of(state: RunState, seeds: Iterable[str]) -> list[str]:
    """Give all that runs again with these steps, in the plan's order."""
    whole: set[str] = set()
    opened: set[str] = set()
    todo = deque((seed, True) for seed in seeds)
    while todo:
        step_id, is_whole = todo.popleft()
        seen = whole if is_whole else opened
        if step_id in seen:
            continue
        seen.add(step_id)
        step = state.steps[step_id]
        todo.extend((dependent, True) for dependent in step.dependents)
        if is_whole and step.plan.is_group:
            todo.extend((child, True) for child in state.groups[step_id].children)
        if step.plan.parent != ROOT:
            todo.append((step.plan.parent, False))
    return [step_id for step_id in state.steps if step_id in whole or step_id in opened]


def _caused(state: RunState, seeds: dict[str, None]) -> set[str]:
    """Give the steps that run again because of another one, so that their input is another."""
    reached = set(reach_of(state, seeds))
    return {
        one
        for one in reached
        if any(other in reached for other in state.steps[one].plan.depends_on)
        or any(group.id in seeds for group in state.around(state.steps[one].plan.parent))
    }


def _has_items(state: RunState, step_id: str) -> bool:
    step = state.steps[step_id]
    is_whole = step.outcome is Outcome.SUCCEEDED and isinstance(step.output, list)
    return step.plan.for_each is not None and bool(step.failed_items) and is_whole


def go_back(turn: Turn, event: RunRetried) -> None:
    """Make a run that has ended one that waits to be started."""
    state, again = turn.state, set(event.steps)
    for step_id in event.steps:
        state.ran.pop(step_id, None)  # Who asks for it again means it.
        state.steps[step_id] = _anew(state.steps[step_id], again, step_id in event.items_of)
    for group in [ROOT, *(one for one in event.steps if one in state.groups)]:
        old = state.groups[group]
        is_open = sum(child in again for child in old.children)
        state.groups[group] = GroupState(old.id, old.parent, old.children, is_open)
    gone = [conflict for conflict in state.conflicts if conflict["step"] in again]
    state.conflicts = [conflict for conflict in state.conflicts if conflict not in gone]
    state.compared -= len(gone)
    state.critical_conflict = state.plan.priority == "critical" and bool(state.conflicts)
    state.conflict_rounds.clear()
    state.segments.clear()
    state.held.clear()
    state.waiting.clear()
    state.parked.clear()
    state.moving, state.cancelled, state.paused, state.handed_over = 0, False, False, False
    state.status = RunStatus.QUEUED


def _anew(old: StepState, again: set[str], some_items: bool) -> StepState:
    missing = 1 + sum(other in again for other in old.plan.depends_on)
    new = StepState(old.plan, missing, dependents=old.dependents)
    new.before = new.highest = old.highest
    new.attempts, new.seconds, new.sides = old.attempts, old.seconds, old.sides
    if some_items:
        new.only, new.item_outputs = list(old.failed_items), list(old.output)
    return new


def take_over(turn: Turn, event: RunForked | StepsRan) -> None:
    """Have the steps ended that another run did, or that ran already, before this one starts."""
    state = turn.state
    for ended in steps_ended(event):
        step = state.steps[ended.step]
        step.move(Phase.ENDED)
        step.outcome, step.output = Outcome(ended.outcome), ended.output
        step.failure = Failure(**ended.failure) if ended.failure else None
        step.layer, step.implementation = ended.layer, ended.implementation
        step.attempts, step.seconds, step.reason = ended.attempts, ended.seconds, ended.reason
        step.cached, step.stopped = ended.cached, ended.stopped
        step.failed_items = list(ended.failed_items or ()) or NO_LIST
        step.sides = {name: dict(side) for name, side in (ended.implementations or {}).items()}
        failed = step.outcome not in (Outcome.SUCCEEDED, Outcome.SKIPPED)
        if failed and not step.plan.can_fail:
            step.blocked_by = step.plan.id
        state.groups[step.plan.parent].open -= 1
        for dependent in step.dependents:
            state.steps[dependent].missing -= 1
    for segment in list(state.segments.values()):
        del state.segments[segment.id]
        left = [one for one in segment.steps if state.steps[one].phase is Phase.WAITING]
        for step_id in segment.steps:
            state.steps[step_id].segment = None
        if len(left) > 1:
            state.add_segment(segment.id, left)
