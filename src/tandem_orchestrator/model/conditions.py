"""Conditions: the ``when`` of a step, as data that is never evaluated as code.

```
{"ref": "scan#/total", "op": "gt", "value": 0}
{"all": [condition, …]}   {"any": [condition, …]}   {"not": condition}
```

``ref`` is a ``Ref``, the text of one, or its ``{"$ref": …}`` form. Without ``op`` it is ``truthy``;
``exists`` and ``truthy`` take no ``value``. ``all`` of nothing is true, ``any`` of nothing false.

| op             | true if                                                                        |
|----------------|--------------------------------------------------------------------------------|
| ``eq``, ``ne`` | the values are equal, not equal; 1 equals 1.0, true does not equal 1           |
| ``lt le gt ge``| both are numbers, both strings or both bytes, and in that order                |
| ``in``         | ``value``, a list, holds an equal item; or, a string, the referred-to text     |
| ``contains``   | the list referred to holds an item equal to ``value``; the text this text; the |
|                | object this key                                                                |
| ``exists``     | the reference leads to something (null included), or has a default             |
| ``truthy``     | it is not null, false, 0, NaN, or empty                                        |

Unlike types compare as false, ``ne`` as true. A reference that leads to nothing and has no default
makes a comparison false as well, ``ne`` true; ``not`` of it follows from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.excerpts import excerpt, word
from tandem_orchestrator.model.refs import Missing, Ref, as_ref
from tandem_orchestrator.model.shapes import same

OPERATORS = ("eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "exists", "truthy")
"""Every operator; the last two take no ``value``."""
_UNARY = ("exists", "truthy")
_GROUPS = ("all", "any", "not")
_KEYS = ("ref", "op", "value", *_GROUPS)

DEPTH_MAX = 32
"""Groups within groups."""


def check_condition(condition: Any, path: str = "when") -> list[Fault]:
    """List everything that is wrong with a condition; an empty list means it can be used.

    Args:
        condition: What a user gave as ``when``.
        path: Where it stands in the document, for the faults.
    """
    faults: list[Fault] = []
    stack: list[tuple[Any, str, int]] = [(condition, path, 0)]
    while stack:
        node, where, depth = stack.pop()
        if depth > DEPTH_MAX:
            faults.append(_fault(where, f"a condition nested deeper than {DEPTH_MAX} levels", None))
        elif not isinstance(node, dict):
            message = f"{excerpt(node)}, expected a condition such as {{ref, op, value}}"
            faults.append(_fault(where, message, node))
        else:
            faults.extend(_check_node(node, where))
            stack.extend((sub, at, depth + 1) for sub, at in _below(node, where))
    return faults


def refs_in(condition: Any) -> list[Ref]:
    """List the references of a condition in reading order; malformed ones are left out."""
    found: list[Ref] = []
    stack: list[tuple[Any, int]] = [(condition, 0)]
    while stack:
        node, depth = stack.pop()
        if not isinstance(node, dict) or depth > DEPTH_MAX:
            continue
        if "ref" in node:
            ref = _try_ref(node["ref"])
            if isinstance(ref, Ref):
                found.append(ref)
        stack.extend((sub, depth + 1) for sub, _ in reversed(list(_below(node, ""))))
    return found


def holds(condition: dict[str, Any], look_up: Callable[[Ref], Any]) -> bool:
    """Say whether a well-formed condition is true.

    Args:
        condition: A condition that ``check_condition`` found nothing wrong with.
        look_up: Gives the value a reference leads to, or raises ``refs.Missing``; a reference's
            own default is applied here.
    """
    if "all" in condition:
        return all(holds(sub, look_up) for sub in condition["all"])
    if "any" in condition:
        return any(holds(sub, look_up) for sub in condition["any"])
    if "not" in condition:
        return not holds(condition["not"], look_up)
    ref = _to_ref(condition["ref"])
    operator = condition.get("op", "truthy")
    try:
        found = look_up(ref)
    except Missing:
        if not ref.has_default:
            return bool(operator == "ne")
        found = ref.default
    return _compare(operator, found, condition.get("value"))


def plain_condition(condition: Any) -> Any:
    """Copy a well-formed condition with every ``ref`` in its text or ``$ref`` form."""
    if "ref" in condition:
        ref = _to_ref(condition["ref"])
        return {**condition, "ref": ref.to_value() if ref.has_default else str(ref)}
    return {
        key: plain_condition(sub) if key == "not" else [plain_condition(c) for c in sub]
        for key, sub in condition.items()
    }


def _fault(path: str, message: str, value: Any, near: tuple[str, ...] = ()) -> Fault:
    return Fault("bad_type", path, message, value, near)


def _to_ref(given: Any) -> Ref:
    """Read a condition's reference.

    Raises: ValueError if it is not one.
    """
    ref = Ref.parse(given) if isinstance(given, str) else as_ref(given)
    if ref is None:
        raise ValueError(
            f"reference {excerpt(given)}: expected 'step#/path', a Ref or {{'$ref': …}}"
        )
    return ref


def _try_ref(given: Any, *, strict: bool = False) -> Ref | ValueError:
    """Read a reference, or give the error; ``strict``: a plain text is none."""
    try:
        return _to_ref(None if strict and isinstance(given, str) else given)
    except ValueError as error:
        return error


def _check_node(node: dict[Any, Any], where: str) -> Iterator[Fault]:
    for key in node:
        if key not in _KEYS:
            message = f"unknown key {excerpt(key)}, expected {', '.join(_KEYS)}"
            yield _fault(f"{where}.{key}", message, key, nearest(word(key), _KEYS))
    kinds = [key for key in ("ref", *_GROUPS) if key in node]
    if len(kinds) != 1:
        message = f"expected exactly one of ref, all, any, not; got {', '.join(kinds) or 'none'}"
        yield _fault(where, message, node)
        return
    if kinds[0] != "ref":
        for key in ("op", "value"):
            if key in node:
                yield _fault(f"{where}.{key}", f"{key!r} belongs beside 'ref'", node[key])
        if kinds[0] != "not" and not isinstance(node[kinds[0]], list | tuple):
            message = f"{excerpt(node[kinds[0]])}, expected a list of conditions"
            yield _fault(f"{where}.{kinds[0]}", message, node[kinds[0]])
        return
    ref = _try_ref(node["ref"])
    if isinstance(ref, ValueError):
        yield Fault("bad_reference", f"{where}.ref", str(ref), node["ref"])
    operator = node.get("op", "truthy")
    if not isinstance(operator, str) or operator not in OPERATORS:
        message = f"{excerpt(operator)}, expected one of {', '.join(OPERATORS)}"
        yield _fault(f"{where}.op", message, operator, nearest(word(operator), OPERATORS))
    elif operator in _UNARY and "value" in node:
        yield _fault(f"{where}.value", f"{operator!r} takes no value", node["value"])
    elif operator not in _UNARY and "value" not in node:
        yield _fault(where, f"{operator!r} needs a value", node)
    elif operator not in _UNARY and not isinstance(
        _try_ref(node["value"], strict=True), ValueError
    ):
        message = "a reference; a condition compares one with a plain value"
        yield Fault("bad_reference", f"{where}.value", message, node["value"])
    elif operator == "in" and not isinstance(node["value"], list | tuple | str):
        message = f"{excerpt(node['value'])}, expected a list or a string to look in"
        yield _fault(f"{where}.value", message, node["value"])


def _below(node: dict[Any, Any], where: str) -> Iterator[tuple[Any, str]]:
    for key in ("all", "any"):
        if isinstance(node.get(key), list | tuple):
            yield from ((sub, f"{where}.{key}[{i}]") for i, sub in enumerate(node[key]))
    if "not" in node:
        yield node["not"], f"{where}.not"


def _compare(operator: str, found: Any, value: Any) -> bool:
    match operator:
        case "exists":
            return True
        case "truthy":
            return bool(found) and found == found
        case "eq":
            return same(found, value)
        case "ne":
            return not same(found, value)
        case "in":
            return _contains(value, found)
        case "contains":
            return _has_key(found, value) if isinstance(found, dict) else _contains(found, value)
        case _:
            return _in_order(operator, found, value)


def _has_key(found: dict[str, Any], value: Any) -> bool:
    """Say whether an object has a key; anything but a string is none."""
    return isinstance(value, str) and value in found


def _contains(held_by: Any, item: Any) -> bool:
    if isinstance(held_by, str) and isinstance(item, str):
        return item in held_by
    if isinstance(held_by, bytes) and isinstance(item, bytes):
        return item in held_by
    return isinstance(held_by, list | tuple) and any(same(held, item) for held in held_by)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _in_order(operator: str, left: Any, right: Any) -> bool:
    alike = (
        (_is_number(left) and _is_number(right))
        or (isinstance(left, str) and isinstance(right, str))
        or (isinstance(left, bytes) and isinstance(right, bytes))
    )
    if not alike:
        return False
    if operator == "lt":
        return bool(left < right)
    if operator == "le":
        return bool(left <= right)
    if operator == "gt":
        return bool(left > right)
    return bool(left >= right)
