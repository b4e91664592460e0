"""Check the payload of an action: known keys only, each of its type, the first fault raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# Any: what a caller sent, of any type until it is checked.
Reader = Callable[[str, Any], Any]
"""Gets the field's name and value; gives the checked value or raises TypeError or ValueError."""

SHOWN_CHARS_MAX = 64


def read_payload(payload: object, readers: Mapping[str, Reader]) -> dict[str, Any]:
    """Check a payload and give its fields, as far as they are there.

    Args:
        payload: A dict, or None for an empty one.
        readers: Field name to the reader of its value.

    Raises:
        TypeError: It, or a value in it, has the wrong type.
        ValueError: An unknown key, or a value out of its range.
    """
    if payload is None:
        return {}
    if not isinstance(payload, Mapping):
        raise TypeError("payload: must be a dict")
    fields = {}
    for key, value in payload.items():
        if key not in readers:
            known = ", ".join(sorted(readers)) or "no key at all"
            raise ValueError(f"payload: unknown key '{shown(key)}', must be one of {known}")
        fields[key] = readers[key](f"payload.{key}", value)
    return fields


def shown(value: object) -> str:
    """Give text fit for one line of an error: printable, at most 64 characters."""
    text = str(value)
    clean = "".join(char if char.isprintable() else "?" for char in text[:SHOWN_CHARS_MAX])
    return clean + ("..." if len(text) > SHOWN_CHARS_MAX else "")


def read_bool(name: str, value: object) -> bool:
    """Read true or false."""
    if type(value) is not bool:
        raise TypeError(f"{name}: must be a bool")
    return value


def read_str(name: str, value: object) -> str:
    """Read text of any length."""
    if type(value) is not str:
        raise TypeError(f"{name}: must be a str")
    return value


def read_dict(name: str, value: object) -> dict[str, Any]:
    """Read a dict with any keys."""
    if not isinstance(value, dict):
        raise TypeError(f"{name}: must be a dict")
    return value


def read_absolute_path(name: str, value: object) -> str:
    """Read an absolute path; a relative one could mean another place in another process."""
    path = read_str(name, value)
    if "\0" in path:
        raise ValueError(f"{name}: must not hold a NUL")
    if not path.startswith("/"):
        raise ValueError(f"{name}='{shown(path)}': must be an absolute path")
    return path


def one_of(*words: str) -> Reader:
    """Make a reader that takes one of some words."""

    def read(name: str, value: object) -> str:
        word = read_str(name, value)
        if word not in words:
            raise ValueError(f"{name}='{shown(word)}': must be one of {', '.join(words)}")
        return word

    return read
