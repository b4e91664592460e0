"""What a handler is told besides its payload."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Context:
    """One attempt, as its handler sees it; safe to use from any thread."""

    run_id: str
    step_id: str
    attempt: int
    """Counted from 1."""
    idempotency_key: str
    """The same for every attempt of this step (and item); at most 64 bytes."""
    # Any: outputs are any values.
    inputs: Mapping[str, Any] = field(repr=False)
    """Outputs of the steps this one depends on, by step id."""
    item: int | None
    """Position in its ``for_each``, from 0."""
    _cancelled: Callable[[], bool] = field(repr=False)
    _progress: Callable[[int, int], None] = field(repr=False)
    log: logging.LoggerAdapter[logging.Logger] = field(repr=False)
    """Carries run, step and attempt."""

    def cancelled(self) -> bool:
        """Tell whether the attempt was asked to stop; cheap, poll it in long loops."""
        return self._cancelled()

    def progress(self, done: int, total: int) -> None:
        """Show how far the attempt is: ``done`` of ``total``, in units of the action's own."""
        self._progress(done, total)


def make_log(run_id: str, step_id: str, attempt: int) -> logging.LoggerAdapter[logging.Logger]:
    """Make the logger that a context hands out."""
    extra = {"run_id": run_id, "step_id": step_id, "attempt": attempt}
    return logging.LoggerAdapter(logging.getLogger("tandem_orchestrator.step"), extra)
