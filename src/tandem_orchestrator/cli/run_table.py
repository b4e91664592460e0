"""A run's result for people: the table of its steps, what it gave, and where it stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from textwrap import fill
from typing import Any

from tandem_orchestrator.cli.output import (
    print_table,
    print_text,
    show_seconds,
    show_took,
    table_width,
    to_json,
    visible,
)
from tandem_orchestrator.model.conflicts import is_absent
from tandem_orchestrator.model.plans import PlannedStep

OUTPUTS_MAX = 5
"""Outputs that are shown; ``--json`` shows all."""
RESULT_LINES_MAX = 40
"""Lines of one step's output that are shown; ``--json`` shows all."""


CONFLICTS_MAX = 20
"""Conflicts that are shown; ``--json`` shows all."""
WIDE_CHARS = 100
"""On a line shorter than this, reasons stand below the table and a number in it."""


# Any: the result as API pins it.
def print_result(result: dict[str, Any], last: Collection[str]) -> None:
    """Print a result on stdout.

    Args:
        last: Ids of the steps that no other step depends on; only their outputs are shown.
    """
    for step_id, output in _outputs(result, last).items():
        lines = [visible(line) for line in to_json(output).splitlines()]
        if len(lines) > RESULT_LINES_MAX:
            cut = len(lines) - RESULT_LINES_MAX
            lines = [*lines[:RESULT_LINES_MAX], f"… {cut} more lines; --json shows all"]
        print_text(f"{visible(step_id)} gave:")
        print_text("\n".join(f"  {line}" for line in lines))
    print_text("")
    _print_steps(result["steps"], result["duration"])
    print_text("")
    for note in result["notes"]:
        print_text(f"note: {visible(note)}")
    if "consensus_achieved" in result:
        verdict = "agree" if result["consensus_achieved"] else "do not agree"
        print_text(f"the implementations {verdict}; conflicts: {len(result['conflicts'])}")
        for conflict in result["conflicts"][:CONFLICTS_MAX]:
            print_text(f"  {visible(_conflict(conflict))}")
    took = f" in {show_seconds(result['duration'])}" if result["duration"] is not None else ""
    error = f": {visible(result['error'])}" if result["error"] else ""
    print_text(f"{visible(result['name'] or 'run')} {result['status']}{took}{error}")
    print_text(f"run {result['run_id']}, durability {result['durability']}")


def _print_steps(steps: dict[str, dict[str, Any]], duration: float | None) -> None:
    """Print the table; on a narrow line each reason once below it."""
    remarks = {step_id: _remark(step) for step_id, step in steps.items()}
    numbers: dict[str, int] = {}
    if table_width() < WIDE_CHARS:
        for remark in filter(None, remarks.values()):
            numbers.setdefault(remark, len(numbers) + 1)
    rows = [
        (
            step_id,
            step["outcome"],
            step["layer"] or "",
            show_took(step["seconds"], step["attempts"], duration) if step["attempts"] else "",
            step["attempts"],
            numbers.get(remarks[step_id], remarks[step_id]),
        )
        for step_id, step in steps.items()
    ]
    columns = ("step", "outcome", "layer", "time", "attempts", "reason")
    print_table(columns, rows, folds=("step", "reason"))
    for remark, number in numbers.items():
        lead = f"  reason {number}: "
        print_text(
            fill(visible(remark), table_width() - 1, initial_indent=lead, subsequent_indent="    ")
        )


def last_steps(steps: Iterable[PlannedStep]) -> frozenset[str]:
    """Give the ids of the outermost steps that no other step depends on."""
    outer = [step for step in steps if not step.parent]
    needed = {other for step in outer for other in step.depends_on}
    return frozenset(step.id for step in outer if step.id not in needed)


def _outputs(result: dict[str, Any], last: Collection[str]) -> dict[str, Any]:
    """Give the outputs worth showing: the last steps' are what a person asked for."""
    results = result["results"]
    if not isinstance(results, dict):
        return {"the handler": results} if results is not None else {}
    if not result["steps"].keys() >= results.keys():
        return {"the handler": results}
    shown = {key: value for key, value in results.items() if key in last and value is not None}
    return dict(list(shown.items())[:OUTPUTS_MAX])


def _conflict(conflict: dict[str, Any]) -> str:
    """Say in one line where twins differ and whose output was taken."""
    item = "" if conflict["item"] is None else f" item {conflict['item']}"
    left, right = conflict["implementations"][0], conflict["implementations"][-1]
    places = [
        f"{field['path'] or 'the whole value'}: {left} {_side(field, 'left')}, "
        f"{right} {_side(field, 'right')}"
        for field in conflict["fields"][:3]
    ]
    more = conflict.get("fields_total", len(conflict["fields"])) - len(places)
    rest = f" and {more} more" if more > 0 and places else f"{more} places" if more > 0 else ""
    winner = f"{conflict['winner']}'s was taken" if conflict["winner"] else "no side was picked"
    return f"{conflict['step']}{item}: {'; '.join(places)}{rest}; {winner}"


def _side(field: dict[str, Any], side: str) -> str:
    return "has nothing" if is_absent(field, side) else f"{field[side]!r:.60}"


def _remark(step: dict[str, Any]) -> str:
    if step["failed_items"] and step["outcome"] == "succeeded":
        failed = len(step["failed_items"])
        return f"{failed} item{'s' if failed != 1 else ''} failed; {step['reason']}"
    if step["cached"]:
        return f"from the cache; {step['reason']}"
    if step["outcome"] in ("succeeded", "skipped") or not step["error_type"]:
        return str(step["reason"])
    stopped = "" if step["stopped"] else " (still running)"
    return f"{step['error_type']}: {step['error']}{stopped}"
