"""How a value is shown where it differs: whole if small, else in an excerpt that says how large.

What is shown goes into results and journal, once for each difference; the whole of both sides is in
the conflict's capsule.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tandem_orchestrator.model.excerpts import excerpt

SHOWN_BYTES_MAX = 512
"""Encoded size of a value that is shown whole."""
SHOWN_CHARS_MAX = 200
"""Characters of an excerpt."""
_BEFORE = 40
"""Characters of a long text shown before the first that differs."""


def shown(value: Any) -> Any:
    """Give a value, or text about it where it is large; at most ``SHOWN_BYTES_MAX`` encoded."""
    if isinstance(value, str | bytes) and len(value) > SHOWN_CHARS_MAX:
        unit = "characters" if isinstance(value, str) else "bytes"
        return f"{excerpt(value[:SHOWN_CHARS_MAX], SHOWN_CHARS_MAX)} ({len(value)} {unit})"
    if not isinstance(value, dict | list):
        return value
    try:
        size = len(msgspec.msgpack.encode(value))
    except (TypeError, ValueError, OverflowError):
        return excerpt(value, SHOWN_CHARS_MAX)
    if size <= SHOWN_BYTES_MAX:
        return value
    what = "items" if isinstance(value, list) else "keys"
    return f"{excerpt(value, SHOWN_CHARS_MAX)} ({len(value)} {what}, {size} bytes)"


def shown_pair(left: Any, right: Any) -> tuple[Any, Any]:
    """Show both sides of a difference; of long texts the part where they begin to differ."""
    is_text = isinstance(left, str | bytes) and type(left) is type(right)
    if not is_text or max(len(left), len(right)) <= SHOWN_CHARS_MAX:
        return shown(left), shown(right)
    at = _first_difference(left, right)
    start = max(at - _BEFORE, 0)
    return _window(left, start, at), _window(right, start, at)


def _first_difference(left: Any, right: Any) -> int:
    """Find the first position in which two texts differ, by halves."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _window(text: Any, start: int, at: int) -> str:
    unit = "character" if isinstance(text, str) else "byte"
    part = excerpt(text[start : start + 3 * _BEFORE], SHOWN_CHARS_MAX - 20)
    return f"{'…' if start else ''}{part} (differs at {unit} {at} of {len(text)})"
