"""Noise: what differs between two outputs that one implementation gave for one input.

Two lists that hold the same in another order are told from lists with other contents: items are
brought together by the columns that all of them share, and only then looked into.
"""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tandem_orchestrator.twins.buffers import buffer_body
from tandem_orchestrator.twins.canonical import same
from tandem_orchestrator.twins.pointers import escape
from tandem_orchestrator.twins.tolerance import root_place
from tandem_orchestrator.twins.unordered import keys_of

ROUNDING_REL_MAX = 1e-6
"""Two floats that are nearer than this share of the larger differ by rounding, not in what they
say."""
Kind = Literal["volatile", "order", "rounding"]
"""Ignored, compared as a multiset, or compared within a tolerance."""


@dataclass(frozen=True, slots=True)
class Noise:
    """One place that came out differently."""

    pattern: str
    """JSON Pointer, ``*`` for indexes and for keys that only one side has."""
    kind: Kind
    # Any: whatever stands there; None where nothing does.
    left: Any = None
    right: Any = None
    rel: float = 0.0
    """Of rounding: the distance as a share of the larger."""


def noise_between(left: Any, right: Any) -> list[Noise]:
    """List what differs between two outputs of one implementation."""
    return list(_walk(left, right, ""))


def looks_like(value: Any) -> str:
    """Say what a value that changes looks like, for people."""
    if type(value) is str:
        for pattern, name in _FORMS:
            if pattern.search(value):
                return name
    if type(value) in (int, float) and 1e9 <= abs(value) < 4e18 and _is_recent(value):
        return "a time"
    return "a number" if type(value) in (int, float) else "a value"


_FORMS = (
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "a UUID"),
    (re.compile(r"\d{4}-\d\d-\d\d|\b\d\d:\d\d(?::\d\d)?\b"), "a time"),
    (re.compile(r"0x[0-9a-f]{6,}", re.IGNORECASE), "an address"),
    (re.compile(r"^(?:/tmp/|/var/)"), "a path"),
    (re.compile(r"\A[0-9a-f]{16,}\Z", re.IGNORECASE), "an id or a digest"),
)


def _is_recent(number: float) -> bool:
    """Say whether a number is a moment of 2001 to 2096 in s, ms, us or ns since 1970."""
    return any(1e9 <= number / unit < 4e9 for unit in (1, 1e3, 1e6, 1e9))


def _walk(a: Any, b: Any, pattern: str) -> Iterator[Noise]:
    if same(a, b):
        return
    if type(a) is dict and type(b) is dict:
        if buffer_body(a) is not None and buffer_body(b) is not None:
            yield Noise(pattern, "volatile", a, b)
        else:
            yield from _walk_dicts(a, b, pattern)
    elif type(a) is list and type(b) is list:
        yield from _walk_lists(a, b, pattern)
    elif type(a) is float and type(b) is float and _rel(a, b) <= ROUNDING_REL_MAX:
        yield Noise(pattern, "rounding", a, b, _rel(a, b))
    else:
        yield Noise(pattern, "volatile", a, b)


def _rel(a: float, b: float) -> float:
    if not math.isfinite(a) or not math.isfinite(b):
        return math.inf
    return abs(a - b) / max(abs(a), abs(b), 5e-324)


def _walk_dicts(a: dict[str, Any], b: dict[str, Any], pattern: str) -> Iterator[Noise]:
    gone, come = [k for k in a if k not in b], [k for k in b if k not in a]
    if gone and come:
        # Keys that change are names of things, such as ids; no pattern can name them.
        yield Noise(f"{pattern}/*", "volatile", gone[0], come[0])
        return
    for key in (*gone, *come):
        yield Noise(f"{pattern}/{escape(key)}", "volatile", a.get(key), b.get(key))
    for key in a:
        if key in b:
            yield from _walk(a[key], b[key], f"{pattern}/{escape(key)}")


def _walk_lists(a: list[Any], b: list[Any], pattern: str) -> Iterator[Noise]:
    if len(a) != len(b):
        yield Noise(pattern, "volatile", a, b)
        return
    if (moved := _brought_together(a, b)) is not None:
        yield Noise(pattern, "order", a, b)
        b = moved
    for x, y in zip(a, b, strict=True):
        yield from _walk(x, y, f"{pattern}/*")


def _brought_together(a: list[Any], b: list[Any]) -> list[Any] | None:
    """Give the right items in the order of the left ones, if what they share says another order.

    None where they come in the same order, or where nothing tells.
    """
    columns: tuple[str, ...] = ()
    if all(type(item) is dict for item in (*a, *b)):
        shared = [k for k in a[0] if all(k in item for item in (*a, *b))]
        columns = tuple(k for k in shared if _same_multiset([x[k] for x in a], [x[k] for x in b]))
        if not columns:
            return None
    elif not _same_multiset(a, b):
        return _sorted_numbers(a, b)
    ours = [_key(item, columns) for item in a]
    theirs: dict[Hashable, list[Any]] = {}
    keys = [_key(item, columns) for item in b]
    if keys == ours:
        return None
    for key, item in zip(reversed(keys), reversed(b), strict=True):
        theirs.setdefault(key, []).append(item)
    moved = []
    for key in ours:
        if not theirs.get(key):
            return None  # The columns agree one by one, and not together.
        moved.append(theirs[key].pop())
    return moved


def _sorted_numbers(a: list[Any], b: list[Any]) -> list[Any] | None:
    """As above, for floats that are rounded as well as moved."""
    if not all(type(x) is float and math.isfinite(x) for x in (*a, *b)):
        return None
    if all(_rel(x, y) <= ROUNDING_REL_MAX for x, y in zip(a, b, strict=True)):
        return None
    ours = sorted(range(len(a)), key=a.__getitem__)
    theirs = sorted(b)
    if any(_rel(a[i], y) > ROUNDING_REL_MAX for i, y in zip(ours, theirs, strict=True)):
        return None
    moved = [0.0] * len(a)
    for i, y in zip(ours, theirs, strict=True):
        moved[i] = y
    return moved


def _same_multiset(a: list[Any], b: list[Any]) -> bool:
    counts: dict[Hashable, int] = {}
    for side, change in ((a, 1), (b, -1)):
        for item in side:
            key = _key(item, ())
            counts[key] = counts.get(key, 0) + change
    return not any(counts.values())


def _key(item: Any, columns: tuple[str, ...]) -> Hashable:
    return keys_of({c: item[c] for c in columns} if columns else item, root_place(None))[0]
