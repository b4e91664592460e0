"""Whether two plain values have the same canonical bytes, without making the bytes.

Canonical bytes are strict MessagePack with the keys of every map sorted (``layers/native/codec.py``
is the reference). Two values have the same ones exactly if they are alike in type and content, all
NaN being one and 0.0 and -0.0 two; a single walk over both finds that out, and allocates nothing
where they are equal. ``same`` is done in C once the C layer has handed its walk over (``use_walk``),
and by the reference below until then; a test holds the two against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Walk = Callable[[Any, Any], "bool | None"]
"""Says whether two values are the same; None: neither is sure to be plain, ask the reference."""


def same_by_reference(left: Any, right: Any) -> bool:
    """Say whether two values have the same canonical bytes; in Python, of any depth."""
    stack = [(left, right)]
    while stack:
        a, b = stack.pop()
        kind = type(a)
        if kind is not type(b):
            return False
        if kind is dict:
            if len(a) != len(b):
                return False
            for key, item in a.items():
                if key not in b:
                    return False
                stack.append((item, b[key]))
        elif kind is list:
            if len(a) != len(b):
                return False
            stack.extend(zip(a, b, strict=True))
        elif not same_atom(a, b):
            return False
    return True


def same_atom(a: Any, b: Any) -> bool:
    """Say whether two values that are no containers are the same."""
    if type(a) is not type(b):
        return False
    if type(a) is float:
        if a != a or b != b:
            return a != a and b != b
        return a == b and (a != 0.0 or str(a) == str(b))
    return bool(a == b)


class _Current:
    """The walk in use; one for the process, since all of them say the same."""

    walk: Walk = staticmethod(same_by_reference)


def use_walk(walk: Walk) -> None:
    """Take a faster walk that says exactly what ``same_by_reference`` says."""
    _Current.walk = staticmethod(walk)


def same(left: Any, right: Any) -> bool:
    """Say whether two values have the same canonical bytes. Linear in the smaller one."""
    said = _Current.walk(left, right)
    return same_by_reference(left, right) if said is None else said
