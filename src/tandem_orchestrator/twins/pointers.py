"""JSON Pointers (RFC 6901): how a part of a value is named."""

from __future__ import annotations


def escape(token: str) -> str:
    """Write a key so that it can stand in a pointer."""
    return token.replace("~", "~0").replace("/", "~1")


def tokens_of(pointer: str) -> list[str]:
    """Split a pointer into its keys; empty for the whole value."""
    if not pointer:
        return []
    return [t.replace("~1", "/").replace("~0", "~") for t in pointer.split("/")[1:]]
