"""Lists as multisets: which items of one side have no partner on the other.

Under a tolerance agreement is not transitive, so that pairing is a matching problem: 1.0 may agree
with 1.1, and 1.1 with 1.2. Items can only agree if what must be equal in them is equal; they are
grouped by that, and within a group sorted by what may be apart. Nearly always the sorted items
agree one by one, which is linear. Where they do not, the largest matching is searched for by
augmenting paths (C. Berge, 1957), and that search is bounded: ``MATCHING_STEPS_MAX`` values looked
at for one comparison. Beyond it items that might have had a partner are reported as different.
Never are two sides said to agree that do not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any

from tandem_orchestrator.twins.buffers import buffer_body
from tandem_orchestrator.twins.tolerance import Place, number_in

MATCHING_STEPS_MAX = 200_000
"""Values looked at in search of partners, in one comparison of two outputs."""


class Budget:
    """What is left of the search for partners in one comparison."""

    def __init__(self, steps: int = MATCHING_STEPS_MAX) -> None:
        self.steps = steps

    def spend(self, steps: int) -> bool:
        """Take so many steps; False when there are not so many left."""
        self.steps -= steps
        return self.steps >= 0


Agrees = Callable[[Any, Any], bool]
"""Says whether two items agree."""


def without_partner(
    left: list[Any], right: list[Any], item: Place, agrees: Agrees, budget: Budget
) -> tuple[list[int], list[int]]:
    """Give the indexes of the items that have no partner, in ascending order.

    Args:
        item: What holds for an item, whatever its index.
        agrees: Says whether two items agree; it spends from the budget itself.
    """
    groups: dict[Hashable, tuple[list[_Entry], list[_Entry]]] = {}
    for side, items in enumerate((left, right)):
        for index, value in enumerate(items):
            firm, loose = keys_of(value, item)
            groups.setdefault(firm, ([], []))[side].append((loose, index))
    alone: tuple[list[int], list[int]] = ([], [])
    for ours, theirs in groups.values():
        if item.exact or not ours or not theirs:
            both = min(len(ours), len(theirs))
            pairs = {i: i for i in range(both)}
        else:
            ours.sort()
            theirs.sort()

            def fits(i: int, j: int, a: list[_Entry] = ours, b: list[_Entry] = theirs) -> bool:
                return agrees(left[a[i][1]], right[b[j][1]])

            pairs = _pairs(ours, theirs, fits, budget)
        taken = set(pairs.values())
        alone[0].extend(ours[i][1] for i in range(len(ours)) if i not in pairs)
        alone[1].extend(theirs[j][1] for j in range(len(theirs)) if j not in taken)
    return sorted(alone[0]), sorted(alone[1])


_Entry = tuple[tuple[Any, ...], int]
"""What may be apart in an item, and its index."""


def _pairs(
    ours: list[_Entry], theirs: list[_Entry], fits: Callable[[int, int], bool], budget: Budget
) -> dict[int, int]:
    """Give a largest matching: position in ours to position in theirs."""
    if len(ours) == len(theirs) and all(fits(i, i) for i in range(len(ours))):
        return {i: i for i in range(len(ours))}
    partner: dict[int, int] = {}
    taken: dict[int, int] = {}
    known: dict[tuple[int, int], bool] = {}

    def fit(i: int, j: int) -> bool:
        if (i, j) not in known:
            known[i, j] = budget.spend(1) and fits(i, j)
        return known[i, j]

    # Side by side through both, as one merges: in one dimension that finds all there are.
    i = j = 0
    while i < len(ours) and j < len(theirs) and budget.steps > 0:
        if fit(i, j):
            partner[i], taken[j] = j, i
            i, j = i + 1, j + 1
        elif ours[i][0] <= theirs[j][0]:
            i += 1
        else:
            j += 1
    for i in range(len(ours)):
        if i not in partner and budget.steps > 0:
            _augment(i, len(theirs), fit, partner, taken)
    return partner


def _augment(
    start: int,
    count: int,
    fit: Callable[[int, int], bool],
    partner: dict[int, int],
    taken: dict[int, int],
) -> None:
    """Find a partner for one more, moving others where that makes room (breadth first)."""
    came_from: dict[int, int] = {}
    queue = deque([start])
    while queue:
        i = queue.popleft()
        for j in range(count):
            if j in came_from or not fit(i, j):
                continue
            came_from[j] = i
            if j in taken:
                queue.append(taken[j])
                continue
            while True:
                i = came_from[j]
                before = partner.get(i)
                partner[i], taken[j] = j, i
                if before is None:
                    return
                j = before


def keys_of(value: Any, place: Place) -> tuple[Hashable, tuple[Any, ...]]:
    """Give what must be equal in a value for two to agree, and what may be apart, sortable."""
    loose: list[Any] = []
    return _firm(value, place, loose), tuple(loose)


def _firm(value: Any, place: Place, loose: list[Any]) -> Hashable:
    tolerance = place.tolerance
    if tolerance.ignore and place.ends_here:
        return ()
    if type(value) is dict:
        if buffer_body(value) is not None and not place.exact:
            return ("buffer",)
        entries = [
            (key, _firm(value[key], below, loose))
            for key in sorted(value)
            if not ((below := place.child(key)).tolerance.ignore and below.ends_here)
        ]
        return ("dict", tuple(entries)) if not tolerance.ignore else ("dict?",)
    if type(value) is list:
        if tolerance.ignore:
            return ("list?",)
        if tolerance.unordered:
            return ("list", len(value), _firm_multiset(value, place.any_item, loose))
        return (
            "list",
            tuple([_firm(item, place.child(str(i)), loose) for i, item in enumerate(value)]),
        )
    number = None if tolerance.ignore else number_in(value, tolerance)
    if tolerance.ignore:
        return ("atom?",)
    if number is None:
        return (type(value).__name__, value)
    if place.exact:
        # NaN is not equal to itself, and -0.0 is equal to 0.0.
        return (type(value).__name__, repr(value))
    loose.append((0, 0) if number != number else (1, number))
    return "number" if tolerance.numeric else type(value).__name__


def _firm_multiset(items: list[Any], place: Place, loose: list[Any]) -> Hashable:
    keyed = [keys_of(item, place) for item in items]
    keyed.sort(key=lambda entry: (repr(entry[0]), entry[1]))
    for _, inner in keyed:
        loose.extend(inner)
    return tuple([firm for firm, _ in keyed])
