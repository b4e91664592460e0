"""What the engine is handed for one run, and what it hands back."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tandem_orchestrator.layers.layer import (
    Begun,
    Report,
    SegmentBegun,
    SegmentReport,
    SegmentWork,
    Work,
)
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.events import (
    RunAccepted,
    RunForked,
    RunRestarted,
    RunRetried,
    SegmentEnded,
    StepsRan,
)
from tandem_orchestrator.model.plans import Plan, PlannedStep

if TYPE_CHECKING:
    from tandem_orchestrator.engine.recover import Recovered


@dataclass(slots=True)
class RunRequest:
    """One run, checked and planned. It belongs to the engine from when it is handed over."""

    run_id: str
    plan: Plan
    accepted: RunAccepted | None
    """The first record of the run, all that recovery will need; None once the journal has it."""
    priority: int
    """Higher goes first."""
    inputs: dict[str, Any] = field(default_factory=dict)
    callables: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    """What the plan names: ``validation_fn``s and the ``python_handler``."""
    command_set: CommandSet | None = None
    """A snapshot, for the ``python_handler``; None where there is none."""
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    """The submitter's context variables; handlers run in copies of it."""
    head: SegmentEnded | None = None
    """What its one segment came back with already; the run goes on from there."""
    before_start: Callable[[], Awaitable[None]] | None = None
    """Awaited once it is accepted, before it takes a place; must not raise."""
    onward: RunForked | RunRetried | RunRestarted | StepsRan | None = None
    """What it goes on from, journaled before it starts: another run's steps, or its own."""
    begun: Begun | SegmentBegun | None = None
    """An attempt or segment of it that is under way already; its dispatch takes it up."""
    recovered: Recovered | None = None
    """Of a run that another owner began: where it stood; ``accepted`` is in the journal already."""
    after_end: Callable[[], Awaitable[None]] | None = None
    """Awaited once its end is durable and its place free, before ``ended`` is; must not raise."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decided about a conflict that is held."""

    conflict: str | None = None
    """Its id, as ``c1``; None: the one conflict of ``step`` that waits."""
    step: str | None = None
    pick: str | None = None
    """``left``, ``right`` or an implementation; None: ``output`` counts."""
    # Any: an output is any value.
    output: Any = None
    by: str = ""
    note: str = ""
    again: bool = False
    """Whether it is to be done once more; the rest does not count then."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks of a run in progress."""

    kind: str
    """``pause | continue | approve | signal | retry``."""
    # Any: what the kind needs, as a value.
    body: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""
    at: str = ""
    """When: RFC 3339, UTC."""


Observer = Callable[[str, Any], None]
"""Called on the loop with (run id, event), in order, before the event is durable."""

ProgressObserver = Callable[[str, str, int | None, int, int], None]
"""Called on the loop with (run id, step id, item, done, total); not journaled."""


class Witness(Protocol):
    """Sees what attempts took, for whoever learns from it. Called on the loop; must be quick."""

    def attempted(
        self,
        step: PlannedStep,
        work: Work,
        report: Report,
        waited_s: float,
        callables: Mapping[str, Callable[..., Any]],
    ) -> None:
        """An attempt came back; ``waited_s`` seconds passed from its dispatch to its output.

        ``callables``: what the run's plan names.
        """

    def segment_returned(self, work: SegmentWork, report: SegmentReport, waited_s: float) -> None:
        """A segment did."""


class HeldSign:
    """Set while only a person can move a run; as an ``asyncio.Event``, which is made if waited for.

    An event takes 0.8 KB, and of 100,000 runs that are held hardly any is waited for.
    """

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: asyncio.Event | None = None

    def set(self) -> None:
        """Let whoever waits go on."""
        self._is_set = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def clear(self) -> None:
        """Have whoever waits from now on wait for the next ``set``."""
        self._is_set = False

    async def wait(self) -> None:
        """Wait until it is set."""
        if self._is_set:
            return
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()


class Told(Protocol):
    """What a run in progress can be told; see ``RunTicket``."""

    def cancel(self, step: str | None, by: str) -> None:
        """Cancel it, or one step of it."""

    def settle(self, decision: Decision) -> None:
        """Settle a conflict."""

    def ask(self, wish: Wish) -> None:
        """Do what somebody wishes."""


@dataclass(slots=True, eq=False)
class RunTicket:
    """The engine's answer to a request."""

    run_id: str
    accepted: asyncio.Future[None]
    """Done when the run is as durable as it asked for; JournalError if it cannot be."""
    ended: asyncio.Future[None]
    """Done when its end is; JournalError if it cannot be."""
    run: Told
    held: HeldSign | None = None
    """Set while only a person can move the run, and the journal has it; None: it never will be."""

    def cancel(self, step: str | None, by: str) -> None:
        """Cancel the run, or one step of it; ``by``: who asks."""
        self.run.cancel(step, by)

    def settle(self, decision: Decision) -> None:
        """Settle a conflict that is held.

        Raises: CommandError naming what waits, or what can be picked.
        """
        self.run.settle(decision)

    def ask(self, wish: Wish) -> None:
        """Pause or continue the run, answer a step of it.

        Raises: CommandError naming what can be asked of it. Busy if it keeps no more signals.
        """
        self.run.ask(wish)
