"""The table of all settings, made from the keys themselves so that it cannot lag behind."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.settings.keys import Key
from tandem_orchestrator.settings.sections import SECTIONS


def settings_table() -> str:
    """Write every key as a Markdown table: meaning, default, range, variable, from when."""
    lines = [
        "| key | meaning | default | values | variable | counts from | guarded |",
        "|---|---|---|---|---|---|---|",
    ]
    for owner in SECTIONS.values():
        for spec in owner.keys.values():
            named = spec.env or spec.variable
            cells = (
                f"`{spec.path}`",
                _meaning(spec),
                f"`{_show(spec.default)}`",
                spec.expected if spec.check is None else "see meaning",
                f"`{named}`" if spec.from_environment else "none",
                f"next {spec.counts}",
                "yes" if spec.guarded else "",
            )
            lines.append("| " + " | ".join(c.replace("|", r"\|") for c in cells) + " |")
    return "\n".join(lines) + "\n"


def _meaning(spec: Key) -> str:
    if not spec.pending:
        return spec.meaning
    return f"{spec.meaning} **No effect yet**: waits for {spec.pending}."


def _show(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
