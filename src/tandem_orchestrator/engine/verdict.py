"""The verdict on one step, or one item of it, whose twins have all ended. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tandem_orchestrator.engine.state import UnitState
from tandem_orchestrator.model.comparing import CompareRules
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.twins import differences, shown


@dataclass(frozen=True, slots=True)
class Verdict:
    """What comparing gave, and what is to be done about it."""

    agreed: bool
    decision: Literal["take", "repeat", "fail"]
    winner: UnitState | None
    """Whose outcome the step gets when the decision is ``take``."""
    declared_winner: str | None
    """The name shown in the conflict: None where no side was picked."""
    fields: tuple[dict[str, Any], ...] = ()
    resolution: str = ""


def compare(
    left: UnitState, right: UnitState, rules: CompareRules | None = None
) -> list[dict[str, Any]]:
    """List where two ended units differ, under the action's rules; empty when they agree.

    Failures agree when their types, as the rules map them, are equal; their messages are not
    compared. A time-out agrees only with a time-out. One side failing is a difference.
    """
    if left.outcome is Outcome.SUCCEEDED and right.outcome is Outcome.SUCCEEDED:
        found = differences(left.output, right.output, rules)
        return [difference.to_value() for difference in found]
    seen = [_end_of(unit, rules) for unit in (left, right)]
    return [] if seen[0] == seen[1] else [{"path": "", "left": seen[0], "right": seen[1]}]


def _end_of(unit: UnitState, rules: CompareRules | None) -> Any:
    if unit.outcome is Outcome.SUCCEEDED:
        return {"outcome": "succeeded", "output": shown(unit.output)}
    kind = unit.failure.type if unit.failure and unit.outcome is Outcome.FAILED else None
    return {"outcome": str(unit.outcome), "type": rules.failure_kind(kind) if rules else kind}


def judge(
    units: Sequence[UnitState],
    *,
    must_agree: bool,
    resolution: str,
    critical: bool,
    repeats_left: int,
    rules: CompareRules | None = None,
) -> Verdict:
    """Compare twins pairwise with the first and decide what follows.

    Args:
        units: At least two ended units; the first is the preferred one where nothing else says.
        must_agree: CONSENSUS: a conflict that stays is a failure.
        resolution: ``python_preferred | c_preferred | retry_both | fail``.
        critical: CRITICAL priority: two voters never pick a side.
        repeats_left: How often both may still be run again.
        rules: What counts as equal; None: equal canonical bytes.
    """
    first = units[0]
    fields: list[dict[str, Any]] = []
    for other in units[1:]:
        fields.extend(compare(first, other, rules))
    if not fields:
        return Verdict(True, "take", first, first.implementation)
    conflict = tuple(fields)
    if must_agree:
        repeat = repeats_left > 0
        return Verdict(False, "repeat" if repeat else "fail", None, None, conflict, "must_agree")
    if resolution == "retry_both" and repeats_left > 0:
        return Verdict(False, "repeat", None, None, conflict, resolution)
    if resolution == "fail":
        return Verdict(False, "fail", None, None, conflict, resolution)
    if resolution not in ("python_preferred", "c_preferred", "retry_both"):
        raise ValueError(f"conflict_resolution={resolution!r}: the planner should have refused it")
    preferred = "c" if resolution == "c_preferred" else "python"
    winner = next((unit for unit in units if unit.implementation == preferred), first)
    if winner.outcome is not Outcome.SUCCEEDED and not critical:
        # The preferred side failed and another did not: a result beats none, and is shown.
        winner = next((unit for unit in units if unit.outcome is Outcome.SUCCEEDED), winner)
    if critical and len(units) == 2:
        return Verdict(False, "take", winner, None, conflict, resolution)
    return Verdict(False, "take", winner, winner.implementation, conflict, resolution)


def disagreement(step_id: str, fields: Sequence[dict[str, Any]]) -> Failure:
    """Describe a conflict that stays, naming every part that differs."""
    places = ", ".join(field["path"] or "the whole value" for field in fields)
    return Failure("TwinsDisagree", f"step {step_id!r}: the twins differ at {places}")
