"""Where two values differ, field by field, exactly.

Values are compared by type and content: 1 and 1.0 differ, every NaN equals every NaN, -0.0 and
0.0 differ, and the order of a dict's keys means nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

DIFFERENCES_MAX = 100
"""Differences listed for one pair; the walk stops there."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One place in which two values differ."""

    path: str
    """JSON Pointer into both; empty for the whole value."""
    # Any: whatever stands there; ``ABSENT`` where nothing does.
    left: Any
    right: Any

    def to_value(self) -> dict[str, Any]:
        """Give the plain form of ``API``'s conflict fields."""
        return {"path": self.path, "left": self.left, "right": self.right}


ABSENT = "<absent>"
"""Stands, where differences are shown, for a key or item that only the other side has."""
_ABSENT = object()
"""Stands for it while comparing, since a side may hold the very text ``<absent>``."""


def differences(left: Any, right: Any) -> list[Difference]:
    """List where two plain values differ, in the left one's order; empty when they agree.

    Linear in the size of the smaller value; at most ``DIFFERENCES_MAX`` are listed.
    """
    found: list[Difference] = []
    stack: list[tuple[str, Any, Any]] = [("", left, right)]
    while stack and len(found) < DIFFERENCES_MAX:
        path, a, b = stack.pop()
        if type(a) is dict and type(b) is dict:
            keys = [*a, *(key for key in b if key not in a)]
            stack.extend(
                (f"{path}/{_escape(key)}", a.get(key, _ABSENT), b.get(key, _ABSENT))
                for key in reversed(keys)
            )
        elif type(a) is list and type(b) is list:
            longest = max(len(a), len(b))
            stack.extend(
                (f"{path}/{i}", a[i] if i < len(a) else _ABSENT, b[i] if i < len(b) else _ABSENT)
                for i in reversed(range(longest))
            )
        elif not _same_atom(a, b):
            found.append(Difference(path, _shown(a), _shown(b)))
    return found


def _shown(value: Any) -> Any:
    return ABSENT if value is _ABSENT else value


def _same_atom(a: Any, b: Any) -> bool:
    if type(a) is not type(b):
        return False
    if type(a) is float:
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b and math.copysign(1.0, a) == math.copysign(1.0, b)
    return bool(a == b)


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")
