"""A key: one setting's name, meaning, range and sources."""

from __future__ import annotations

import math
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

Counts = Literal["run", "session"]
"""From when a changed value counts: the next run, or the next ``initialize``."""

TRUE_WORDS, FALSE_WORDS = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
LIST_MAX = 64
"""Entries of a setting that is a list."""
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")


@dataclass(frozen=True)
class Key:
    """One setting."""

    section: str
    name: str
    kind: str
    """``bool``, ``int``, ``float``, ``str`` or ``list``, which is of texts and kept as a tuple."""
    # Any: a default is of the key's own kind, or None where it is optional.
    default: Any
    meaning: str
    """For people: one line."""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    """Allowed words, in the case in which they are kept; read in any case."""
    check: Callable[[str], str | None] | None = None
    """For other strings: says what was expected, or None if the value is good."""
    env: str | None = None
    """A variable of its own, beside ``TANDEM_SECTION__KEY``."""
    counts: Counts = "run"
    guarded: bool = False
    """Decides about trust: refused from a file that others may write."""
    from_environment: bool = True
    """False: refused from the environment too, which may tune but never weaken."""
    pending: str = ""
    """The part that this version lacks and that will read the key; empty where one reads it."""

    @property
    def path(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The general environment variable, ``TANDEM_SECTION__NAME``."""
        return f"TANDEM_{self.section.upper()}__{self.name.upper()}"

    @property
    def optional(self) -> bool:
        """Whether null is a value (and the default)."""
        return self.default is None

    @property
    def expected(self) -> str:
        """What a value has to be, for messages and the table."""
        if self.choices:
            text = " | ".join(self.choices)
        elif self.kind == "bool":
            text = "true | false"
        elif self.kind == "str":
            text = "text"
        elif self.kind == "list":
            text = "list of texts"
        else:
            text = "integer" if self.kind == "int" else "number"
            if self.low is not None and self.high is not None:
                text += f" {_number(self.low)} to {_number(self.high)}"
        return f"{text} or null" if self.optional else text

    def read(self, text: str) -> Any:
        """Turn the text of an environment variable or option into a checked value.

        Raises: ValueError saying what was expected.
        """
        text = text.strip()
        if self.optional and text.lower() in ("", "null", "none"):
            return None
        if self.kind == "bool":
            if text.lower() not in TRUE_WORDS + FALSE_WORDS:
                raise ValueError(f"expected {self.expected}")
            return text.lower() in TRUE_WORDS
        if self.kind == "int":
            if not _INTEGER.match(text) or len(text) > 20:
                raise ValueError(f"expected {self.expected}")
            return self.accept(int(text))
        if self.kind == "float":
            try:
                return self.accept(float(text))
            except ValueError:
                raise ValueError(f"expected {self.expected}") from None
        return self.accept(text)

    def accept(self, value: Any) -> Any:
        """Check a typed value and give it in its kept form.

        Raises: ValueError saying what was expected.
        """
        if value is None and self.optional:
            return None
        if self.kind == "list":
            return self._accept_list(value)
        if self.kind == "bool":
            fits = isinstance(value, bool)
        elif self.kind == "str":
            fits = isinstance(value, str) and (bool(value) or "" in self.choices)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            fits = False
        elif self.kind == "int":
            fits = isinstance(value, int) and self._in_range(value)
        else:
            fits = self._in_range(value)  # NaN is in no range
            value = float(value) if fits else value
        if not fits:
            raise ValueError(f"expected {self.expected}")
        if self.choices:
            kept = {choice.lower(): choice for choice in self.choices}.get(value.strip().lower())
            if kept is None:
                raise ValueError(f"expected {self.expected}")
            return kept
        if self.check is not None and (wanted := self.check(value)) is not None:
            raise ValueError(f"expected {wanted}")
        return value

    def _accept_list(self, value: Any) -> tuple[str, ...]:
        """Check each text of a list; one text, as a variable holds it, has colons between them."""
        if isinstance(value, str):
            value = [part for part in value.split(":") if part]
        if not isinstance(value, list | tuple) or len(value) > LIST_MAX:
            raise ValueError(f"expected a {self.expected}, at most {LIST_MAX}")
        for each in value:
            if not isinstance(each, str) or not each:
                raise ValueError(f"expected a {self.expected}; {shown(each)} is none")
            if self.check is not None and (wanted := self.check(each)) is not None:
                raise ValueError(f"expected {wanted} instead of {shown(each)}")
        return tuple(value)

    def _in_range(self, value: float) -> bool:
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return low <= value <= high


def shown(value: object) -> str:
    """Show a value in at most 80 printable characters, whatever it is."""
    try:
        text = reprlib.repr(value)
    except Exception:  # noqa: BLE001 - a foreign repr; the fault it stands in must be told
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else text[:79] + "…"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) and value >= 10_000 else f"{value}"


def key(default: Any, meaning: str, **more: Any) -> Any:
    """Declare a setting as a field of a section's dataclass; ``more`` are ``Key``'s own fields.

    The return type is Any because dataclasses put a Field where the type says int or str.
    """
    return field(default=default, metadata={"meaning": meaning, **more})


def keys_of(section: str, owner: type) -> dict[str, Key]:
    """Read the keys that a section's dataclass declares."""
    found = {}
    for each in fields(owner):
        kind = str(each.type).removesuffix(" | None")
        kind = "list" if kind == "tuple[str, ...]" else kind
        found[each.name] = Key(section, each.name, kind, each.default, **each.metadata)
    return found
