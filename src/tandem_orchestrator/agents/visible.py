"""Show text from strangers so that it can only be seen, never act on a terminal or a reader."""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Control, format (direction changes, joiners), surrogate, private, unassigned; line separators."""


def visible(text: str, keep: str = "") -> str:
    """Replace characters that cannot be seen, or that move others, by their ``\\u`` escapes.

    Args:
        text: Anything.
        keep: Characters that stay although they would be replaced, such as ``"\\n\\t"``.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char if char in keep or unicodedata.category(char) not in _HIDDEN else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    number = ord(char)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
