"""Lines that agents in C log: they go to the logger ``tandem.agent.NAME``.

Their records carry ``run_id``, ``step_id`` and ``attempt`` as those of Python handlers do (all None
for a line of a message), and ``agent`` and ``action``. What an agent writes is shown, never
trusted: control characters are escaped, and the level is clamped.
"""

from __future__ import annotations

import logging

from tandem_orchestrator.layers.layer import SegmentWork, Work

LINE_CHARS_MAX = 4096
"""Of one line, escapes included."""

Line = tuple[int, int, int, int, int, int, bytes]
"""As the extension gives it: call_id, action_id, part, level, attempt, dropped, text."""


def emit(line: Line, agent: str, action: str, work: Work | SegmentWork | None) -> None:
    """Log one line, and before it how many were lost.

    Args:
        line: As it came.
        agent: Whose line it is.
        action: Which of its actions said it.
        work: What it belongs to: an attempt, or a segment, of which ``part`` names the step; None
            for a message, or when its end was told.
    """
    _, _, part, level, attempt, dropped, text = line
    step_id = None
    if isinstance(work, Work):
        step_id, attempt = work.step_id, work.attempt
    elif work is not None and 0 < part <= len(work.steps):
        step_id = work.steps[part - 1].id
    logger = logging.getLogger(f"tandem.agent.{agent}")
    extra = {
        "run_id": None if work is None else work.run_id,
        "step_id": step_id,
        "attempt": None if work is None else attempt,
        "agent": agent,
        "action": action,
    }
    if dropped:
        logger.warning("%s.%s: %d lines were dropped", agent, action, dropped, extra=extra)
    if text:
        clamped = min(max(level, logging.DEBUG), logging.CRITICAL)
        logger.log(clamped, "%s", shown(text), extra=extra)


def shown(text: bytes) -> str:
    """Make a text safe to print: what is not UTF-8 or not printable is escaped."""
    decoded = text.decode("utf-8", "backslashreplace")
    if not decoded.isprintable():
        decoded = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode()
            for char in decoded
        )
    return decoded[:LINE_CHARS_MAX]
