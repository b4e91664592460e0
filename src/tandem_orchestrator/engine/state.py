"""The state of one run, owned by ``advance`` alone.

Everything in it follows from the plan and the events; nothing is read from anywhere else, so the
same events give the same state in every process.

Most steps of a large graph wait most of the time, and so do most runs. What only few of them ever
hold (units, items, conflicts, signals) is therefore made when something is put into it; before that
it is ``NONE_YET``, one empty dict for all, or the empty tuple.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import msgspec

from tandem_orchestrator.engine.instructions import Instruction
from tandem_orchestrator.model.conflicts import bounded
from tandem_orchestrator.model.none_yet import NO_LIST, NONE_YET
from tandem_orchestrator.model.outcomes import Failure, Outcome, RunStatus
from tandem_orchestrator.model.plans import Plan, PlannedStep

ROOT = ""
"""Id of the group that is the run itself."""


class Phase(str, Enum):
    """Where a step or a unit is. ``TRANSITIONS`` lists every change there is."""

    WAITING = "waiting"
    RUNNING = "running"
    STOPPING = "stopping"
    """A unit that was asked to stop and has not ended yet."""
    RETRYING = "retrying"
    """A unit between two attempts."""
    ENDED = "ended"


TRANSITIONS: dict[Phase, frozenset[Phase]] = {
    Phase.WAITING: frozenset({Phase.RUNNING, Phase.RETRYING, Phase.ENDED}),
    Phase.RUNNING: frozenset(
        {Phase.STOPPING, Phase.RETRYING, Phase.ENDED, Phase.RUNNING, Phase.WAITING}
    ),
    Phase.STOPPING: frozenset({Phase.RETRYING, Phase.ENDED, Phase.RUNNING}),
    Phase.RETRYING: frozenset({Phase.RUNNING, Phase.ENDED}),
    Phase.ENDED: frozenset(),
}
"""Each phase to those that may follow it; a step goes back to waiting when its segment came back
before it had started, and a unit that is done over may wait from the start on."""


@dataclass(slots=True)
class UnitState:
    """One implementation at work on one step, or on one item of it."""

    implementation: str
    layer: str
    item: int | None = None
    reason: str = ""
    phase: Phase = Phase.WAITING
    part: tuple[int, int] | None = None
    """Of a batch that was split: from which of its items to which, exclusive."""
    attempts: int = 0
    """Attempts given out, lost ones included."""
    retries: int = 0
    """Attempts after a failure, which the retry policy counts."""
    losses: int = 0
    """Attempts whose process died under them."""
    is_due: bool = False
    """Between two attempts: whether only steps are waited for, which a lost segment left undone."""
    stopping: str = ""
    """Why it was asked to stop: ``timed_out`` or ``cancelled``."""
    stop_text: str = ""
    """The same for people: whose time limit it was, or who asked."""
    outcome: Outcome | None = None
    output: Any = None
    cleaned: dict[str, Any] | None = None
    """As in ``AttemptEnded``: what is compared in place of the output."""
    failure: Failure | None = None
    seconds: float = 0.0
    stopped: bool = True
    cached: bool = False
    compared: bool = False
    """Whether it does once more what succeeded and was compared."""
    whole: int = 0
    """Items of a batch that is not split again: its twins differ, and on its halves they do not."""

    def move(self, phase: Phase) -> None:
        """Change the phase; a change that is not in the table is our bug."""
        assert phase in TRANSITIONS[self.phase], f"unit: {self.phase} -> {phase}"
        self.phase = phase


@dataclass(slots=True)
class DoubtState:
    """A part whose twins differed, and nothing in it has been found by itself so far."""

    low: int
    high: int
    units: list[UnitState]
    """As they ended; of the batch itself, those have no part."""
    left: int
    """Its items that are not settled."""


@dataclass(slots=True)
class SplitState:
    """A batch whose twins differed, on its way to the items on which they do."""

    # Any: a payload is any value.
    payload: dict[str, Any]
    """As it was resolved, ``items`` whole."""
    outputs: list[Any]
    """One for each item; what is not known yet is None."""
    waiting: list[tuple[int, int]] = field(default_factory=list)
    """Parts that have not been given out; the last is next."""
    open: int = 0
    """Parts at work."""
    held: int = 0
    """Parts that wait for a person."""
    done: int = 0
    """Items that are settled, in whatever way."""
    differing: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    failure: Failure | None = None
    outcome: Outcome | None = None
    """Of the first part that failed."""
    doubts: list[DoubtState] = field(default_factory=list)
    """Each after those that it lies in."""


@dataclass(slots=True)
class HeldState:
    """A conflict that waits for a person, and the twins' ends to choose from."""

    conflict: str
    item: int | None
    part: tuple[int, int] | None
    units: list[UnitState]


@dataclass(slots=True)
class StepState:
    """One step of the plan."""

    plan: PlannedStep
    missing: int
    """Steps it still waits for, the start of its group counted as one."""
    phase: Phase = Phase.WAITING
    outcome: Outcome | None = None
    output: Any = None
    failure: Failure | None = None
    dependents: tuple[str, ...] = ()
    """Steps that wait for its end."""
    segment: int | None = None
    """The segment that it will run in; None: by itself."""
    cancel_asked: bool = False
    units: dict[str, UnitState] = NONE_YET
    """Units at work, by ``UnitKey.label``; those of an item go when the item has ended."""
    splits: dict[str, SplitState] = NONE_YET
    """Batches on their way to single items, by ``UnitKey.place``."""
    held: dict[str, HeldState] = NONE_YET
    """Conflicts that wait for a person, by id."""
    paused: bool = False
    """Whether nothing of it moves before one of those is settled, or what it waits for has come."""
    blocked_by: str = ""
    """The failed step because of which those that depend on this one cannot start."""
    items: list[Any] | None = None
    """What a ``for_each`` runs over, once it is known."""
    next_item: int = 0
    only: list[int] = NO_LIST
    """Of a step that is retried: the items that run again; empty: all of them."""
    item_outputs: list[Any] = NO_LIST
    failed_items: list[int] = NO_LIST
    differing: list[int] = NO_LIST
    """Items that failed because their twins differ."""
    items_left: int = 0
    sides: dict[str, dict[str, Any]] = NONE_YET
    """Where twins ran: each one's attempts and seconds."""
    attempts: int = 0
    highest: int = 0
    """Number of the last attempt of any unit of it."""
    before: int = 0
    """The same when the run was last retried: its attempts go on counting from there."""
    seconds: float = 0.0
    layer: str = ""
    implementation: str = ""
    reason: str = ""
    stopped: bool = True
    cached: bool = False

    def move(self, phase: Phase) -> None:
        """Change the phase; a change that is not in the table is our bug."""
        assert phase in TRANSITIONS[self.phase], f"step {self.plan.id!r}: {self.phase} -> {phase}"
        self.phase = phase

    def put_unit(self, label: str, unit: UnitState) -> None:
        """Have a unit be at work on it."""
        self.units = self.units or {}
        self.units[label] = unit

    @property
    def is_moving(self) -> bool:
        """Whether something of it runs, or will without anybody's doing."""
        return self.phase is Phase.RUNNING and not self.paused and not self.plan.is_group

    @property
    def gave_nothing(self) -> bool:
        """Whether it ended without an output that a reference could lead into."""
        return self.phase is Phase.ENDED and self.outcome is not Outcome.SUCCEEDED


@dataclass(slots=True)
class SegmentState:
    """Steps that C will run, or runs, in one crossing."""

    id: int
    steps: dict[str, None]
    """Its steps, each after those it depends on; a dict for the sake of look-ups."""
    missing: int = 0
    """Ends outside of it that its steps wait for, the start of their group counted for each."""
    attempts: int = 0
    losses: int = 0
    """Attempts that came back before they had done anything."""
    phase: Phase = Phase.WAITING
    """ENDED: it came back, and what is left of it has not been grouped anew."""
    stopping: str = ""
    """As in ``UnitState``."""
    stop_text: str = ""


@dataclass(slots=True)
class GroupState:
    """A nested command set, or the run itself."""

    id: str
    parent: str | None
    children: list[str] = field(default_factory=list)
    open: int = 0
    """Children that have not ended."""
    started: bool = False
    halted: str = ""
    """Why nothing new starts in it; empty while all is well."""
    stopped: bool = False
    """Whether what ran in it was asked to stop, too."""
    failed_step: str = ""
    timed_out: bool = False
    hung: str = ""
    """Which side was waited for when it timed out, where its twin had ended."""


@dataclass(slots=True)
class RunState:
    """One run: its plan and everything that has happened to it."""

    plan: Plan
    inputs: dict[str, Any]
    steps: dict[str, StepState]
    groups: dict[str, GroupState]
    segments: dict[int, SegmentState] = NONE_YET
    """Those that have not ended."""
    segments_made: int = 0
    """Ids below this one are taken."""
    status: RunStatus = RunStatus.QUEUED
    cancelled: bool = False
    roll: float = 0.0
    """Draws the order in which twins start; 0: the plan's order."""
    ran: dict[str, None] = NONE_YET
    """Of a run that was restarted: steps whose effects may be there already; none starts before
    somebody says so."""
    moving: int = 0
    """Steps of which something moves (``StepState.is_moving``)."""
    held: dict[str, str] = NONE_YET
    """Conflicts that wait for a person, to their steps."""
    waiting: dict[str, str] = NONE_YET
    """Steps that wait for somebody, to the signal they wait for; empty: an approval."""
    signals: dict[str, list[Any]] = NONE_YET
    """Payloads of signals that nobody has waited for yet, by name, oldest first."""
    paused: bool = False
    """Whether nothing new starts until somebody says that it goes on."""
    handed_over: bool = False
    """Whether it is paused because its program gave it back: whoever takes it over goes on."""
    parked: dict[str, tuple[Instruction, ...]] = NONE_YET
    """What was to be given out while it was paused, by unit or segment."""
    compared: int = 0
    agreed: int = 0
    doubted: int = 0
    """Items that agreed only apart: of the batch they came in the twins differ."""
    critical_conflict: bool = False
    conflicts: list[dict[str, Any]] = NO_LIST
    conflicts_made: int = 0
    """Those of steps that were retried among them."""
    conflict_rounds: dict[str, int] = NONE_YET
    """Unit of comparison to the times it was repeated."""

    @classmethod
    def of(
        cls,
        plan: Plan,
        inputs: dict[str, Any] | None = None,
        *,
        segment_steps_min: int = 2,
        segments_before: int = 0,
        alone: Collection[str] = (),
    ) -> RunState:
        """Make the state of a run that has not begun.

        Args:
            segment_steps_min: A segment of fewer steps is none; each of them runs by itself.
            segments_before: Segments are numbered from here on.
            alone: A segment with one of these steps in it is none, either.
        """
        groups = {ROOT: GroupState(ROOT, None)}
        steps: dict[str, StepState] = {}
        made: dict[str, list[str]] = {}
        for step in plan.steps:
            steps[step.id] = StepState(step, missing=len(step.depends_on) + 1)
            if step.is_group:
                groups[step.id] = GroupState(step.id, step.parent)
            for other in step.depends_on:
                made.setdefault(other, []).append(step.id)
        for step in plan.steps:
            group = groups[step.parent]
            group.children.append(step.id)
            group.open += 1
        for other, names in made.items():
            steps[other].dependents = tuple(names)
        state = cls(plan, inputs or {}, steps, groups)
        for i, members in enumerate(plan.segments):
            if len(members) >= segment_steps_min and not any(one in alone for one in members):
                state.add_segment(segments_before + i, members)
        state.segments_made = segments_before + len(plan.segments)
        return state

    def move(self, step: StepState, phase: Phase) -> None:
        """Change a step's phase, and count what moves."""
        before = step.is_moving
        step.move(phase)
        self.moving += step.is_moving - before

    def pause(self, step: StepState, *, paused: bool) -> None:
        """Note that nothing of a step moves before a person has decided, or that it does again."""
        before = step.is_moving
        step.paused = paused
        self.moving += step.is_moving - before

    def put_conflict(self, conflict: dict[str, Any]) -> None:
        """Keep a conflict for the run's end."""
        self.conflicts = self.conflicts or []
        self.conflicts.append(bounded(conflict, len(self.conflicts)))

    def is_halted(self, step: StepState) -> bool:
        """Whether nothing of a step may start any more."""
        if step.cancel_asked or self.cancelled:
            return True
        return any(group.halted for group in self.around(step.plan.parent))

    def add_segment(self, id: int, members: Iterable[str]) -> SegmentState:
        """Make a segment of steps that have not started, each after those it depends on."""
        segment = SegmentState(id, dict.fromkeys(members))
        self.segments = self.segments or {}
        self.segments[id] = segment
        for step_id in segment.steps:
            step = self.steps[step_id]
            step.segment = id
            segment.missing += not self.groups[step.plan.parent].started
            segment.missing += sum(
                self.steps[other].phase is not Phase.ENDED
                for other in step.plan.depends_on
                if other not in segment.steps
            )
        return segment

    def around(self, group: str) -> Iterator[GroupState]:
        """Walk from a group outwards to the run itself."""
        while True:
            state = self.groups[group]
            yield state
            if state.parent is None:
                return
            group = state.parent

    def digest(self) -> str:
        """Give a hash of the whole state, the same in every process (BLAKE2b, 16 bytes)."""
        encoded = msgspec.msgpack.encode(
            (
                self.plan, self.inputs, self.steps, self.groups,
                list(self.segments.values()), self.segments_made, self.status,
                self.cancelled, self.roll, self.moving, self.held,
                self.waiting, self.signals, self.paused, list(self.parked.values()),
                self.compared, self.agreed, self.doubted, self.conflicts, self.conflict_rounds,
                self.conflicts_made, self.ran, self.handed_over,
            ),
            order="deterministic",
            enc_hook=_encode_odd,
        )  # fmt: skip
        return hashlib.blake2b(encoded, digest_size=16).hexdigest()


def _encode_odd(obj: Any) -> Any:
    raise TypeError(f"{type(obj).__name__} has no place in a run's state")
