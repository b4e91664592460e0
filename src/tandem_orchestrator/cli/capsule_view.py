"""A capsule on a terminal: the two sides beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from tandem_orchestrator.cli.output import print_table, print_text, show_seconds, visible
from tandem_orchestrator.model.conflicts import is_absent
from tandem_orchestrator.twins import Capsule
from tandem_orchestrator.twins.compare import ABSENT

INPUT_CHARS_MAX = 400
FIELDS_SHOWN = 40
"""``--json`` shows all that a capsule has."""


# Any below: values of any kind.
def first_words(value: Any, chars_max: int = 60) -> str:
    """Write a value on one line, cut to ``chars_max``; floats and bytes as they are."""
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    text = visible(text)
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"


def side_words(field: dict[str, Any], side: str, chars_max: int) -> str:
    """Write what stands on one side of a difference; that nothing does is written without quotes."""
    return ABSENT if is_absent(field, side) else first_words(field[side], chars_max)


def flat_words(value: Any) -> str:
    """Write a small dict as ``v=0.145, n=2``, and anything else on one line."""
    if not isinstance(value, dict) or not 1 <= len(value) <= 3:
        return first_words(value)
    if any(isinstance(part, dict | list) for part in value.values()):
        return first_words(value)
    return ", ".join(f"{visible(key)}={first_words(v, 30)}" for key, v in value.items())


def when(at_ns: int) -> str:
    """Give a moment as people read it, UTC."""
    return datetime.fromtimestamp(at_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S") if at_ns else ""


def print_capsule(capsule: Capsule) -> None:
    """Print what went in, where the sides differ, what each gave, and under what."""
    item = "" if capsule.item is None else f", item {capsule.item}"
    print_text(f"conflict {visible(capsule.id)}")
    facts = [
        ("action", f"{capsule.agent}.{capsule.action} (version {capsule.version})"),
        ("step", f"{capsule.step}{item} of run {capsule.run}"),
        ("when", f"{when(capsule.at_ns)} UTC" if capsule.at_ns else ""),
        ("input", first_words(capsule.payload, INPUT_CHARS_MAX)),
        ("context", ", ".join(sorted(capsule.inputs))),
        ("smaller", f"made from {capsule.shrunk_from}" if capsule.shrunk_from else ""),
    ]
    _print_facts(facts)
    print_text("")
    print_fields(capsule.fields, capsule.implementations, capsule.fields_total)
    print_text("")
    _print_outcomes(capsule.outcomes)
    about = capsule.environment
    builds = ", ".join(f"{part} {_build(build)}" for part, build in about.get("builds", {}).items())
    print_text("")
    _print_facts(
        [
            ("rules", first_words(capsule.rules, 200) if capsule.rules else "exact"),
            ("under", ", ".join(filter(None, (about.get("python"), about.get("platform"))))),
            ("cpu", str(about.get("cpu", ""))),
            ("locale", ", ".join(filter(None, (about.get("locale"), about.get("timezone"))))),
            ("builds", builds),
            ("redacted", ", ".join(capsule.redacted)),
            ("cut", ", ".join(capsule.truncated)),
        ]
    )
    if not capsule.is_replayable:
        print_text("  it cannot be run again: its input was cut (limits.capsule_bytes_max)")


def print_fields(
    fields: Sequence[dict[str, Any]], implementations: Sequence[str], total: int = 0
) -> None:
    """Print where two sides differ, beside each other."""
    left, right = (*implementations, "left", "right")[:2]
    rows = [
        (field["path"] or "(whole)", *(side_words(field, side, 200) for side in ("left", "right")))
        for field in fields[:FIELDS_SHOWN]
    ]  # fmt: skip
    print_table(("where", left, right), rows, folds=("where", left, right))
    hidden = max(total, len(fields)) - len(rows)
    if hidden > 0:
        print_text(f"  … and {hidden} more places; --json shows what the capsule has")


def _build(build: str) -> str:
    """Cut a bare digest to what people compare."""
    return build if " " in build or ":" in build else build[:12]


def _print_outcomes(outcomes: Sequence[dict[str, Any]]) -> None:
    rows = []
    for each in outcomes:
        failure = each.get("failure") or {}
        gave = (
            f"{failure.get('type')}: {visible(str(failure.get('message', '')))}"
            if failure
            else first_words(each.get("output"), 200)
        )
        took = show_seconds(each.get("seconds"))
        rows.append((each["implementation"], each["outcome"], took, gave))
    print_table(("side", "outcome", "time", "gave"), rows)


def _print_facts(facts: Sequence[tuple[str, str]]) -> None:
    for name, text in facts:
        if text:
            print_text(f"  {name:<9}{visible(text)}")
