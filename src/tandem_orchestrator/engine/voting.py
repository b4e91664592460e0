"""Votes of three and more: whom the voters elect, if anybody. Pure.

A majority is more than half, of heads or of weights. The median is the voter whose numbers are
each the middle of all, where the outputs are alike in everything else. No majority and no middle
elect nobody.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tandem_orchestrator.engine.state import UnitState
from tandem_orchestrator.model.outcomes import Outcome

Alike = Callable[[UnitState, UnitState], bool]
"""Whether two ended units agree."""


def elect(
    units: Sequence[UnitState], how: str, weights: Mapping[str, float], alike: Alike
) -> UnitState | None:
    """Give the winner, or None where there is none.

    Args:
        how: ``majority | median | weighted``.
        weights: Implementation to weight, 1.0 where it is not named; only ``weighted`` reads it.
    """
    if how == "median":
        return _median(units)
    table = weights if how == "weighted" else {}
    return _majority(units, [table.get(unit.implementation, 1.0) for unit in units], alike)


def _majority(
    units: Sequence[UnitState], weights: Sequence[float], alike: Alike
) -> UnitState | None:
    """Count for each voter those that agree with it; tolerances make that no equivalence."""
    total = math.fsum(weights)
    for unit in units:
        votes = math.fsum(w for other, w in zip(units, weights, strict=True) if alike(unit, other))
        if votes * 2 > total:
            return unit
    return None


def _median(units: Sequence[UnitState]) -> UnitState | None:
    if any(unit.outcome is not Outcome.SUCCEEDED for unit in units):
        return None
    leaves = [_numbers(unit.output) for unit in units]
    shapes = [_without_numbers(unit.output) for unit in units]
    if any(shape != shapes[0] for shape in shapes) or not leaves[0]:
        return None
    if any(isinstance(n, float) and math.isnan(n) for numbers in leaves for n in numbers):
        return None
    middles: list[Any] = []
    for column in zip(*leaves, strict=True):
        ordered, half = sorted(column), len(column) // 2
        if len(column) % 2 == 0 and ordered[half - 1] != ordered[half]:
            return None  # two in the middle: neither is it
        middles.append(ordered[half])
    return next((u for u, own in zip(units, leaves, strict=True) if own == middles), None)


def _numbers(value: Any) -> list[Any]:
    """List the numbers in a value, in an order that follows from its keys."""
    found: list[Any] = []
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            stack.extend(part[key] for key in sorted(part))
        elif isinstance(part, list):
            stack.extend(part)
        elif isinstance(part, int | float) and not isinstance(part, bool):
            found.append(part)
    return found


def _without_numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_numbers(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_numbers(part) for part in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return ... if is_number else (type(value).__name__, value)
