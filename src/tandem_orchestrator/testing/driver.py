"""Runs without a loop, a clock or a layer: small plans, and a driver that feeds ``advance`` by hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from tandem_orchestrator.engine import RunState, advance
from tandem_orchestrator.engine.instructions import (
    Dispatch,
    DispatchSegment,
    Drop,
    Evidence,
    Record,
    RecordConflict,
    Stop,
    StopSegment,
    UnitKey,
    Wait,
)
from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptEnded,
    Judged,
    RunEnded,
    RunHeld,
    RunRestarted,
    RunRetried,
    RunStarted,
    SegmentEnded,
    SegmentRow,
    StepEnded,
    steps_ended,
)
from tandem_orchestrator.model.plans import Assignment, Plan, PlannedStep

PYTHON = Assignment(implementations=("python",), layers=("python",), reason="test")
"""A step that runs in Python."""
NATIVE = Assignment(implementations=("c",), layers=("c",), reason="test", fallback="python")
"""A step that runs in C, with Python to fall back to."""


def step(step_id: str, *needs: str, **fields: Any) -> PlannedStep:
    """Make a step of agent ``a``; runs in Python and has no effects unless it says so."""
    fields.setdefault("assignment", None if fields.get("kind") == "group" else PYTHON)
    fields.setdefault("effects", "none")
    inputs = tuple((need, need) for need in needs)
    return PlannedStep(
        id=step_id, agent="a", action="do", depends_on=needs, inputs_from=inputs, **fields
    )


def plan(*steps: PlannedStep, **fields: Any) -> Plan:
    """Make a plan of these steps, in order."""
    values = {"mode": "intelligent", "priority": "medium", "durability": "none", **fields}
    return Plan(name="test", type="workflow", steps=steps, **values)


class Driver:
    """Feeds ``advance`` and keeps what it said; attempts end when the test ends them."""

    def __init__(self, the_plan: Plan, inputs: dict[str, Any] | None = None) -> None:
        self.state = RunState.of(the_plan, inputs)
        self.events: list[AnyEvent] = []
        self.running: dict[tuple[str, int | None, str], Dispatch] = {}
        """Attempts that run, by step, item and implementation."""
        self.parts: dict[UnitKey, Dispatch] = {}
        """Those of parts of a batch."""
        self.evidence: list[Evidence] = []
        """Of each conflict."""
        self.judged: list[Judged] = []
        """What was compared and did not differ."""
        self.held: list[RunHeld] = []
        self.segments: dict[int, DispatchSegment] = {}
        """Segments that run, by number."""
        self.stopped_segments: list[StopSegment] = []
        self.log: list[str] = []
        self.history: list[tuple[str, str]] = []
        """(step, ``out`` or its attempt's outcome), as it happened; items count as their step."""
        self.ended_before: dict[str, frozenset[str]] = {}
        """Step to the steps that had ended when it was first given out."""
        self.waits: dict[str, Wait] = {}
        self.stops: list[Stop] = []
        self.ended: dict[str, StepEnded] = {}
        self.run_ended: RunEnded | None = None

    def post(self, event: AnyEvent) -> None:
        """Give an event to ``advance`` and note what it wants."""
        self.events.append(event)
        if isinstance(event, AttemptEnded):
            self.history.append((event.step, event.outcome))
        elif isinstance(event, SegmentEnded):
            self.history.extend((row.step, row.outcome) for row in event.rows)
            known = self.state.segments.get(event.segment)
            if known is not None and known.attempts == event.attempt:
                for ended in steps_ended(event):
                    assert ended.step not in self.ended, "a step ends once"
                    self.ended[ended.step] = ended
        elif isinstance(event, RunRetried) and self.state.status.is_final:
            self.run_ended = None
            self.waits.clear()
            for step_id in event.steps:
                self.ended.pop(step_id, None)
        elif isinstance(event, RunRestarted):
            for kept in (self.waits, self.ended, self.running, self.segments, self.ended_before):
                kept.clear()
        for instruction in advance(self.state, event):
            match instruction:
                case Dispatch(unit=unit):
                    if unit.part is None:
                        self.running[unit.step, unit.item, unit.implementation] = instruction
                    else:
                        self.parts[unit] = instruction
                    self.log.append(f"{unit}#{instruction.attempt}")
                    self.history.append((unit.step, "out"))
                    self._may_start(unit.step, ())
                    self.ended_before.setdefault(unit.step, frozenset(self.ended))
                case DispatchSegment(segment=segment):
                    assert segment not in self.segments, "a segment runs once at a time"
                    self.segments[segment] = instruction
                    self.log.append(f"segment {segment}#{instruction.attempt}")
                    for i, step_id in enumerate(instruction.steps):
                        self.history.append((step_id, "out"))
                        self._may_start(step_id, instruction.steps[:i])
                        before = frozenset(self.ended).union(instruction.steps[:i])
                        self.ended_before.setdefault(step_id, before)
                case Stop():
                    self.stops.append(instruction)
                case StopSegment():
                    self.stopped_segments.append(instruction)
                case Wait(key=key):
                    self.waits[key] = instruction
                case Drop(key=key):
                    self.waits.pop(key, None)
                case RecordConflict(evidence=evidence):
                    self.evidence.append(evidence)
                case Record(event=Judged() as judged):
                    self.judged.append(judged)
                case Record(event=RunHeld() as held):
                    self.held.append(held)
                case Record(event=StepEnded() as ended):
                    assert ended.step not in self.ended, "a step ends once"
                    self.ended[ended.step] = ended
                case Record(event=RunEnded() as over):
                    assert self.run_ended is None, "a run ends once"
                    self.run_ended = over

    def _may_start(self, step_id: str, before: tuple[str, ...]) -> None:
        needs = self.state.steps[step_id].plan.depends_on
        early = [need for need in needs if need not in self.ended and need not in before]
        assert not early, f"step {step_id} is given out before {early} ended"

    def start(self) -> None:
        """Begin the run."""
        self.post(RunStarted())

    def end(
        self,
        step_id: str,
        outcome: str = "succeeded",
        output: Any = None,
        *,
        item: int | None = None,
        part: tuple[int, int] | None = None,
        implementation: str = "python",
        failure: str | None = None,
        **fields: Any,
    ) -> None:
        """End the running attempt of a unit."""
        if part is None:
            dispatch = self.running.pop((step_id, item, implementation))
        else:
            dispatch = self.parts.pop(UnitKey(step_id, item, implementation, part))
        described = None
        if failure is not None or outcome == "failed":
            described = {"type": failure or "ValueError", "message": "no", "traceback": None}
        self.post(
            AttemptEnded(
                step=step_id,
                item=item,
                part=part,
                implementation=implementation,
                layer=dispatch.layer,
                attempt=dispatch.attempt,
                outcome=outcome,
                output=output,
                failure=described,
                **fields,
            )
        )

    def end_segment(
        self, segment: int, *rows: str | SegmentRow, refused: str = "", roll: float = 0.0
    ) -> None:
        """End a running segment: an outcome, or a row, for each of its steps in order."""
        dispatch = self.segments.pop(segment)
        made = (
            row if isinstance(row, SegmentRow) else _row(step_id, row)
            for step_id, row in zip(dispatch.steps, rows, strict=True)
        )
        self.post(
            SegmentEnded(
                segment=segment,
                attempt=dispatch.attempt,
                rows=tuple(made),
                refused=refused,
                roll=roll,
            )
        )

    def due(self, key: str) -> None:
        """Let a wait be over."""
        self.post(self.waits.pop(key).event)

    def run_all(self, answer: Callable[[Dispatch], str] = lambda _: "succeeded") -> None:
        """End attempts in the order they were given out, and waits when nothing runs."""
        todo = deque([0])
        while todo:
            todo.popleft()
            if self.running:
                (step_id, item, implementation), dispatch = next(iter(self.running.items()))
                self.end(step_id, answer(dispatch), item=item, implementation=implementation)
                todo.append(0)
            elif retries := [key for key in self.waits if key.startswith("retry:")]:
                self.due(retries[0])
                todo.append(0)

    def outcomes(self) -> dict[str, str]:
        """Give each ended step's outcome."""
        return {step_id: ended.outcome for step_id, ended in self.ended.items()}


def _row(step_id: str, outcome: str) -> SegmentRow:
    if outcome in ("succeeded", "skipped", "not_started"):
        return SegmentRow(step_id, outcome)
    failure = {"type": "ValueError", "message": "no", "traceback": None}
    return SegmentRow(step_id, outcome, failure=failure)
