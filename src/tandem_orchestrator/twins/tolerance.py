"""Tolerances at work: which one holds where, and whether two numbers or texts agree under it.

The patterns of the rules become a tree once for each comparison; walking into a value walks down
the tree, so that a place costs time in the patterns that match it and not in all there are.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from tandem_orchestrator.model.comparing import CompareRules, Tolerance, pattern_parts
from tandem_orchestrator.twins.canonical import same_atom

EXACT = Tolerance(numeric=False, nan_equal=True, signed_zero=True, unordered=False, ignore=False)
"""What holds where nothing is said."""
# Any: int, float or Fraction; the stubs order no mixture of them.
Number = Any
"""What two values are compared as: an int, a float, or the Fraction that a decimal text stands for."""
_DECIMAL = re.compile(
    r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,3})?\Z"
)
_PLACES = {places: Fraction(1, 2) / Fraction(10) ** places for places in range(-18, 19)}


class _Node:
    """One part of the tree of patterns."""

    __slots__ = ("children", "tolerance")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.tolerance: Tolerance | None = None


class Place:
    """A place in both values: what holds there, and what below it."""

    __slots__ = ("_children", "_default_unordered", "_nodes", "exact", "nan_equal", "tolerance")

    def __init__(
        self,
        tolerance: Tolerance,
        nodes: tuple[_Node, ...],
        default_unordered: bool,
        nan_equal: bool,
    ) -> None:
        self.tolerance = tolerance
        self._nodes = nodes
        """Those whose pattern ends, or goes on, here; the least telling first."""
        self._default_unordered = default_unordered
        self.nan_equal = nan_equal
        """Whether equal canonical bytes mean agreement: no rule anywhere tells NaN from NaN."""
        self.exact = not nodes and tolerance == EXACT
        """Whether nothing but equal canonical bytes will do, here and below."""
        self._children: dict[str | None, Place] = {}

    @property
    def ends_here(self) -> bool:
        """Whether no pattern goes on below."""
        return not self._nodes

    def child(self, key: str) -> Place:
        """Go into a key, or an index."""
        if not self._nodes:
            key = ""  # One place for all of them.
        found = self._children.get(key)
        if found is None:
            nodes = (n for node in self._nodes for n in (_get(node, "*"), _get(node, key)))
            found = self._below(dict.fromkeys(n for n in nodes if n is not None))
            if len(self._children) < 256:
                self._children[key] = found
        return found

    @property
    def any_item(self) -> Place:
        """Go into an item of which the index means nothing: only ``*`` matches."""
        found = self._children.get(None)
        if found is None:
            nodes = (_get(node, "*") for node in self._nodes)
            found = self._children[None] = self._below(n for n in nodes if n is not None)
        return found

    def _below(self, nodes: Iterable[_Node]) -> Place:
        kept = tuple(nodes)
        inherited = _replaced(self.tolerance, unordered=self._default_unordered)
        for node in kept:
            if node.tolerance is not None:
                inherited = node.tolerance.within(inherited)
        going_on = tuple(node for node in kept if node.children)
        return Place(
            _replaced(inherited, clean=None), going_on, self._default_unordered, self.nan_equal
        )


def root_place(rules: CompareRules | None) -> Place:
    """Make the place of the whole value."""
    if rules is None:
        return _EXACT_PLACE
    default = rules.default.within(EXACT)
    root = _Node()
    for pattern, tolerance in rules.fields.items():
        node = root
        for part in pattern_parts(pattern):
            node = node.children.setdefault(part, _Node())
        node.tolerance = tolerance
    own = default if root.tolerance is None else root.tolerance.within(default)
    nodes = (root,) if root.children else ()
    return Place(_replaced(own, clean=None), nodes, bool(default.unordered), not rules.tells_nan)


def _get(node: _Node, key: str) -> _Node | None:
    return node.children.get(key)


def _replaced(tolerance: Tolerance, **changes: Any) -> Tolerance:
    if all(getattr(tolerance, name) == value for name, value in changes.items()):
        return tolerance
    names = Tolerance.__struct_fields__
    return Tolerance(**{name: getattr(tolerance, name) for name in names} | changes)


_EXACT_PLACE = Place(EXACT, (), False, True)


def atoms_agree(a: Any, b: Any, tolerance: Tolerance) -> bool:
    """Say whether two values that are no containers agree."""
    kind = type(a)
    if kind is type(b):
        if kind is float or kind is int:
            return numbers_agree(a, b, tolerance)
        if kind is not str or not tolerance.numeric:
            return bool(a == b)
    left, right = number_in(a, tolerance), number_in(b, tolerance)
    if left is None or right is None:
        return same_atom(a, b)
    if type(a) is not type(b) and not tolerance.numeric:
        return False
    return numbers_agree(left, right, tolerance)


def number_in(value: Any, tolerance: Tolerance) -> Number | None:
    """Give the number that a value is compared as, or None if it is not compared as one."""
    kind = type(value)
    if kind is int or kind is float:
        return value
    if kind is str and tolerance.numeric and _DECIMAL.match(value):
        return Fraction(Decimal(value))
    return None


def numbers_agree(a: Number, b: Number, tolerance: Tolerance, float_bits: int = 64) -> bool:
    """Say whether two numbers agree.

    Args:
        float_bits: Width of the floats for ``ulp``: 16, 32 or 64.
    """
    if a != a or b != b:
        return a != a and b != b and bool(tolerance.nan_equal)
    if a == b:
        return not _signs_differ(a, b, tolerance)
    if not tolerance.has_figure or _is_infinite(a) or _is_infinite(b):
        return False
    # Ints and mixtures exactly; the difference of two floats is rounded by half an ulp of its own.
    distance = abs(a - b) if type(a) is type(b) else abs(Fraction(a) - Fraction(b))
    if tolerance.abs is not None and distance <= tolerance.abs:
        return True
    if tolerance.rel is not None and distance <= _share(tolerance.rel, max(abs(a), abs(b))):
        return True
    if tolerance.places is not None and distance <= _PLACES[tolerance.places]:
        return True
    if tolerance.ulp is None or type(a) is not float or type(b) is not float:
        return False
    return abs(_rank(a, float_bits) - _rank(b, float_bits)) <= tolerance.ulp


def _share(rel: float, of: Number) -> Number:
    return rel * of if type(of) is float else Fraction(rel) * Fraction(of)


def _signs_differ(a: Any, b: Any, tolerance: Tolerance) -> bool:
    if not tolerance.signed_zero or tolerance.has_figure or a != 0:
        return False
    return type(a) is float and type(b) is float and str(a) != str(b)


def _is_infinite(number: Number) -> bool:
    return type(number) is float and number in (float("inf"), float("-inf"))


_FORMS = {16: (">e", ">h"), 32: (">f", ">i"), 64: (">d", ">q")}


def _rank(number: float, float_bits: int) -> int:
    """Number the floats of a width in ascending order, 0.0 and -0.0 being 0."""
    as_float, as_int = _FORMS[float_bits]
    bits: int = struct.unpack(as_int, struct.pack(as_float, number))[0]
    return bits if bits >= 0 else -(bits + (1 << (float_bits - 1)))
