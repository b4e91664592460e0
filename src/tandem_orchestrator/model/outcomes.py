"""Outcomes: what an attempt, a step and a run can end with."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any


class Outcome(str, Enum):
    """What a step, or one attempt of it, ended with."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """It ran and raised, or its output was refused."""
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    """It never started: its condition was false, or something before it failed."""
    ABANDONED = "abandoned"
    """Asked to stop and did not: it may still be running (``stopped: false``)."""
    UNKNOWN = "unknown"
    """It may have run: whoever ran it died."""
    NOT_STARTED = "not_started"
    """Attempts only: it certainly never ran, and is given out again."""

    def __str__(self) -> str:
        return self.value


class RunStatus(str, Enum):
    """Where a run is; the first five are ends, or ``held``."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    HELD = "held"
    """Nothing can move until a person decides."""
    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    """Its owner died; nobody has taken it over yet."""

    def __str__(self) -> str:
        return self.value

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self in _FINAL


_FINAL = frozenset(
    {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.TIMED_OUT}
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something did not succeed; travels in events and results."""

    type: str
    """An exception's class name, or the name a C action gave to ``td_fail``."""
    message: str
    traceback: str | None = None
    """Python traceback as text, at most 64 KiB."""

    def line(self) -> str:
        """Give one printable line."""
        text = f"{self.type}: {self.message}" if self.message else self.type
        return "".join(c if c.isprintable() else " " for c in text)[:500]

    def to_value(self) -> dict[str, Any]:
        """Give the plain form."""
        return {"type": self.type, "message": self.message, "traceback": self.traceback}

    @classmethod
    def of(cls, error: BaseException, traceback: str | None = None) -> Failure:
        """Describe an exception."""
        named = getattr(error, "failure_type", None)
        return cls(named if isinstance(named, str) else type(error).__name__, str(error), traceback)
