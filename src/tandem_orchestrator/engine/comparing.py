"""Twins that have all ended: they agree, run again, are split, wait for a person, or it is over.

Pure. An item counts as one compared step, also one of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tandem_orchestrator.engine import holding, splits, units, verdict
from tandem_orchestrator.engine.ending import Ending
from tandem_orchestrator.engine.instructions import Evidence, RecordConflict, UnitKey
from tandem_orchestrator.engine.state import DoubtState, RunState, StepState, UnitState
from tandem_orchestrator.engine.turn import Turn, inputs_of, part_of, resolve_payload
from tandem_orchestrator.model.events import Judged
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.refs import Missing


def settle(
    turn: Turn, step: StepState, mine: Sequence[UnitState], *, is_over: bool = False
) -> Ending | None:
    """Say what units that belong together have come to; None if that is not known yet.

    Args:
        mine: All ended: the twins of a step, an item or a part; or the one implementation.
        is_over: Nothing is to be run again or waited for.
    """
    assignment, state = step.plan.assignment, turn.state
    assert assignment is not None
    if assignment.verdict == "none" or len(mine) < 2:
        if units.may_have_run(mine[0]) and not state.is_halted(step):
            holding.keep(turn, step, f"unknown:{units.key_of(step, mine[0])}", mine)
            _take_figures(step, mine, mine[0])
            return None
        return _over(step, mine, mine[0])
    key = units.key_of(step, mine[0])
    cancelled = next((unit for unit in mine if _was_cancelled(unit)), None)
    if cancelled is not None:
        turn.record(Judged(step=step.plan.id, item=_shown_item(key), verdict="not_compared"))
        return _over(step, mine, cancelled)
    fields = verdict.differing(mine, step.plan.compare)
    if not fields:
        count = _size_of_agreement(step, mine[0])
        state.compared += count
        state.agreed += count
        found = Judged(step=step.plan.id, item=_shown_item(key), verdict="agreed", count=count)
        turn.record(found)
        return _over(step, mine, mine[0])
    is_over = is_over or state.is_halted(step)
    answered = all(_has_answered(unit) for unit in mine)
    if answered and not is_over and splits.divide(turn, step, mine):
        _take_figures(step, mine, mine[0])
        return None
    place = f"{step.plan.id}/{key.place}" if key.place else step.plan.id
    rounds = state.conflict_rounds.get(place, 0)
    repeats_left = 0 if is_over else state.plan.consensus_retries - rounds
    result = verdict.judge(
        mine,
        _terms(state, step),
        repeats_left=repeats_left,
        may_hold=not is_over,
        rules=step.plan.compare,
    )
    if result.decision == "repeat":
        state.conflict_rounds = state.conflict_rounds or {}
        state.conflict_rounds[place] = rounds + 1
        units.start_all(turn, step, [again(unit) for unit in mine], rounds + 1)
        return None
    state.conflict_rounds.pop(place, None)
    conflict = _conflict(state, key, mine, fields, result)
    splits.explain(step, key)
    state.doubted += mine[0].whole
    state.compared += 1
    state.put_conflict(conflict)
    state.conflicts_made += 1
    state.critical_conflict |= state.plan.priority == "critical"
    event = Judged(step=step.plan.id, item=conflict["item"], verdict="conflict", conflict=conflict)
    turn.out.append(RecordConflict(event, _evidence(state, step, key, mine)))
    if result.decision == "hold":
        _take_figures(step, mine, mine[0])
        holding.keep(turn, step, conflict["id"], mine)
        return None
    if result.decision == "fail":
        _take_figures(step, mine, mine[0])
        failure = verdict.disagreement(_where(step, conflict["item"]), fields)
        return Ending(Outcome.FAILED, failure=failure, disagrees=True)
    return _over(step, mine, result.winner or mine[0])


def settle_whole(
    turn: Turn, step: StepState, doubt: DoubtState, *, is_over: bool = False
) -> Ending | None:
    """Settle a part on which the twins differ, and on its halves do not: as one that is not split."""
    mine = doubt.units
    step.attempts -= max(unit.attempts for unit in mine)
    step.seconds -= max(unit.seconds for unit in mine)
    for unit in mine:  # Its figures were taken when it was split, and are again.
        step.put_unit(units.key_of(step, unit).label, unit)
        step.sides[unit.implementation]["attempts"] -= unit.attempts
        step.sides[unit.implementation]["seconds"] -= unit.seconds
    return settle(turn, step, mine, is_over=is_over)


def _over(step: StepState, mine: Sequence[UnitState], shown: UnitState) -> Ending:
    _take_figures(step, mine, shown)
    return Ending.of(shown)


def _has_answered(unit: UnitState) -> bool:
    """Say whether a side gave something, if only an error: one that hangs would on each part, too."""
    away = unit.failure is not None and unit.failure.type == "LayerUnavailable"
    return unit.outcome in (Outcome.SUCCEEDED, Outcome.FAILED) and not away


def _was_cancelled(unit: UnitState) -> bool:
    return unit.stopping == "cancelled" and unit.outcome is not Outcome.SUCCEEDED


def _terms(state: RunState, step: StepState) -> verdict.Terms:
    plan, assignment = state.plan, step.plan.assignment
    return verdict.Terms(
        resolution=plan.conflict_resolution,
        must_agree=assignment is not None and assignment.verdict == "must_agree",
        critical=plan.priority == "critical",
        vote=plan.vote,
        weights=plan.vote_weights,
        trusted="" if assignment is None else assignment.trusted,
    )


def again(unit: UnitState) -> UnitState:
    """Make the unit that does what this one did once more."""
    other = UnitState(unit.implementation, unit.layer, unit.item, unit.reason, part=unit.part)
    other.whole, other.compared = unit.whole, unit.outcome is Outcome.SUCCEEDED
    other.attempts, other.seconds = unit.attempts, unit.seconds
    return other


def _size_of_agreement(step: StepState, unit: UnitState) -> int:
    """Count the compared steps that an agreement stands for: the items of a batch, each one."""
    if unit.part is not None:
        return unit.part[1] - unit.part[0]
    is_batch = step.plan.batch == "items" and isinstance(unit.output, list)
    return max(1, len(unit.output)) if is_batch else 1


def _shown_item(key: UnitKey) -> int | None:
    """Give the position of an item: in its ``for_each``, else in its batch where it stands alone."""
    if key.item is None and key.part is not None and key.part[1] - key.part[0] == 1:
        return key.part[0]
    return key.item


def _where(step: StepState, item: int | None) -> str:
    return f"step {step.plan.id!r}" + ("" if item is None else f" item {item}")


def _conflict(
    state: RunState,
    key: UnitKey,
    mine: Sequence[UnitState],
    fields: list[dict[str, Any]],
    result: verdict.Verdict,
) -> dict[str, Any]:
    conflict = {
        "id": f"c{state.conflicts_made + 1}",
        "step": key.step,
        "item": _shown_item(key),
        "implementations": [unit.implementation for unit in mine],
        "fields": fields,
        "resolution": result.resolution,
        "winner": result.declared_winner,
    }
    return conflict if key.part is None else {**conflict, "part": list(key.part)}


def _evidence(
    state: RunState, step: StepState, key: UnitKey, mine: Sequence[UnitState]
) -> Evidence:
    try:
        whole = key.part is None
        payload = resolve_payload(state, step, key.item) if whole else part_of(step, key)
    except Missing:
        payload = None  # What failed on both sides alike is no conflict; one side may have run.
    outcomes = [
        {
            "implementation": unit.implementation,
            "outcome": str(unit.outcome),
            "output": unit.output,
            "failure": unit.failure.to_value() if isinstance(unit.failure, Failure) else None,
            "seconds": unit.seconds,
        }
        for unit in mine
    ]
    return Evidence(payload, inputs_of(state, step), outcomes)


def _take_figures(step: StepState, mine: Sequence[UnitState], shown: UnitState) -> None:
    """Add what ended to the step's figures, and let it go."""
    step.layer, step.implementation, step.reason = shown.layer, shown.implementation, shown.reason
    # Of items: all of them were.
    step.cached = shown.cached and (step.cached or not step.attempts)
    step.attempts += max(unit.attempts for unit in mine) - step.before
    step.seconds += max(unit.seconds for unit in mine)
    step.stopped = step.stopped and all(unit.stopped for unit in mine)
    for unit in mine:
        del step.units[units.key_of(step, unit).label]
        if len(mine) > 1:
            step.sides = step.sides or {}
            side = step.sides.setdefault(unit.implementation, {"attempts": 0, "seconds": 0.0})
            side["attempts"] += unit.attempts - step.before
            side["seconds"] += unit.seconds
