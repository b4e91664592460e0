"""Show things as plain text on standard error, since standard output carries results."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tandem_orchestrator.agents.visible import visible

LINES_MAX = 200
LINE_CHARS_MAX = 500


def write_lines(lines: Sequence[str]) -> dict[str, Any]:
    """Write lines to standard error and say so.

    Args:
        lines: Raw; control characters are escaped. At most ``LINES_MAX`` are written, each of at
            most ``LINE_CHARS_MAX`` characters.

    Returns: ``{"shown": "text" | "nowhere", "lines": n}``; nowhere if there is no standard error.

    Raises: OSError if it cannot be written to.
    """
    stream = sys.stderr
    if stream is None or stream.closed:
        return {"shown": "nowhere", "lines": 0}
    shown = [_line(line) for line in lines[:LINES_MAX]]
    if len(lines) > LINES_MAX:
        shown.append(f"... and {len(lines) - LINES_MAX} more lines")
    text = "".join(f"{line}\n" for line in shown)
    encoding = stream.encoding or "ascii"
    # One write, so that lines of several runs do not mix within a message.
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()
    return {"shown": "text", "lines": len(shown)}


def _line(raw: str) -> str:
    line = visible(raw)
    return line if len(line) <= LINE_CHARS_MAX else line[: LINE_CHARS_MAX - 3] + "..."


def message_lines(message: str, title: str | None = None) -> list[str]:
    """Give the lines of a message, under its title if it has one."""
    lines = message.split("\n")
    if lines and lines[-1] == "":
        lines.pop()
    return [title, "-" * min(len(title), 78), *lines] if title else lines


# Any: outputs of other steps, plain values.
def result_lines(results: Mapping[str, Any]) -> list[str]:
    """Summarise outputs of steps, a few lines each.

    Args:
        results: Step id to output; what looks like generated documentation tells where it is.
    """
    lines = []
    for step, output in sorted(results.items()):
        if is_documentation(output):
            lines += _documentation_lines(output)
        else:
            lines.append(f"{step}: {_brief(output)}")
    return lines or ["There are no results to show."]


def is_documentation(value: object) -> bool:
    """Tell whether a value looks like an output of ``docgen.generate_docs``."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("directory"), str)
        and isinstance(value.get("index"), str)
        and isinstance(value.get("pages"), int)
    )


def _documentation_lines(output: Mapping[str, Any]) -> list[str]:
    pages = output["pages"]
    detail = [
        f"{output[key]:,} {key}" for key in ("written", "unchanged", "removed") if key in output
    ]
    lines = [
        f"{pages:,} page{'' if pages == 1 else 's'} of documentation"
        + (f" about {output['modules']:,} modules" if "modules" in output else "")
        + (f" ({', '.join(detail)})" if detail else ""),
        f"  start at {output['index']}",
    ]
    kept = output.get("kept") or []
    if kept:
        lines.append(f"  kept as someone edited them: {', '.join(kept[:5])}")
        if len(kept) > 5:
            lines.append(f"  and {len(kept) - 5} more")
    return lines


def _brief(value: object) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{key}={_atom(item)}" for key, item in list(value.items())[:12])
        return inner + (", ..." if len(value) > 12 else "") if value else "{}"
    return _atom(value)


def _atom(value: object) -> str:
    if isinstance(value, dict | list):
        return f"<{len(value)} {'keys' if isinstance(value, dict) else 'items'}>"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
