"""Of what kind a difference is: what must stay the same while an input is made smaller.

Without it, shrinking slips: from a sum that is off by a cent to an empty list on which one side
raises, which is another fault.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from tandem_orchestrator.model.conflicts import is_absent
from tandem_orchestrator.twins.pointers import escape, tokens_of

Kinds = frozenset[tuple[str, ...]]
"""The kinds of all places in which two sides differ."""


# Any: outcomes and fields are plain data.
def kinds_of(outcomes: Iterable[Mapping[str, Any]], fields: Iterable[Mapping[str, Any]]) -> Kinds:
    """Name the kinds of a difference.

    Where every side gave an output: for each place its path, indexes as ``*``, the types that stand
    there, and how two numbers differ. Where one did not: how each ended.
    """
    ends = [(str(each["outcome"]), _failure_type(each)) for each in outcomes]
    if any(outcome != "succeeded" for outcome, _ in ends):
        return frozenset({tuple(part for end in ends for part in end)})
    return frozenset(
        (
            _pattern(str(field["path"])),
            *("absent" if is_absent(dict(field), s) else type(field[s]).__name__ for s in _SIDES),
            _relation(field["left"], field["right"]),
        )
        for field in fields
    )


_SIDES = ("left", "right")


def is_same_kind(first: Kinds, other: Kinds) -> bool:
    """Say whether a difference has a place of a kind that the first one had."""
    return not first.isdisjoint(other)


def _relation(left: Any, right: Any) -> str:
    """Tell numbers that differ from such as differ in sign of zero or type, and from NaN."""
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        return ""
    if math.isnan(left) or math.isnan(right):
        return "nan"
    return "same" if left == right else "apart"


def _failure_type(outcome: Mapping[str, Any]) -> str:
    failure = outcome.get("failure")
    return str(failure.get("type", "")) if isinstance(failure, Mapping) else ""


def _pattern(path: str) -> str:
    return "".join("/*" if t.isdecimal() else f"/{escape(t)}" for t in tokens_of(path))
