"""JSON, strictly: no duplicate keys, no NaN or Infinity, depth known before anything is parsed."""

from __future__ import annotations

import re
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.file_limits import (
    FILE_DEPTH_MAX,
    FILE_NODES_MAX,
    NUMBER_CHARS_MAX,
    refuse,
)

# Possessive, and a string that never ends matches up to the end of the text: one pass, whatever
# the text is.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKET = re.compile(r"[^\[\]{}]+")


def parse_json(text: str) -> tuple[Any, list[Fault]]:
    """Read one JSON document.

    Returns: The document, and the faults that did not keep the rest from being read.

    Raises: InvalidCommandSet if it is no JSON, or over a limit.
    """
    import json

    check_nesting(_STRING.sub("", text))
    twice: list[tuple[dict[str, Any], str]] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen = set()
            for key, _ in pairs:
                if key in seen:
                    twice.append((found, key))
                seen.add(key)
        return found

    try:
        document = json.loads(
            text,
            object_pairs_hook=collect,
            parse_constant=_refuse_constant,
            parse_int=_read_integer,
        )
    except json.JSONDecodeError as error:
        refuse(f"not JSON: line {error.lineno}, column {error.colno}: {error.msg}")
    except ValueError as error:
        refuse(f"not JSON: {error}")
    return document, [
        Fault("bad_type", _path_to(document, owner), f"key {key!r:.60} is there twice")
        for owner, key in twice
    ]


def check_nesting(bare: str) -> None:
    """Refuse a text that nests too deep or holds too much, at the speed of a scan.

    Args:
        bare: The text without its strings and comments.

    Raises: InvalidCommandSet.
    """
    if bare.count(",") + bare.count("[") + bare.count("{") > FILE_NODES_MAX:
        refuse(f"more than {FILE_NODES_MAX} values")
    depth = 0
    for bracket in _NOT_BRACKET.sub("", bare):
        if bracket in "[{":
            depth += 1
            if depth > FILE_DEPTH_MAX:
                refuse(f"nested deeper than {FILE_DEPTH_MAX} levels")
        else:
            depth -= 1


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _read_integer(text: str) -> int:
    if len(text) > NUMBER_CHARS_MAX:
        raise ValueError(f"a number of {len(text)} characters")
    return int(text)


def _path_to(document: Any, owner: dict[str, Any]) -> str:
    """Find where an object stands in the document that holds it."""
    stack: list[tuple[str, Any]] = [("", document)]
    while stack:
        path, node = stack.pop()
        if node is owner:
            return path
        if isinstance(node, dict):
            stack.extend((f"{path}.{k}" if path else k, v) for k, v in node.items())
        elif isinstance(node, list):
            stack.extend((f"{path}[{i}]", v) for i, v in enumerate(node))
    return ""  # it stood under a key that was overwritten by its double
