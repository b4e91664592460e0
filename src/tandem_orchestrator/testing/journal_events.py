"""Events with everything filled in, for tests of journals."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.model.events import AttemptEnded, RunAccepted


def accepted(run_id: str, **changes: Any) -> RunAccepted:
    """Make the first event of a run; ``changes`` replace fields, whatever they hold."""
    fields: dict[str, Any] = {
        "at_ns": 1_000,
        "command_set_id": "c1",
        "name": "docs",
        "type": "workflow",
        "mode": "intelligent",
        "priority": "medium",
        "durability": "group",
        "document": {"id": "c1", "name": "docs"},
        "plan": {"steps": ["a"]},
        "steps_total": 2,
    }
    return RunAccepted(run_id=run_id, **(fields | changes))


def ended(step: str, attempt: int = 1, **changes: Any) -> AttemptEnded:
    """Make the completion of a step's attempt in Python; ``changes`` replace fields."""
    fields: dict[str, Any] = {
        "implementation": "python",
        "outcome": "succeeded",
        "output": {"n": 1},
    }
    return AttemptEnded(step=step, attempt=attempt, **(fields | changes))
