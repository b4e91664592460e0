"""The result of a run, folded from its events: the dict that callers get and ``runs show`` prints."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.model.conflicts import bounded
from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    ConflictSettled,
    FallbackPlanned,
    Judged,
    LayerChanged,
    RunAccepted,
    RunContinued,
    RunEnded,
    RunForked,
    RunHeld,
    RunPaused,
    RunRestarted,
    RunRetried,
    RunStarted,
    SegmentEnded,
    SegmentStarted,
    StepEnded,
    StepsRan,
    StepWaits,
    steps_ended,
)
from tandem_orchestrator.model.none_yet import NO_LIST, NONE_YET
from tandem_orchestrator.model.outcomes import Outcome, RunStatus
from tandem_orchestrator.model.plans import Plan, PlannedStep, plan_from_value
from tandem_orchestrator.model.values import from_value

LOST = frozenset({Outcome.UNKNOWN.value, Outcome.NOT_STARTED.value})
"""Outcomes of attempts that were given out and gave nothing, by nobody's fault in the step."""
LOST_NAMED_MAX = 20
"""Lost attempts of one step that are kept, the first ones."""
PROMPT_CHARS_MAX = 200
"""Of what a person is asked, in a note."""
HELD_NAMED_MAX = 20
"""Conflicts that the notes of a held run name one by one; its ``conflicts`` name all."""


class RunView:
    """One run as far as its events tell; works on live events and on those read back alike.

    ``plan``: the plan it is accepted with, where that is at hand; else it is read from its events.
    """

    __slots__ = (
        "_plan", "_plan_value", "accepted", "changed", "conflicts", "ended", "fallbacks", "held",
        "layer_changes", "lost", "running", "status", "steps", "waits",
    )  # fmt: skip

    def __init__(self, plan: Plan | None = None) -> None:
        self.accepted: RunAccepted | None = None
        self.ended: RunEnded | None = None
        self.status = RunStatus.QUEUED
        self.steps: dict[str, StepEnded] = NONE_YET
        self.running: dict[str, AttemptStarted] = NONE_YET
        """Steps at work, with the newest attempt of each."""
        self.conflicts: list[dict[str, Any]] = NO_LIST
        self.held: tuple[str, ...] = ()
        """Conflicts that wait for a person."""
        self.waits: dict[str, StepWaits] = NONE_YET
        """Steps that wait for an approval or a signal."""
        self.fallbacks: list[FallbackPlanned] = NO_LIST
        self.layer_changes: list[LayerChanged] = NO_LIST
        self.lost: dict[str, list[str]] = NONE_YET
        """Step to what became of attempts of it that were lost, at most ``LOST_NAMED_MAX``."""
        self.changed: tuple[str, ...] = ()
        """The actions because of which it last started from the beginning."""
        self._plan = plan
        # Any: a plan as plain data.
        self._plan_value: dict[str, Any] | None = None

    @property
    def plan(self) -> Plan:
        """The plan that the run was accepted with, or last started anew with."""
        if self._plan is None:
            if self._plan_value is None:
                assert self.accepted is not None, "the first event of a run is its acceptance"
                self._plan_value = self.accepted.plan
            self._plan = plan_from_value(self._plan_value)
        return self._plan

    def apply(self, event: AnyEvent) -> None:
        """Take in the next event."""
        match event:
            case RunAccepted():
                # Of a run that goes on here only the plan is needed, and that is at hand.
                self.accepted = event if self._plan is None else event.without_bodies()
            case RunStarted():
                self.status = RunStatus.RUNNING
            case AttemptStarted():
                self.running = self.running or {}
                self.running[event.step] = event
            case SegmentStarted():
                self.running = self.running or {}
                for step_id in event.steps:
                    self.running[step_id] = AttemptStarted(
                        at_ns=event.at_ns, step=step_id, implementation="c", layer="c"
                    )
            case AttemptEnded() if event.outcome in LOST:
                self._note_lost(event.step, _lost_attempt(event))
            case RunRetried():
                self._retried(event)
            case RunRestarted():
                self._restarted(event)
            case StepEnded() | SegmentEnded() | StepsRan() | RunForked():
                if isinstance(event, SegmentEnded):
                    self._note_lost_rows(event)
                for ended in steps_ended(event):
                    self.steps = self.steps or {}
                    self.steps[ended.step] = ended
                    self.running.pop(ended.step, None)
                    self.waits.pop(ended.step, None)
            case StepWaits():
                self.waits = self.waits or {}
                self.waits[event.step] = event
            case RunPaused():
                self.status = RunStatus.PAUSED
            case RunContinued():
                self.status = RunStatus.QUEUED if event.queued else RunStatus.RUNNING
            case Judged(conflict=dict() as conflict):
                self.conflicts = self.conflicts or []
                self.conflicts.append(bounded(conflict, len(self.conflicts)))
            case RunHeld():
                waits = event.conflicts or event.waits
                self.status = RunStatus.HELD if waits else RunStatus.RUNNING
                self.held = event.conflicts
            case ConflictSettled():
                self.held = tuple(name for name in self.held if name != event.conflict)
                self.conflicts = [event.applied_to(each) for each in self.conflicts]
            case FallbackPlanned():
                self.fallbacks = self.fallbacks or []
                self.fallbacks.append(event)
            case LayerChanged():
                self.layer_changes = self.layer_changes or []
                self.layer_changes.append(event)
            case RunEnded():
                self.ended = event
                self.status = RunStatus(event.status)

    def _note_lost(self, step_id: str, text: str) -> None:
        self.lost = self.lost or {}
        known = self.lost.setdefault(step_id, [])
        if len(known) < LOST_NAMED_MAX:
            known.append(text)

    def _note_lost_rows(self, event: SegmentEnded) -> None:
        for row in event.rows:
            if row.outcome == Outcome.UNKNOWN.value:
                why = (row.failure or {}).get("message", "")
                text = f"attempt {event.attempt} of its segment in C was lost: {why}"
                self._note_lost(row.step, text)

    def _retried(self, event: RunRetried) -> None:
        """Forget the ends of what runs again."""
        self.ended, self.status = None, RunStatus.QUEUED
        again = set(event.steps)
        for step_id in again & self.steps.keys():
            del self.steps[step_id]
        self.conflicts = [each for each in self.conflicts if each["step"] not in again]
        self.held = ()
        self.waits.clear()
        self.running.clear()

    def _restarted(self, event: RunRestarted) -> None:
        """Forget what ran: another plan counts."""
        self.status, self._plan, self.changed = RunStatus.QUEUED, None, event.changed
        self._plan_value = event.plan
        self.steps.clear()
        self.running.clear()
        self.conflicts, self.held = NO_LIST, ()
        self.waits.clear()
        self.fallbacks = NO_LIST

    # Any: results hold values of any kind.
    def result(self) -> dict[str, Any]:
        """Give the result as ``API`` pins it; before the end, as far as it is known."""
        accepted, ended = self.accepted, self.ended
        assert accepted is not None, "the first event of a run is its acceptance"
        shown = [step for step in self.plan.steps if step.id in self.steps]
        result: dict[str, Any] = {
            "status": self.status.value,
            "results": self._results(shown),
            "error": ended.error if ended else None,
            "error_detail": ended.error_detail if ended else None,
            "run_id": accepted.run_id,
            "command_set_id": accepted.command_set_id,
            "name": accepted.name,
            "mode": accepted.mode,
            "durability": accepted.durability,
            "duration": ended.duration if ended else None,
            "steps": {step.id: self._step(step, self.steps[step.id]) for step in shown},
            "notes": self._notes(),
        }
        if ended is not None and ended.consensus_achieved is not None:
            result["consensus_achieved"] = ended.consensus_achieved
            result["conflicts"] = ended.conflicts or []
        elif self.conflicts:
            result["consensus_achieved"] = False
            result["conflicts"] = self.conflicts
        return result

    def _results(self, shown: list[PlannedStep]) -> Any:
        if self.plan.handler is not None:
            step = self.steps.get(self.plan.steps[0].id)
            return from_value(step.output) if step is not None else None
        return {
            step.id: from_value(self.steps[step.id].output)
            for step in shown
            if self.steps[step.id].outcome == "succeeded"
        }

    def _step(self, planned: PlannedStep, step: StepEnded) -> dict[str, Any]:
        reason = step.reason
        if not reason and planned.assignment is not None:
            reason = planned.assignment.reason  # that of a segment's step is in the plan alone
        shown = {
            "outcome": step.outcome,
            "layer": step.layer or None,
            "implementation": step.implementation or None,
            "attempts": step.attempts,
            "seconds": step.seconds,
            "reason": reason,
            "cached": step.cached,
            "stopped": step.stopped,
            "failed_items": list(step.failed_items or ()),
            "error": None if step.failure is None else step.failure["message"],
            "error_type": None if step.failure is None else step.failure["type"],
        }
        if step.work_seconds:
            shown["work_seconds"] = step.work_seconds
        if step.implementations is not None:
            shown["implementations"] = step.implementations
        if planned.assignment is not None and planned.assignment.not_compared is not None:
            shown["not_compared"] = planned.assignment.not_compared
        return shown

    def _twins_disagree(self) -> bool:
        failed = self.ended is not None and self.status is RunStatus.FAILED
        return failed and any(each["resolution"] == "must_agree" for each in self.conflicts)

    def _notes(self) -> list[str]:
        notes = list(self.plan.notes)
        for change in self.layer_changes:
            detail = f": {change.detail}" if change.detail else ""
            notes.append(f"the {change.layer} layer {change.change.replace('_', ' ')}{detail}")
        notes.extend(
            f"step {fallback.step!r} fell back from {fallback.left} to {fallback.right}: "
            f"{fallback.reason}"
            for fallback in self.fallbacks
        )
        if self.changed:
            notes.append(f"it started from the beginning: {', '.join(self.changed)}")
        if self._twins_disagree():
            notes.append(
                "the twins of a set that must agree do not: `tandem twins bisect` runs it all in one "
                "implementation, then all in the other, and names the step at which they part"
            )
        if self.ended is None and self.accepted is not None:
            notes.extend(self._waits_for())
        if self.status is RunStatus.HELD and self.accepted is not None:
            notes.extend(
                f"conflict {name} waits for a decision: tandem conflicts resolve "
                f"{self.accepted.run_id} {name} --pick left|right"
                for name in self.held[:HELD_NAMED_MAX]
                if not name.startswith("unknown:")
            )
            notes.extend(
                f"step {name.removeprefix('unknown:').rpartition('/')[0]!r} may have run: "
                f"tandem runs resolve {self.accepted.run_id} STEP --output JSON, or retry"
                for name in self.held[:HELD_NAMED_MAX]
                if name.startswith("unknown:")
            )
        return notes

    def _waits_for(self) -> list[str]:
        """Say what each waiting step waits for, and what brings it on."""
        assert self.accepted is not None
        run_id, notes = self.accepted.run_id, []
        for step, wait in list(self.waits.items())[:HELD_NAMED_MAX]:
            if wait.signal:
                how = f"the signal {wait.signal!r}: tandem runs signal {run_id} {wait.signal}"
            else:
                asked = f" ({wait.prompt[:PROMPT_CHARS_MAX]})" if wait.prompt else ""
                how = f"an approval{asked}: tandem runs approve {run_id} {step}"
            notes.append(f"step {step!r} waits for {how}")
        return notes


def _lost_attempt(event: AttemptEnded) -> str:
    """Say which attempt was lost, and why."""
    item = "" if event.item is None else f" of item {event.item}"
    verb = "never started" if event.outcome == Outcome.NOT_STARTED.value else "was lost"
    failure = event.failure or {}
    why = f": {failure.get('type')}: {failure.get('message')}" if failure else ""
    return f"attempt {event.attempt}{item} ({event.implementation}) {verb}{why}"
