"""Capsules as JSON files: readable, exact, and the same text for the same capsule.

JSON has no bytes, NaN or infinities. They are written as objects with one key, ``$bytes`` (base64)
and ``$float``; an object that looks like one of those is wrapped in ``$object``.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from tandem_orchestrator.errors import CapsuleError
from tandem_orchestrator.model.values import DEPTH_MAX
from tandem_orchestrator.twins.capsule import Capsule

SUFFIX = ".capsule.json"
"""How the name of such a file ends."""
FORMAT = 1
FILE_BYTES_MAX = 256 * 2**20
_MARKS = ("$bytes", "$float", "$object")


def capsule_to_text(capsule: Capsule, modules: tuple[str, ...] = ()) -> str:
    """Write a capsule; ``modules`` are those that offer its agent when they are imported."""
    document = {
        "tandem_capsule": FORMAT,
        "modules": list(modules),
        "capsule": _plain(capsule.to_value()),
    }
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def capsule_from_text(text: str) -> tuple[Capsule, tuple[str, ...]]:
    """Read a capsule and its modules.

    Raises: CapsuleError naming what does not fit.
    """
    if len(text) > FILE_BYTES_MAX:
        raise CapsuleError(f"a capsule file of {len(text)} characters, at most {FILE_BYTES_MAX}")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CapsuleError(f"this is no capsule file: not JSON ({error})") from error
    if not isinstance(document, dict) or "tandem_capsule" not in document:
        raise CapsuleError("this is no capsule file: it has no key 'tandem_capsule'")
    if document["tandem_capsule"] != FORMAT:
        raise CapsuleError(
            f"a capsule file of format {document['tandem_capsule']!r}; this Tandem reads {FORMAT}"
        )
    modules = document.get("modules", [])
    if not isinstance(modules, list) or not all(isinstance(name, str) for name in modules):
        raise CapsuleError("capsule file: 'modules' must be a list of names")
    return Capsule.from_value(_value(document.get("capsule"), 0)), tuple(modules)


# Any below: values of any kind.
def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": repr(value)}
    if isinstance(value, dict):
        inner = {key: _plain(part) for key, part in value.items()}
        looks_like_a_mark = len(value) == 1 and next(iter(value)) in _MARKS
        return {"$object": inner} if looks_like_a_mark else inner
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def _value(plain: Any, depth: int) -> Any:
    if depth > 2 * DEPTH_MAX + 8:
        raise CapsuleError("capsule file: nested too deep")
    if isinstance(plain, list):
        return [_value(part, depth + 1) for part in plain]
    if not isinstance(plain, dict):
        return plain
    if len(plain) == 1:
        key, inner = next(iter(plain.items()))
        if key == "$object" and isinstance(inner, dict):
            return {name: _value(part, depth + 1) for name, part in inner.items()}
        if key == "$float" and inner in ("nan", "inf", "-inf"):
            return float(inner)
        if key == "$bytes" and isinstance(inner, str):
            try:
                return base64.b64decode(inner, validate=True)
            except ValueError as error:
                raise CapsuleError(f"capsule file: $bytes is not base64: {error}") from error
        if key in _MARKS:
            raise CapsuleError(f"capsule file: {key} holds {inner!r:.40}")
    return {name: _value(part, depth + 1) for name, part in plain.items()}
