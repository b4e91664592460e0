"""A difference told in plain text, both sides beside each other: for tests and logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tandem_orchestrator.model.conflicts import is_absent
from tandem_orchestrator.model.excerpts import excerpt

FIELDS_MAX = 20
CELL_CHARS_MAX = 60
INPUT_CHARS_MAX = 300


# Any below: values of any kind.
def story(
    action: str,
    payload: Any,
    outcomes: Sequence[Mapping[str, Any]],
    fields: Sequence[Mapping[str, Any]],
) -> str:
    """Tell what each side gave on an input, and where they differ.

    Args:
        action: ``agent.action``.
        outcomes: ``{implementation, outcome, output, failure}`` of each side.
        fields: ``{path, left, right}``; empty where they agree.
    """
    names = [str(each["implementation"]) for each in outcomes]
    verb = "differ" if fields else "agree"
    width = max([*map(len, names), len("input")])
    shown = _cell(payload, INPUT_CHARS_MAX)
    lines = [f"{action}: {' and '.join(names)} {verb}", "", f"  {'input':<{width}}  {shown}"]
    for each in outcomes:
        failure = each.get("failure")
        gave = (
            f"{each['outcome']}: {failure.get('type')}: {failure.get('message')}"
            if isinstance(failure, Mapping)
            else _cell(each.get("output"), INPUT_CHARS_MAX)
        )
        lines.append(f"  {each['implementation']:<{width}}  {gave}")
    if fields:
        left, right = (*names, "left", "right")[:2]
        rows = [("where", left, right)]
        rows += [
            (str(f["path"]) or "(whole)", _side(f, "left"), _side(f, "right"))
            for f in fields[:FIELDS_MAX]
        ]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines.append("")
        lines += [
            "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        if len(fields) > FIELDS_MAX:
            lines.append(f"  … and {len(fields) - FIELDS_MAX} more places")
    return "\n".join(lines)


def _side(field: Mapping[str, Any], side: str) -> str:
    return "(absent)" if is_absent(dict(field), side) else _cell(field[side])


def _cell(value: Any, chars_max: int = CELL_CHARS_MAX) -> str:
    return excerpt(value, chars_max)
