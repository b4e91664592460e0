"""Recovery: what a run was doing when its owner died, from its records alone. Pure.

The records are folded through ``advance`` as they were the first time. What it concludes must be
what was recorded then; where it is not (another version decides otherwise), the run is not touched.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tandem_orchestrator.engine.advance import advance
from tandem_orchestrator.engine.instructions import (
    Dispatch,
    DispatchSegment,
    Drop,
    Instruction,
    Record,
    RecordConflict,
    Wait,
)
from tandem_orchestrator.engine.state import Phase, RunState, SegmentState, StepState, UnitState
from tandem_orchestrator.engine.stopwatch import Stopwatch
from tandem_orchestrator.engine.units import OWNER_DIED, key_of
from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    RunAccepted,
    RunRestarted,
    RunRetried,
    RunStarted,
    SegmentEnded,
    SegmentRow,
    SegmentStarted,
    StepEnded,
    kind_of,
)
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import PlannedStep, plan_from_value

_IDENTITY = (
    "step", "item", "part", "implementation", "layer", "attempt", "segment", "steps", "outcome",
    "verdict", "status",
)  # fmt: skip
"""What two records of one conclusion have in common, whenever and wherever they were made."""


class Diverged(JournalError):
    """A run's records say what this version would not have concluded."""


@dataclass(slots=True)
class Recovered:
    """A run as its records leave it."""

    accepted: RunAccepted
    state: RunState
    started: bool = False
    """Whether it had its place already."""
    waits: dict[str, tuple[int, float, AnyEvent]] = field(default_factory=dict)
    """Key to when it began (nanoseconds since the epoch), its seconds, and what is due then."""
    watch: Stopwatch = field(default_factory=Stopwatch)
    """When the steps at work began."""

    def lost(self) -> Iterator[AttemptEnded | SegmentEnded]:
        """Give an end to each attempt that was in flight: nobody knows how it ended."""
        for segment in self.state.segments.values():
            if segment.phase is Phase.RUNNING and f"segment {segment.id}" not in self.state.parked:
                yield _end_of_segment(segment)
        for step in self.state.steps.values():
            for unit in step.units.values():
                if unit.phase in (Phase.RUNNING, Phase.STOPPING) and not self._is_parked(
                    step, unit
                ):
                    yield _end_of_unit(step, unit)

    def _is_parked(self, step: StepState, unit: UnitState) -> bool:
        """Whether it was put off while the run was paused: it was never given out."""
        return bool(self.state.parked) and str(key_of(step, unit)) in self.state.parked

    def needs(self) -> Iterator[PlannedStep]:
        """Give the steps that may still have to run; their actions must be there."""
        for step in self.state.steps.values():
            plan = step.plan
            is_action = plan.kind == "action" and plan.agent and not plan.waits
            if step.phase is not Phase.ENDED and is_action:
                yield plan


def recover(events: Sequence[AnyEvent]) -> Recovered:
    """Fold a run's events, from its acceptance on.

    Raises: Diverged naming the first record that this version would not have made;
        msgspec.ValidationError if the plan is none.
    """
    accepted = events[0]
    assert isinstance(accepted, RunAccepted), kind_of(accepted)
    lone = any(isinstance(event, SegmentStarted) and len(event.steps) == 1 for event in events)
    state = RunState.of(
        plan_from_value(accepted.plan), accepted.inputs, segment_steps_min=1 if lone else 2
    )
    found = Recovered(accepted, state)
    expected: deque[AnyEvent] = deque()
    for event in events[1:]:
        if isinstance(event, AttemptStarted | StepEnded):
            known = state.steps.get(event.step)
            found.watch.replayed(event, known.plan if known else None)
        if event.derived or isinstance(event, AttemptStarted | SegmentStarted):
            _compare(accepted.run_id, event, expected)
            continue
        found.started = found.started or isinstance(event, RunStarted)
        if isinstance(event, RunRetried | RunRestarted):
            found.started = False
            found.waits.clear()  # They went with what was before.
            found.watch = Stopwatch()
        for instruction in advance(state, event):
            _note(found, expected, instruction, event.at_ns)
    if expected:
        raise Diverged(
            f"run {accepted.run_id}: its records end before {kind_of(expected[0])} of their last turn"
        )
    return found


def _note(
    found: Recovered, expected: deque[AnyEvent], instruction: Instruction, at_ns: int
) -> None:
    match instruction:
        case Record(event=concluded) | RecordConflict(event=concluded):
            expected.append(concluded)
        case Dispatch(unit=unit):
            expected.append(
                AttemptStarted(
                    step=unit.step,
                    item=unit.item,
                    part=unit.part,
                    implementation=unit.implementation,
                    layer=instruction.layer,
                    attempt=instruction.attempt,
                )
            )
        case DispatchSegment():
            expected.append(
                SegmentStarted(
                    segment=instruction.segment,
                    attempt=instruction.attempt,
                    steps=instruction.steps,
                )
            )
        case Wait(key=key, delay_s=delay_s, event=due):
            found.waits[key] = (at_ns, delay_s, due)
        case Drop(key=key):
            found.waits.pop(key, None)


def _compare(run_id: str, recorded: AnyEvent, expected: deque[AnyEvent]) -> None:
    concluded = expected.popleft() if expected else None
    if concluded is None or _identity(recorded) != _identity(concluded):
        would = "nothing" if concluded is None else _shown(concluded)
        raise Diverged(
            f"run {run_id}: its records hold {_shown(recorded)}, and this version of Tandem "
            f"concludes {would}; continue it with the version that began it"
        )


def _identity(event: AnyEvent) -> tuple[object, ...]:
    return (kind_of(event), *(getattr(event, name, None) for name in _IDENTITY))


def _shown(event: AnyEvent) -> str:
    fields = ", ".join(
        f"{name}={value!r}"
        for name in _IDENTITY
        if (value := getattr(event, name, None)) not in (None, "")
    )
    return f"{kind_of(event)}({fields})"


def _failure() -> dict[str, str | None]:
    text = "the orchestrator that ran it ended before it did"
    return {"type": OWNER_DIED, "message": text, "traceback": None}


def _end_of_unit(step: StepState, unit: UnitState) -> AttemptEnded:
    return AttemptEnded(
        step=step.plan.id,
        item=unit.item,
        part=unit.part,
        implementation=unit.implementation,
        layer=unit.layer,
        attempt=unit.attempts,
        outcome=Outcome.UNKNOWN.value,
        failure=_failure(),
    )


def _end_of_segment(segment: SegmentState) -> SegmentEnded:
    rows = tuple(
        SegmentRow(step_id, Outcome.UNKNOWN.value, failure=_failure()) for step_id in segment.steps
    )
    return SegmentEnded(segment=segment.id, attempt=segment.attempts, rows=rows)


def remaining_s(began_ns: int, delay_s: float, now_ns: int) -> float:
    """Give what is left of a wait; 0 where it was due while nobody was there.

    Where the wall clock was put back meanwhile it is the whole wait, and never more.
    """
    return min(delay_s, max(0.0, delay_s - (now_ns - began_ns) / 1e9))
