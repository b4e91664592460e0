"""Where two values differ, field by field, under the rules of an action.

Without rules values are compared by type and content: 1 and 1.0 differ, every NaN equals every NaN,
-0.0 and 0.0 differ, and the order of a dict's keys means nothing. Values whose canonical bytes are
equal are done with in one walk; only others are looked at part by part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tandem_orchestrator.model.comparing import CompareRules
from tandem_orchestrator.twins.buffers import buffer_body, buffer_differences
from tandem_orchestrator.twins.canonical import same
from tandem_orchestrator.twins.cleaning import Cleaned, clean
from tandem_orchestrator.twins.pointers import escape
from tandem_orchestrator.twins.showing import shown_pair
from tandem_orchestrator.twins.tolerance import Place, atoms_agree, root_place
from tandem_orchestrator.twins.unordered import Budget, without_partner

DIFFERENCES_MAX = 100
"""Differences listed for one pair; the walk stops there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which two values differ."""

    path: str
    """JSON Pointer into both; empty for the whole value. In an unordered list the index is the left
    one's, or the right one's where the left has no such item."""
    # Any: whatever stands there, large ones in an excerpt; ``ABSENT`` where nothing does.
    left: Any
    right: Any
    absent: Literal["", "left", "right"] = ""
    """The side on which nothing stands: it shows ``ABSENT``, which a text may look like."""
    reason: str = ""
    """More than the two values say, such as which hook failed; mostly empty."""

    def to_value(self) -> dict[str, Any]:
        """Give the plain form of ``API``'s conflict fields."""
        value = {"path": self.path, "left": self.left, "right": self.right}
        if self.absent:
            value["absent"] = self.absent
        return {**value, "reason": self.reason} if self.reason else value


ABSENT = "<absent>"
"""Stands, where differences are shown, for a key or item that only the other side has."""
_ABSENT = object()
"""Stands for it while comparing, since a side may hold the very text ``<absent>``."""


def differences(left: Any, right: Any, rules: CompareRules | None = None) -> list[Difference]:
    """List where two plain values differ, in the left one's order; empty when they agree.

    ``clean`` hooks of the rules are run first, over copies. Linear in the size of the smaller
    value, but for unordered lists under a tolerance, whose search is bounded
    (``unordered.MATCHING_STEPS_MAX``). At most ``DIFFERENCES_MAX`` are listed.
    """
    if rules is not None and rules.has_hooks:
        return differences_of_cleaned(clean(left, rules), clean(right, rules), rules)
    if (rules is None or not rules.tells_nan) and same(left, right):
        return []
    return _Comparison(root_place(rules)).walk(left, right)


def differences_of_cleaned(
    left: Cleaned, right: Cleaned, rules: CompareRules | None = None
) -> list[Difference]:
    """List where two values differ that were cleaned before; no hook is run.

    What a hook did wrong on either side is a difference that says so.
    """
    faults = {**right.faults, **left.faults}
    if not faults:
        return differences(left.value, right.value, rules.without_hooks() if rules else None)
    found = [
        Difference(path, *_sides(left, right, path), reason=text)
        for path, text in sorted(faults.items())
    ]
    place = root_place(rules.without_hooks() if rules else None)
    return (found + _Comparison(place, frozenset(faults)).walk(left.value, right.value))[
        :DIFFERENCES_MAX
    ]


def _sides(left: Cleaned, right: Cleaned, path: str) -> tuple[str, str]:
    """Show which side's hook failed."""
    texts = [side.faults.get(path, "cleaned") for side in (left, right)]
    return texts[0], texts[1]


_Todo = tuple[str, Any, Any, Place]


class _Comparison:
    """One comparison of two values."""

    def __init__(self, place: Place, skip: frozenset[str] = frozenset()) -> None:
        self._place = place
        self._skip = skip
        """Paths that have been reported already."""
        self._budget = Budget()

    def walk(self, left: Any, right: Any) -> list[Difference]:
        """List what differs."""
        return self._walk(("", left, right, self._place), DIFFERENCES_MAX, self._skip)

    def _walk(
        self, start: _Todo, most: int, skip: frozenset[str], *, searching: bool = False
    ) -> list[Difference]:
        found: list[Difference] = []
        stack = [start]
        while stack and len(found) < most:
            path, a, b, place = todo = stack.pop()
            if searching and not self._budget.spend(1):
                found.append(Difference(path, ABSENT, ABSENT))  # Not known: taken as different.
                break
            if path in skip or (place.tolerance.ignore and place.ends_here):
                continue
            kind = type(a)
            if kind is type(b) and (kind is dict or kind is list):
                if place.nan_equal and same(a, b):
                    continue
                if searching and not self._budget.spend(len(a)):
                    return [Difference(path, ABSENT, ABSENT)]
                if kind is dict:
                    found.extend(self._dicts(todo, stack))
                elif place.tolerance.unordered:
                    found.extend(self._multisets(todo, most - len(found), searching=searching))
                else:
                    _push_items(todo, stack)
            elif not place.tolerance.ignore and not self._agree(a, b, place):
                found.append(_difference(path, a, b))
        return found[:most]

    def _agree(self, a: Any, b: Any, place: Place) -> bool:
        return a is not _ABSENT and b is not _ABSENT and atoms_agree(a, b, place.tolerance)

    def _dicts(self, todo: _Todo, stack: list[_Todo]) -> list[Difference]:
        path, a, b, place = todo
        left, right = buffer_body(a), buffer_body(b)
        if left is not None and right is not None and not place.tolerance.ignore:
            if found := [
                _difference(path + below, x, y)
                for below, x, y in buffer_differences(left, right, place.tolerance)
            ]:
                return found
            if not place.exact:
                return []
        for key in reversed([*a, *(key for key in b if key not in a)]):
            x, y, below = a.get(key, _ABSENT), b.get(key, _ABSENT), place.child(key)
            if not _done(x, y, below):
                stack.append((f"{path}/{escape(key)}", x, y, below))
        return []

    def _multisets(self, todo: _Todo, most: int, *, searching: bool) -> list[Difference]:
        path, a, b, place = todo
        if searching and not self._budget.spend(len(a) + len(b)):
            return [Difference(path, ABSENT, ABSENT)]
        item = place.any_item

        def agrees(x: Any, y: Any) -> bool:
            return not self._walk((path, x, y, item), 1, frozenset(), searching=True)

        ours, theirs = without_partner(a, b, item, agrees, self._budget)
        if len(ours) == len(theirs) == 1:
            start = (f"{path}/{ours[0]}", a[ours[0]], b[theirs[0]], item)
            inside = self._walk(start, most, frozenset(), searching=searching)
            return inside or [_difference(start[0], start[1], start[2])]
        found = []
        for n in range(min(max(len(ours), len(theirs)), most)):
            x = a[ours[n]] if n < len(ours) else _ABSENT
            y = b[theirs[n]] if n < len(theirs) else _ABSENT
            index = ours[n] if n < len(ours) else theirs[n]
            found.append(_difference(f"{path}/{index}", x, y))
        return found


def _push_items(todo: _Todo, stack: list[_Todo]) -> None:
    path, a, b, place = todo
    both = min(len(a), len(b))
    for i in reversed(range(both, max(len(a), len(b)))):
        x, y = (a[i], _ABSENT) if i < len(a) else (_ABSENT, b[i])
        stack.append((f"{path}/{i}", x, y, place.child(str(i))))
    everywhere = place.child("") if place.ends_here else None
    for i in reversed(range(both)):
        below = everywhere or place.child(str(i))
        if not _done(a[i], b[i], below):
            stack.append((f"{path}/{i}", a[i], b[i], below))


def _done(a: Any, b: Any, place: Place) -> bool:
    """Say whether two values are no containers and agree: they need not be looked at again."""
    kind = type(a)
    if kind is dict or kind is list or a is _ABSENT or b is _ABSENT:
        return False
    return type(b) is kind and atoms_agree(a, b, place.tolerance)


def _difference(path: str, a: Any, b: Any) -> Difference:
    left, right = shown_pair(ABSENT if a is _ABSENT else a, ABSENT if b is _ABSENT else b)
    absent: Literal["", "left", "right"] = (
        "left" if a is _ABSENT else "right" if b is _ABSENT else ""
    )
    return Difference(path, left, right, absent)
