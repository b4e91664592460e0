"""The seam between the engine and whoever does the work.

A layer takes one attempt at a time, runs it and reports faithfully. It never retries, never
chooses another implementation and never hides that it does not know: those are decisions, and
decisions belong to the planner and to ``advance``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.model.outcomes import Failure, Outcome


def _ignore_progress(done: int, total: int) -> None:
    """Nobody is watching this attempt."""


@dataclass(frozen=True, slots=True)
class Work:
    """One attempt of one unit: all a layer needs to know."""

    run_id: str
    step_id: str
    agent: str
    action: str
    implementation: str
    # Any: a payload is any plain value, references already resolved.
    payload: Any = field(repr=False)
    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Outputs of the steps it depends on, by step id."""
    item: int | None = None
    """Position in its ``for_each``, from 0."""
    attempt: int = 1
    """Counted from 1."""
    deadline_ns: int = 0
    """CLOCK_MONOTONIC; 0 = none. The engine cancels at the deadline, C looks at it as well."""
    idempotency_key: str = ""
    """The same for every attempt of a unit; at most 64 bytes."""
    lane: int = 2
    """0 (most urgent) to 3."""
    on_progress: Callable[[int, int], None] = _ignore_progress
    """Called with (done, total), from any thread."""


class CancelToken:
    """How the engine tells an attempt to stop. Belongs to the loop's thread.

    ``requested`` may be read from any thread.
    """

    __slots__ = ("_callbacks", "reason", "requested")

    def __init__(self) -> None:
        self.requested = False
        self.reason = ""
        self._callbacks: list[Callable[[], None]] = []

    def cancel(self, reason: str) -> None:
        """Ask to stop; only the first call counts."""
        if self.requested:
            return
        self.requested, self.reason = True, reason
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` at the request, or now if it has been made."""
        if self.requested:
            callback()
        else:
            self._callbacks.append(callback)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an attempt."""

    outcome: Outcome
    """SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, ABANDONED, UNKNOWN or NOT_STARTED."""
    # Any: an output is any plain value.
    output: Any = field(default=None, repr=False)
    failure: Failure | None = None
    seconds: float = 0.0
    """From its start to its end in the layer."""
    stopped: bool = True
    """False where it was asked to stop and may be running still."""


@dataclass(frozen=True, slots=True)
class LayerHealth:
    """How a layer is."""

    name: str
    healthy: bool
    reason: str = ""
    """Why it is away or degraded; empty when all is well."""
    # Any: figures and texts for people and metrics.
    details: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.healthy


class Layer(Protocol):
    """Where implementations run."""

    name: str
    """``python`` or ``c``."""

    async def start(self) -> None:
        """Make ready; a layer that cannot be had says so in ``away`` and does not raise."""

    async def close(self) -> None:
        """Stop what runs, within its grace, and leave nothing behind."""

    @property
    def away(self) -> str:
        """Why the layer is not there, as one clear line; empty when it is."""

    def actions(self) -> tuple[Action, ...]:
        """List what it offers at this moment."""

    async def run(self, work: Work, cancel: CancelToken) -> Report:
        """Run one attempt to its end; never raises for what the attempt did."""

    def health(self) -> LayerHealth:
        """Describe itself without waiting."""
