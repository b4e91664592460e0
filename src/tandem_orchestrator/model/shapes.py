"""Shapes: what ``expected_output`` says about an output, in a subset of JSON Schema.

| keyword                                                                   | about          |
|---------------------------------------------------------------------------|----------------|
| ``type`` (a name or a list of names), ``enum``, ``const``                 | any value      |
| ``anyOf``, ``allOf``, ``not``                                             | any value      |
| ``properties``, ``required``, ``additionalProperties``                    | objects        |
| ``items``, ``minItems``, ``maxItems``, ``uniqueItems``                    | arrays         |
| ``minLength``, ``maxLength``                                              | strings, bytes |
| ``minimum``, ``maximum``, ``exclusiveMinimum``, ``exclusiveMaximum``      | numbers        |
| ``title, description, default, examples, $schema, $comment, $id``         | people; ignored|

Type names: ``null boolean integer number string bytes array object buffer``; Python's ``None bool
int float str list dict`` mean the same (``float`` is ``number``). An integer is an int, so 1.0 is
none, and a bool is no number. A ``buffer`` is what a NumPy array travels as.

Short forms: wherever a shape may stand, a type name may (``{"items": "string"}``); and a dict
without any keyword whose values are all type names lists the keys an object must have, so
``{"files": "array", "total": "integer"}`` is an object with these two, others allowed. ``True``
fits everything, ``False`` nothing.

There is no ``pattern``: a backtracking matcher can be made to take for ever, and no reference
(``$ref``): a shape is a tree. Checking costs time linear in value times shape, nothing more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.excerpts import excerpt, word

DEPTH_MAX = 32
"""Shapes within shapes."""

TYPE_NAMES = (
    "null", "boolean", "integer", "number", "string", "bytes", "array", "object", "buffer",
)  # fmt: skip
_ALIASES = {
    "None": "null", "bool": "boolean", "int": "integer", "float": "number", "str": "string",
    "list": "array", "dict": "object",
} | {name: name for name in TYPE_NAMES}  # fmt: skip

ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "$schema", "$comment", "$id"}
)
"""Keywords for people, which check nothing."""
_LEFT_OUT = {
    "pattern": "regular expressions are not checked here; use validation_fn",
    "patternProperties": "regular expressions are not checked here; use validation_fn",
    "format": "formats are not checked here; use validation_fn",
    "$ref": "a shape is a tree, without references",
    "oneOf": "use anyOf",
}


def check_shape(shape: Any, path: str = "expected_output") -> list[Fault]:
    """List everything that is wrong with a shape itself; an empty list means it can be used.

    Args:
        shape: What a user gave as ``expected_output``.
        path: Where it stands in the document, for the faults.
    """
    faults: list[Fault] = []
    stack: list[tuple[Any, str, int]] = [(shape, path, 0)]
    while stack:
        node, where, depth = stack.pop()
        if depth > DEPTH_MAX:
            faults.append(_fault(where, f"a shape nested deeper than {DEPTH_MAX} levels", None))
        elif isinstance(node, bool):
            continue
        elif isinstance(node, str):
            faults.extend(_check_types(node, where))
        elif not isinstance(node, dict):
            message = f"{excerpt(node)}, expected a shape: a dict, a type name, or true"
            faults.append(_fault(where, message, node))
        elif not _is_short(node):
            for key, given in node.items():
                at = f"{where}.{key}"
                faults.extend(_check_keyword(key, given, at, where))
                stack.extend((sub, sub_at, depth + 1) for sub, sub_at in _below(key, given, at))
    return faults


def mismatch(shape: Any, value: Any, path: str = "output") -> str | None:
    """Say how a value differs from a well-formed shape, or None if it fits.

    Args:
        shape: A shape that ``check_shape`` found nothing wrong with.
        value: A value (``values.py``).
        path: What to call the value in the answer.

    Returns: One printable line naming the path, what was found and what was expected.
    """
    if isinstance(shape, bool):
        return None if shape else f"{path}: found {_show(value)}, expected nothing at all"
    if isinstance(value, dict) and value.keys() == {"$literal"}:
        value = value["$literal"]
    if isinstance(shape, str):
        shape = {"type": shape}
    elif _is_short(shape):
        shape = {"type": "object", "properties": shape, "required": list(shape)}
    for keyword, expected in shape.items():
        check = _CHECKS.get(keyword)
        if check is not None:
            answer = check(expected, value, path, shape)
            if answer is not None:
                return answer
    return None


# --- the shape itself ------------------------------------------------------------------------


def _is_short(shape: dict[Any, Any]) -> bool:
    """Whether a dict is the short form: keys that are no keywords, values that name types."""
    return bool(shape) and all(
        key not in _KEYWORDS and isinstance(name, str) and name in _ALIASES
        for key, name in shape.items()
    )


def _fault(path: str, message: str, value: Any, near: tuple[str, ...] = ()) -> Fault:
    return Fault("bad_type", path, message, value, near)


def _check_types(given: Any, path: str) -> Iterator[Fault]:
    names = given if isinstance(given, list | tuple) else [given]
    if not names:
        yield _fault(path, "an empty list of types fits nothing", given)
    for name in names:
        if not isinstance(name, str) or name not in _ALIASES:
            message = f"{excerpt(name)} is no type, expected {', '.join(TYPE_NAMES)}"
            yield _fault(path, message, name, nearest(word(name), _ALIASES))


def _check_keyword(key: Any, given: Any, at: str, where: str) -> Iterator[Fault]:
    if key in _LEFT_OUT:
        yield _fault(at, f"keyword {key!r}: {_LEFT_OUT[key]}", given)
    elif key not in _KEYWORDS:
        message = (
            f"{key!r} is no keyword; name an object's keys under 'properties', or give only "
            "keys with the names of their types"
        )
        yield _fault(where, message, key, nearest(word(key), _KEYWORDS))
    elif key == "type":
        yield from _check_types(given, at)
    elif key in _SIZES:
        if isinstance(given, bool) or not isinstance(given, int) or given < 0:
            yield _fault(at, f"{excerpt(given)}, expected a count of 0 or more", given)
    elif key in _LIMITS:
        if not _is_number(given) or math.isnan(given):
            yield _fault(at, f"{excerpt(given)}, expected a number", given)
    elif key == "uniqueItems":
        if not isinstance(given, bool):
            yield _fault(at, f"{excerpt(given)}, expected true or false", given)
    elif key == "required":
        if not isinstance(given, list | tuple) or not all(isinstance(k, str) for k in given):
            yield _fault(at, f"{excerpt(given)}, expected a list of keys", given)
    elif key == "enum":
        if not isinstance(given, list | tuple) or not given:
            yield _fault(at, f"{excerpt(given)}, expected a list of values", given)
    elif key == "properties":
        if not isinstance(given, dict) or not all(isinstance(k, str) for k in given):
            yield _fault(at, f"{excerpt(given)}, expected a dict of shapes", given)
    elif key in ("anyOf", "allOf") and not (isinstance(given, list | tuple) and given):
        yield _fault(at, f"{excerpt(given)}, expected a list of shapes", given)


def _below(key: Any, given: Any, at: str) -> Iterator[tuple[Any, str]]:
    """List the shapes that stand directly under a keyword, each with its path."""
    if key in ("items", "additionalProperties", "not"):
        yield given, at
    elif key == "properties" and isinstance(given, dict):
        yield from ((sub, f"{at}.{name}") for name, sub in given.items())
    elif key in ("anyOf", "allOf") and isinstance(given, list | tuple):
        yield from ((sub, f"{at}[{i}]") for i, sub in enumerate(given))


# --- a value against a shape -----------------------------------------------------------------


def type_of(value: Any) -> str:
    """Name the type of a value, one of ``TYPE_NAMES``."""
    if isinstance(value, dict):
        return "buffer" if value.keys() == {"$buffer"} else "object"
    return _NAMES.get(type(value), type(value).__name__)


_NAMES: dict[type, str] = {
    type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string",
    bytes: "bytes", list: "array", tuple: "array",
}  # fmt: skip


def same(left: Any, right: Any) -> bool:
    """Say whether two values are equal, as values: 1 is 1.0 but not true, NaN is NaN."""
    return bool(_key(left) == _key(right))


# Any: a hashable stand-in, equal exactly where the values are.
def _key(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str | bytes):
        return (type(value), value)
    if isinstance(value, int | float):
        return "nan" if value != value else (float, value)
    if isinstance(value, dict):
        return (dict, frozenset((key, _key(item)) for key, item in value.items()))
    if isinstance(value, list | tuple):
        return (list, tuple(_key(item) for item in value))
    return (type(value), id(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _show(value: Any) -> str:
    """Show a value in a few printable characters, whatever its size."""
    kind = type_of(value)
    if kind == "array":
        return f"an array of {len(value)}"
    if kind == "object":
        return f"an object of {len(value)}"
    if kind == "buffer":
        return "a buffer"
    if kind == "null":
        return "null"
    if kind == "boolean":
        return str(value).lower()
    text = repr(value[:40] if isinstance(value, str | bytes) else value)
    more = "…" if isinstance(value, str | bytes) and len(value) > 40 else ""
    return f"{kind} {text}{more}"


def _differs(path: str, value: Any, expected: str) -> str:
    return f"{path}: found {_show(value)}, expected {expected}"


def _step_into(path: str, key: str) -> str:
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{key[:60]!r}]"


def _type(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    names = [_ALIASES[name] for name in ([expected] if isinstance(expected, str) else expected)]
    kind = type_of(value)
    if kind in names or (kind == "integer" and "number" in names):
        return None
    return _differs(path, value, " or ".join(names))


def _enum(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    if _key(value) in {_key(allowed) for allowed in expected}:
        return None
    shown = ", ".join(_show(allowed) for allowed in expected[:8])
    more = ", …" if len(expected) > 8 else ""
    return _differs(path, value, f"one of {shown}{more}")


def _const(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    return None if same(expected, value) else _differs(path, value, _show(expected))


def _any_of(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    answers = []
    for sub in expected:
        answer = mismatch(sub, value, path)
        if answer is None:
            return None
        answers.append(answer)
    if len(answers) == 1:
        return answers[0]
    return _differs(path, value, f"to fit one of {len(answers)} shapes (the first: {answers[0]})")


def _all_of(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    return next((a for sub in expected if (a := mismatch(sub, value, path)) is not None), None)


def _not(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    if mismatch(expected, value, path) is not None:
        return None
    return _differs(path, value, "a value that does not fit the shape under 'not'")


def _properties(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    if type_of(value) != "object":
        return None
    for key, sub in expected.items():
        if key in value:
            answer = mismatch(sub, value[key], _step_into(path, key))
            if answer is not None:
                return answer
    return None


def _required(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    if type_of(value) != "object":
        return None
    for key in expected:
        if key not in value:
            return _differs(path, value, f"the key {key[:60]!r}")
    return None


def _additional(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    if expected is True or type_of(value) != "object":
        return None
    known = shape.get("properties", {})
    for key, item in value.items():
        if key in known:
            continue
        if expected is False:
            return _differs(path, value, f"no key {key[:60]!r}")
        answer = mismatch(expected, item, _step_into(path, key))
        if answer is not None:
            return answer
    return None


def _items(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    if type_of(value) != "array":
        return None
    for i, item in enumerate(value):
        answer = mismatch(expected, item, f"{path}[{i}]")
        if answer is not None:
            return answer
    return None


def _unique(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
    if not expected or type_of(value) != "array":
        return None
    seen: dict[Any, int] = {}
    for i, item in enumerate(value):
        first = seen.setdefault(_key(item), i)
        if first != i:
            return _differs(f"{path}[{i}]", item, f"other items than {path}[{first}]")
    return None


_Check = Callable[[Any, Any, str, dict[str, Any]], str | None]


def _size(kinds: tuple[str, ...], unit: str, at_least: bool) -> _Check:
    def check(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
        if type_of(value) not in kinds:
            return None
        if (len(value) >= expected) if at_least else (len(value) <= expected):
            return None
        bound = "at least" if at_least else "at most"
        return f"{path}: found {len(value)} {unit}, expected {bound} {expected}"

    return check


def _limit(fits: Callable[[Any, Any], bool], words: str) -> _Check:
    def check(expected: Any, value: Any, path: str, shape: dict[str, Any]) -> str | None:
        # NaN fits no limit: every comparison with it is false.
        if not _is_number(value) or fits(value, expected):
            return None
        return _differs(path, value, f"{words} {expected}")

    return check


_SIZES = ("minLength", "maxLength", "minItems", "maxItems")
_LIMITS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")

_CHECKS: dict[str, _Check] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "minItems": _size(("array",), "items", at_least=True),
    "maxItems": _size(("array",), "items", at_least=False),
    "uniqueItems": _unique,
    "minLength": _size(("string", "bytes"), "characters or bytes", at_least=True),
    "maxLength": _size(("string", "bytes"), "characters or bytes", at_least=False),
    "minimum": _limit(lambda value, bound: bool(value >= bound), "at least"),
    "maximum": _limit(lambda value, bound: bool(value <= bound), "at most"),
    "exclusiveMinimum": _limit(lambda value, bound: bool(value > bound), "more than"),
    "exclusiveMaximum": _limit(lambda value, bound: bool(value < bound), "less than"),
    "anyOf": _any_of,
    "allOf": _all_of,
    "not": _not,
}
_KEYWORDS = frozenset(_CHECKS) | ANNOTATIONS
