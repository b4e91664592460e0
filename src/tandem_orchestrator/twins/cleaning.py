"""``clean`` hooks: what is taken out of an output before it is compared.

A hook is the user's: it may raise, give another type, or not be there. None of that is a crash; it
is a fault of the side that was cleaned, and the comparison reports it as a difference that names
the hook. Hooks run where an attempt ends, never while a run is decided about: what they gave is
recorded, so that a run that is folded again is judged the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tandem_orchestrator.errors import NotAValue
from tandem_orchestrator.model.callables import find_callable
from tandem_orchestrator.model.comparing import CompareRules, pattern_parts
from tandem_orchestrator.model.values import from_value, to_value
from tandem_orchestrator.twins.pointers import escape

FAULTS_MAX = 16
"""Faults kept of one cleaning; the hooks after them do not run."""
_TEXT_CHARS_MAX = 300


class Cleaned(msgspec.Struct, frozen=True, omit_defaults=True):
    """An output after its hooks."""

    # Any: an output is any value.
    value: Any = None
    faults: dict[str, str] = {}
    """JSON Pointer to a sentence that names the hook and what it did; empty when all went well."""

    @classmethod
    def of(cls, kept: dict[str, Any] | None, output: Any) -> Cleaned:
        """Read what was kept with ``to_value``; of an output without hooks, the output itself."""
        return cls(output) if kept is None else cls(kept["value"], kept.get("faults", {}))

    def to_value(self) -> dict[str, Any]:
        """Give the plain form."""
        return {"value": self.value, "faults": self.faults}


def clean(
    value: Any, rules: CompareRules, table: Mapping[str, Callable[..., Any]] | None = None
) -> Cleaned:
    """Run the hooks of the rules over a copy of an output, the outermost first.

    Args:
        value: A plain value; it is not changed.
        table: Name to callable, for hooks that stand by a name; others are looked up among the
            modules that the program imported.

    Never raises: what a hook raises is a fault.
    """
    cleaning = _Cleaning(table or {})
    if rules.clean is not None:
        value = cleaning.apply(rules.clean, value, "")
    patterns = [(pattern_parts(p), t.clean) for p, t in rules.fields.items() if t.clean is not None]
    for parts, hook in sorted(patterns, key=lambda entry: len(entry[0])):
        value = cleaning.walk(hook, value, parts, "")
    return Cleaned(value, cleaning.faults)


class _Cleaning:
    """The cleaning of one output."""

    def __init__(self, table: Mapping[str, Callable[..., Any]]) -> None:
        self._table = table
        self.faults: dict[str, str] = {}

    def walk(self, hook: Any, value: Any, parts: tuple[str, ...], path: str) -> Any:
        """Apply a hook wherever a pattern matches, copying what is on the way."""
        if path in self.faults or len(self.faults) >= FAULTS_MAX:
            return value
        if not parts:
            return self.apply(hook, value, path)
        part, rest = parts[0], parts[1:]
        if type(value) is dict:
            keys = list(value) if part == "*" else [part] if part in value else []
            changed = {k: self.walk(hook, value[k], rest, f"{path}/{escape(k)}") for k in keys}
            return {**value, **changed} if changed else value
        if type(value) is list:
            indexes = range(len(value)) if part == "*" else _index(part, len(value))
            copy = list(value)
            for i in indexes:
                copy[i] = self.walk(hook, value[i], rest, f"{path}/{i}")
            return copy
        return value

    def apply(self, hook: Any, value: Any, path: str) -> Any:
        """Run one hook on one value."""
        name = hook if isinstance(hook, str) else getattr(hook, "__qualname__", repr(hook))
        try:
            function = self._find(hook)
            result = to_value(function(from_value(value)), where=f"clean hook {name}")
        except _NotHere as error:
            return self._fault(path, f"clean hook {name} is not here: {error}", value)
        except NotAValue as error:
            return self._fault(path, str(error), value)
        except Exception as error:  # noqa: BLE001 - the user's; it becomes a difference
            return self._fault(path, f"clean hook {name} raised {_line(error)}", value)
        if type(result) is not type(value) and not is_stand_in(value):
            kinds = f"gave {type(result).__name__}, expected {type(value).__name__}"
            return self._fault(path, f"clean hook {name} {kinds}", value)
        return result

    def _find(self, hook: Any) -> Callable[..., Any]:
        if not isinstance(hook, str):
            function: Callable[..., Any] = hook
            return function
        if hook in self._table:
            return self._table[hook]
        try:
            return find_callable(hook)
        except LookupError as error:
            raise _NotHere(str(error)) from None

    def _fault(self, path: str, text: str, value: Any) -> Any:
        printable = "".join(c if c.isprintable() else " " for c in text)
        self.faults[path] = printable[:_TEXT_CHARS_MAX]
        return value


class _NotHere(Exception):
    """A hook that no name leads to; apart from a ``LookupError`` that the hook itself raised."""


def is_stand_in(value: Any) -> bool:
    """Say whether a value stands for an object of an action's codec, which a hook is given."""
    return type(value) is dict and value.keys() == {"$codec"}


def _index(part: str, length: int) -> list[int]:
    is_index = part.isascii() and part.isdigit() and len(part) < 12 and str(int(part)) == part
    return [int(part)] if is_index and int(part) < length else []


def _line(error: Exception) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a foreign __str__
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
