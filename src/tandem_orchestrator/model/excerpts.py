"""Excerpts: any object shown in a few characters, for messages about what was wrong with it."""

from __future__ import annotations

import reprlib

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 2, 60, 60


def excerpt(value: object, chars_max: int = 60) -> str:
    """Show an object in at most ``chars_max`` printable characters, whatever it is.

    Args:
        value: Anything, also of a class whose ``repr`` raises, or an int of a million digits.
        chars_max: Characters; more are cut off and replaced by ``…``.
    """
    if isinstance(value, type):
        text = f"type {value.__name__}"
    else:
        try:
            text = _short.repr(value)
        except Exception:  # noqa: BLE001 - a foreign repr; the fault it stands in must be told
            text = f"<{type(value).__name__}>"
    if not text.isprintable():
        text = ascii(text)[1:-1]
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def word(value: object) -> str:
    """Give the text to look for near words with: a str cut to 80 characters; else an excerpt."""
    return value.strip()[:80] if isinstance(value, str) else excerpt(value)
