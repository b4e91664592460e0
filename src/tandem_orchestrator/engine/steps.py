"""The life of a step: its condition, its items, its twins, its end. Pure."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.engine import units, verdict
from tandem_orchestrator.engine.state import Phase, StepState, UnitState
from tandem_orchestrator.engine.turn import Turn, empty_producer, look_up
from tandem_orchestrator.model.conditions import holds
from tandem_orchestrator.model.events import Judged, StepEnded
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.refs import Missing, as_ref, substitute

ITEMS_AT_ONCE = 64
"""Items of one ``for_each`` that are out at the same time."""


def start(turn: Turn, step: StepState) -> bool:
    """Begin a step whose dependencies have ended.

    Returns: True if it is a group, whose children the caller starts.
    """
    state = turn.state
    if step.phase is not Phase.WAITING:
        return False
    for other in step.plan.depends_on:
        if blocker := state.steps[other].blocked_by:
            step.blocked_by = blocker
            skip(turn, step, f"not started: step {blocker!r} failed")
            return False
    condition = step.plan.when
    if condition is not None and not holds(condition, lambda r: look_up(state, step, None, r)):
        skip(turn, step, "its condition is false")
        return False
    if producer := empty_producer(state, step):
        skip(turn, step, f"it refers to step {producer!r}, which gave no output")
        return False
    if step.plan.is_group:
        step.move(Phase.RUNNING)
        return True
    step.move(Phase.RUNNING)
    if step.plan.for_each is None:
        _start_units(turn, step, None)
    else:
        _start_items(turn, step)
    return False


def skip(turn: Turn, step: StepState, reason: str) -> None:
    """End a step that never starts."""
    step.reason = reason
    end(turn, step, Outcome.SKIPPED)


def end(
    turn: Turn,
    step: StepState,
    outcome: Outcome,
    output: Any = None,
    failure: Failure | None = None,
    *,
    recorded: bool = False,
) -> None:
    """Bring a step to its end and have that recorded, unless its segment's end stands for it."""
    step.move(Phase.ENDED)
    step.outcome, step.output, step.failure = outcome, output, failure
    failed = outcome not in (Outcome.SUCCEEDED, Outcome.SKIPPED)
    if failed and not step.plan.can_fail:
        step.blocked_by = step.plan.id
    step.units.clear()
    step.items = None
    step.item_outputs = []
    turn.ended.append(step.plan.id)
    if recorded:
        return
    turn.record(
        StepEnded(
            step=step.plan.id,
            outcome=outcome.value,
            output=output,
            failure=failure.to_value() if failure else None,
            layer=step.layer,
            implementation=step.implementation,
            attempts=step.attempts,
            seconds=step.seconds,
            reason=step.reason,
            cached=step.cached,
            stopped=step.stopped,
            failed_items=tuple(step.failed_items) or None,
        )
    )


def unit_ended(turn: Turn, step: StepState, item: int | None) -> None:
    """See whether all twins of a step, or of one item, have ended, and judge them."""
    mine = [unit for unit in step.units.values() if unit.item == item]
    if step.phase is not Phase.RUNNING or any(unit.phase is not Phase.ENDED for unit in mine):
        return
    winner, failure = _verdict(turn, step, item, mine)
    if winner is None and failure is None:
        return  # They run again.
    _take_figures(step, mine, winner)
    for unit in mine:
        del step.units[units.key_of(step, unit).label]
    if winner is not None:
        outcome = winner.outcome or Outcome.FAILED
        output, failure = winner.output, winner.failure
    else:
        outcome, output = Outcome.FAILED, None
    if item is None:
        end(turn, step, outcome, output, failure)
    else:
        _item_ended(turn, step, item, outcome, output, failure)


def stop(turn: Turn, step: StepState, reason: str, text: str) -> None:
    """Ask everything of a running step to stop; see ``units.stop``."""
    for unit in list(step.units.values()):
        was_retrying = unit.phase is Phase.RETRYING
        units.stop(turn, step, unit, reason, text)
        if was_retrying:
            unit_ended(turn, step, unit.item)


def stop_retrying(turn: Turn, step: StepState) -> None:
    """Let what runs finish, but try nothing again."""
    for unit in list(step.units.values()):
        if unit.phase is Phase.RETRYING:
            units.give_up_retrying(turn, step, unit)
            unit_ended(turn, step, unit.item)


def _start_units(turn: Turn, step: StepState, item: int | None) -> None:
    assignment = step.plan.assignment
    assert assignment is not None, step.plan.id
    for name, layer in zip(assignment.implementations, assignment.layers, strict=True):
        unit = UnitState(name, layer, item, assignment.reason)
        step.units[units.key_of(step, unit).label] = unit
        units.start(turn, step, unit)


def _start_items(turn: Turn, step: StepState) -> None:
    state, source = turn.state, step.plan.for_each
    step.reason = step.plan.assignment.reason if step.plan.assignment else ""
    try:
        ref = as_ref(source)
        items = (
            look_up(state, step, None, ref)
            if ref is not None
            else substitute(source, lambda r: look_up(state, step, None, r))
        )
    except Missing as missing:
        text = f"for_each: there is no {missing.args[0]}"
        end(turn, step, Outcome.FAILED, failure=Failure("BadReference", text))
        return
    if not isinstance(items, list):
        text = f"for_each: expected a list, got {type(items).__name__}"
        end(turn, step, Outcome.FAILED, failure=Failure("TypeError", text))
        return
    step.items = items
    step.items_left = len(items)
    step.item_outputs = [None] * len(items)
    if not items:
        end(turn, step, Outcome.SUCCEEDED, [])
        return
    for _ in range(min(ITEMS_AT_ONCE, len(items))):
        _start_next_item(turn, step)


def _start_next_item(turn: Turn, step: StepState) -> None:
    assert step.items is not None
    if step.next_item < len(step.items):
        item = step.next_item
        step.next_item += 1
        _start_units(turn, step, item)


def _item_ended(
    turn: Turn, step: StepState, item: int, outcome: Outcome, output: Any, failure: Failure | None
) -> None:
    step.items_left -= 1
    step.item_outputs[item] = output
    if outcome is not Outcome.SUCCEEDED:
        step.failed_items.append(item)
        if step.failure is None:
            text = f"item {item}: {failure.message if failure else outcome.value}"
            step.failure = Failure(failure.type if failure else outcome.value, text)
            step.outcome = outcome
    gives_up = bool(step.failed_items) and step.plan.on_item_failure == "fail"
    halted = step.cancel_asked or any(g.stopped for g in turn.state.around(step.plan.parent))
    if (gives_up or halted) and step.items is not None:
        # Items that never started do not start any more.
        step.items_left -= len(step.items) - step.next_item
        step.next_item = len(step.items)
    else:
        _start_next_item(turn, step)
    if step.items_left:
        return
    step.failed_items.sort()
    if gives_up or halted:
        end(turn, step, step.outcome or Outcome.CANCELLED, failure=step.failure)
    else:
        end(turn, step, Outcome.SUCCEEDED, step.item_outputs)


def _verdict(
    turn: Turn, step: StepState, item: int | None, mine: list[UnitState]
) -> tuple[UnitState | None, Failure | None]:
    """Judge twins: (winner, None), (None, failure), or (None, None) when they run again."""
    assignment, state = step.plan.assignment, turn.state
    assert assignment is not None
    if assignment.verdict == "none" or len(mine) < 2:
        return mine[0], None
    label = step.plan.id if item is None else f"{step.plan.id}[{item}]"
    rounds = state.conflict_rounds.get(label, 0)
    stopped = any(unit.stopping for unit in mine) or state.cancelled
    result = verdict.judge(
        mine,
        must_agree=assignment.verdict == "must_agree",
        resolution=state.plan.conflict_resolution,
        critical=state.plan.priority == "critical",
        repeats_left=0 if stopped else state.plan.consensus_retries - rounds,
        rules=step.plan.compare,
    )
    if result.decision == "repeat":
        state.conflict_rounds[label] = rounds + 1
        for unit in mine:
            again = UnitState(unit.implementation, unit.layer, item, unit.reason)
            again.attempts = unit.attempts
            step.units[units.key_of(step, again).label] = again
            units.start(turn, step, again)
        return None, None
    state.compared += 1
    if result.agreed:
        state.agreed += 1
        turn.record(Judged(step=step.plan.id, item=item, verdict="agreed"))
        return result.winner, None
    conflict = {
        "id": f"c{len(state.conflicts) + 1}",
        "step": step.plan.id,
        "item": item,
        "implementations": [unit.implementation for unit in mine],
        "fields": list(result.fields),
        "resolution": result.resolution,
        "winner": result.declared_winner,
    }
    state.conflicts.append(conflict)
    state.critical_conflict |= state.plan.priority == "critical"
    turn.record(Judged(step=step.plan.id, item=item, verdict="conflict", conflict=conflict))
    if result.decision == "fail":
        return None, verdict.disagreement(step.plan.id, result.fields)
    return result.winner, None


def _take_figures(step: StepState, mine: list[UnitState], winner: UnitState | None) -> None:
    shown = winner or mine[0]
    step.layer, step.implementation, step.reason = shown.layer, shown.implementation, shown.reason
    # Of items: all of them were.
    step.cached = shown.cached and (step.cached or not step.attempts)
    step.attempts += max(unit.attempts for unit in mine)
    step.seconds += max(unit.seconds for unit in mine)
    step.stopped = step.stopped and all(unit.stopped for unit in mine)
