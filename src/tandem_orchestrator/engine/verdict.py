"""The verdict on one step, or one item of it, whose twins have all ended. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tandem_orchestrator.engine.state import UnitState
from tandem_orchestrator.engine.voting import elect
from tandem_orchestrator.model.comparing import CompareRules
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.twins import Cleaned, differences_of_cleaned, shown

DISAGREE = "TwinsDisagree"
"""Type of the failure of a step, or an item of one, whose twins must agree and do not."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a conflict leads to, as the plan has it."""

    resolution: str
    """``python_preferred | c_preferred | retry_both | vote | hold | fail``."""
    must_agree: bool
    """CONSENSUS: a conflict that stays is a failure, whatever ``resolution`` says."""
    critical: bool
    """CRITICAL priority: no side is picked but by a vote or a person."""
    vote: str = "majority"
    weights: Mapping[str, float] = field(default_factory=dict)
    trusted: str = ""
    """Of a twin on trial and the one trusted so far: the latter; it answers, whatever it gave."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done about a conflict."""

    decision: Literal["take", "repeat", "hold", "fail"]
    resolution: str
    winner: UnitState | None = None
    """Whose outcome the step gets when the decision is ``take``."""
    declared_winner: str | None = None
    """The name shown in the conflict: None where no side was picked."""


def compare(
    left: UnitState, right: UnitState, rules: CompareRules | None = None
) -> list[dict[str, Any]]:
    """List where two ended units differ, under the action's rules; empty when they agree.

    Failures agree when their types, as the rules map them, are equal; their messages are not
    compared. A time-out agrees only with a time-out. One side failing is a difference.
    """
    if left.outcome is Outcome.SUCCEEDED and right.outcome is Outcome.SUCCEEDED:
        # Hooks have run where the attempts ended; a side without what they gave stands as it is.
        one, other = (Cleaned.of(unit.cleaned, unit.output) for unit in (left, right))
        return [found.to_value() for found in differences_of_cleaned(one, other, rules)]
    seen = [_end_of(unit, rules) for unit in (left, right)]
    return [] if seen[0] == seen[1] else [{"path": "", "left": seen[0], "right": seen[1]}]


def _end_of(unit: UnitState, rules: CompareRules | None) -> Any:
    if unit.outcome is Outcome.SUCCEEDED:
        return {"outcome": "succeeded", "output": shown(unit.output)}
    if unit.stopping == "timed_out":
        return {"outcome": "timed_out", "type": None}  # also where it did not stop when asked
    kind = unit.failure.type if unit.failure and unit.outcome is Outcome.FAILED else None
    return {"outcome": str(unit.outcome), "type": rules.failure_kind(kind) if rules else kind}


def differing(
    units: Sequence[UnitState], rules: CompareRules | None = None
) -> list[dict[str, Any]]:
    """List where ended twins differ from the first of them; empty when all agree.

    With three and more, ``of`` names whose value ``right`` is.
    """
    first, *others = units
    if len(others) == 1:
        return compare(first, others[0], rules)
    return [
        {**found, "of": other.implementation}
        for other in others
        for found in compare(first, other, rules)
    ]


def judge(
    units: Sequence[UnitState],
    terms: Terms,
    *,
    repeats_left: int,
    may_hold: bool,
    rules: CompareRules | None = None,
) -> Verdict:
    """Decide what follows from a conflict.

    Args:
        units: At least two ended units; the first is the preferred one where nothing else says.
        repeats_left: How often both may still be run again.
        rules: What counts as equal; None: equal canonical bytes.
        may_hold: Whether waiting for a person makes sense; False where the run is stopping.
    """
    if terms.must_agree:
        return Verdict("repeat" if repeats_left > 0 else "fail", "must_agree")
    if terms.trusted:
        trusted = next(unit for unit in units if unit.implementation == terms.trusted)
        return Verdict("take", "trial", trusted, trusted.implementation)
    resolution = terms.resolution
    match resolution:
        case "retry_both" if repeats_left > 0:
            return Verdict("repeat", resolution)
        case "fail":
            return Verdict("fail", resolution)
        case "hold" if may_hold:
            return Verdict("hold", resolution)
        case "vote" if len(units) > 2:
            chosen = elect(units, terms.vote, terms.weights, lambda a, b: not compare(a, b, rules))
            if chosen is not None:
                return Verdict("take", resolution, chosen, chosen.implementation)
            return Verdict("take", resolution, _preferred(units, "python", terms.critical))
    preferred = "c" if resolution == "c_preferred" and not terms.critical else "python"
    winner = _preferred(units, preferred, terms.critical)
    picks = not terms.critical and resolution in ("python_preferred", "c_preferred", "retry_both")
    return Verdict("take", resolution, winner, winner.implementation if picks else None)


def _preferred(units: Sequence[UnitState], name: str, critical: bool) -> UnitState:
    winner = next((unit for unit in units if unit.implementation == name), units[0])
    if winner.outcome is not Outcome.SUCCEEDED and not critical:
        # The preferred side failed and another did not: a result beats none, and is shown.
        winner = next((unit for unit in units if unit.outcome is Outcome.SUCCEEDED), winner)
    return winner


def disagreement(where: str, fields: Sequence[dict[str, Any]]) -> Failure:
    """Describe a conflict that stays, naming every part that differs."""
    places = ", ".join(dict.fromkeys(field["path"] or "the whole value" for field in fields))
    return Failure(DISAGREE, f"{where}: the twins differ at {places}")


ITEMS_NAMED_MAX = 100
"""Differing items that a failure names one by one; the conflicts name all."""


def items_disagreement(where: str, items: Sequence[int]) -> Failure:
    """Describe the items of one step on which the twins differ, naming each."""
    named = ", ".join(map(str, items[:ITEMS_NAMED_MAX]))
    more = f" and {len(items) - ITEMS_NAMED_MAX} more" if len(items) > ITEMS_NAMED_MAX else ""
    are = "item" if len(items) == 1 else f"{len(items)} items:"
    return Failure(DISAGREE, f"{where}: the twins differ at {are} {named}{more}")
