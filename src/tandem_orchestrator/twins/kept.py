"""Values as a capsule keeps them: copied whole, or in their place what can be said of them."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tandem_orchestrator.model.values import DEPTH_MAX, INT_MAX, INT_MIN
from tandem_orchestrator.twins.pointers import escape, tokens_of

TEXT_CHARS_MAX = 512
"""What is left of a text in what was cut."""
SIDE_BYTES_MAX = 4096
"""One side of a differing place; a larger one is to be found in the output."""
NODES_MAX = 500_000
"""Containers of one value that are copied; beyond it their types are all that is kept."""
CUT_MAX = 100
"""Places that a capsule lists of what was cut."""

_ATOMS = (type(None), bool, int, float, str, bytes)
_PLAIN = frozenset({float, bool, type(None)})
_encoder = msgspec.msgpack.Encoder()


# Any below: values of any kind, also such as are none.
def fitting(value: Any, path: str, odd: list[str], bytes_max: int) -> Any:
    """Copy a value; of one that could not be kept anyhow nothing is looked at but its size."""
    try:
        encoded = value if isinstance(value, bytes) else _encoder.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):  # Not a value: part by part.
        return kept(value, path, odd)
    if len(encoded) <= bytes_max:
        return kept(value, path, odd)
    odd.append(path)
    digest = hashlib.sha256(encoded).hexdigest()
    return {"cut": {"type": type(value).__name__, "bytes": len(encoded), "sha256": digest}}


def kept(value: Any, path: str, odd: list[str]) -> Any:
    """Copy a value; what is none (``transient`` objects) leaves its type's name, and is noted."""
    return _copied(value, tokens_of(path), odd, [NODES_MAX])


def _copied(value: Any, tokens: list[str], odd: list[str], left: list[int]) -> Any:
    if isinstance(value, str) and not value.isascii():
        return value.encode(errors="replace").decode()
    if isinstance(value, _ATOMS) and not (type(value) is int and not INT_MIN <= value <= INT_MAX):
        return value
    left[0] -= 1
    if left[0] >= 0 and len(tokens) <= DEPTH_MAX + 4:
        if isinstance(value, dict):
            copy = {}
            for key, part in value.items():
                tokens.append(str(key))
                copy[str(key)] = _copied(part, tokens, odd, left)
                tokens.pop()
            return copy
        if isinstance(value, list | tuple):
            if _PLAIN.issuperset(map(type, value)):
                return list(value)
            items = []
            for i, part in enumerate(value):
                tokens.append(str(i))
                items.append(_copied(part, tokens, odd, left))
                tokens.pop()
            return items
    if len(odd) < CUT_MAX:
        odd.append("".join([f"/{escape(token)}" for token in tokens]))
    return f"<not kept: {type(value).__name__}>"


def kept_side(value: Any, path: str, odd: list[str]) -> Any:
    """Copy one side of a difference; a large one stands in the outputs, and is only named here."""
    copy = kept(value, path, odd)
    size = encoded_bytes(copy)
    if size <= SIDE_BYTES_MAX:
        return copy
    odd.append(path)
    return {"cut": {"type": type(value).__name__, "bytes": size}}


def encoded_bytes(value: Any) -> int:
    """Give the size of a value as events hold it."""
    return len(_encoder.encode(value))


def stub(value: Any) -> Any:
    """Leave of a large value its size, its digest and how it begins; a small one whole."""
    encoded = _encoder.encode(value)
    if len(encoded) <= 128:
        return value
    left = {
        "type": type(value).__name__,
        "bytes": len(encoded),
        "sha256": hashlib.sha256(encoded).hexdigest(),
    }
    if isinstance(value, str | bytes):
        left["begins"] = value[:TEXT_CHARS_MAX]
    return {"cut": left}
