"""The seam between the engine and whoever does the work.

A layer takes one attempt at a time, runs it and reports faithfully. It never retries, never
chooses another implementation and never hides that it does not know: those are decisions, and
decisions belong to the planner and to ``advance``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.model.events import SegmentRow
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.plans import PlannedStep


def _ignore_progress(done: int, total: int) -> None:
    """Nobody is watching this attempt."""


class Begun:
    """A handler's call that is under way before anybody gave it out; belongs to the loop's thread.

    Args:
        step: The step that it is of; the attempt is the first.
        future: What becomes of it.
        token: How it learns that it is asked to stop, where it can ask.
    """

    __slots__ = ("_future", "_token", "step")

    def __init__(
        self, step: str, future: asyncio.Future[Any], token: CancelToken | None = None
    ) -> None:
        self.step, self._token = step, token
        # Any: an output is any value.
        self._future: asyncio.Future[Any] | None = future

    def take(self, step: str, attempt: int, cancel: CancelToken) -> asyncio.Future[Any] | None:
        """Give the call to the attempt that it is of, once; None to any other."""
        if step != self.step or attempt != 1:
            return None
        taken, self._future = self._future, None
        if (token := self._token) is not None:
            cancel.on_cancel(lambda: token.cancel(cancel.reason))
        return taken

    def drop(self) -> None:
        """Stop it if nobody took it up."""
        left, self._future = self._future, None
        if left is not None and not left.cancel() and not left.cancelled():
            left.exception()  # Read, so that it is not reported as lost.


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
    cpus: str = ""
    """Where to run it, as ``0-3,8``; empty: where the layer runs what wishes nothing."""
    version: str = "1"
    """Of the action."""
    reusable: bool = False
    """Whether an output of equal work does as well, and this one's may be kept for others."""
    on_progress: Callable[[int, int], None] = _ignore_progress
    """Called with (done, total), from any thread."""
    begun: asyncio.Future[Any] | None = field(default=None, repr=False)
    """The handler's call, where it is under way already."""


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
    cached: bool = False
    """Whether nothing ran: the output is that of equal work before."""


@dataclass(frozen=True, slots=True)
class SegmentWork:
    """One attempt of a segment: all a layer needs to know."""

    run_id: str
    steps: tuple[PlannedStep, ...] = field(repr=False)
    """Steps of one command set, each after those it depends on."""
    # Any: inputs and outputs are any plain values.
    inputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The run's own inputs."""
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Of the steps outside that the segment depends on, by step id; those that gave one."""
    lane: int = 2
    """0 to 3, the urgent ones first."""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Idempotency keys (32 hex digits) of the steps that have effects, by step id."""

    @property
    def cpus(self) -> str:
        """Where to run it; steps of one command set have one wish."""
        return self.steps[0].cpus if self.steps else ""


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """What became of a segment."""

    rows: tuple[SegmentRow, ...] = field(repr=False)
    """One for each step, in order."""
    refused: str = ""
    """Why these steps cannot run as one; nothing of them ran."""
    stopped: bool = True
    """False where it was asked to stop and may be running still."""

    @classmethod
    def refusing(cls, work: SegmentWork, reason: str) -> SegmentReport:
        """Report that nothing ran, and that nothing will in this form."""
        return cls.not_started(work, refused=reason)

    @classmethod
    def not_started(cls, work: SegmentWork, *, refused: str = "") -> SegmentReport:
        """Report that nothing ran."""
        return cls(tuple(SegmentRow(step.id, "not_started") for step in work.steps), refused)


RunSegment = Callable[[SegmentWork, CancelToken], Awaitable[SegmentReport]]
"""Runs a segment to its end, as ``SegmentLayer.run_segment``."""


class SegmentBegun:
    """A segment that is under way before anybody gave it out; belongs to the loop's thread.

    Args:
        run: Waits for it.
        stop: Asks it to stop, where nobody will wait.
    """

    __slots__ = ("_run", "_stop")

    def __init__(self, run: RunSegment, stop: Callable[[], None]) -> None:
        self._run: RunSegment | None = run
        self._stop = stop

    def take(self) -> RunSegment | None:
        """Give what waits for it, once."""
        taken, self._run = self._run, None
        return taken

    def drop(self) -> None:
        """Stop it if nobody took it up."""
        if self.take() is not None:
            self._stop()


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


@runtime_checkable
class SegmentLayer(Layer, Protocol):
    """A layer that can run several steps in one crossing."""

    async def run_segment(self, work: SegmentWork, cancel: CancelToken) -> SegmentReport:
        """Run a segment to its end; never raises for what its steps did."""
