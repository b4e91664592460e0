"""Runs that start from the beginning because one of their actions changed. Pure.

Nothing of what ran counts any more, but it is not forgotten that it did: attempts, segments and
conflicts go on counting, and what may have had effects outside does not start again by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from typing import Any

from tandem_orchestrator.engine.state import ROOT, RunState, StepState
from tandem_orchestrator.engine.units import OWNER_DIED
from tandem_orchestrator.model.events import AnyEvent, RunRestarted, SignalReceived
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import Plan, plan_from_value, plan_to_value


def may_restart(state: RunState) -> bool:
    """Say whether a run has something to start again: it is not over, and not about to be."""
    return not state.status.is_final and not state.cancelled and not state.groups[ROOT].halted


def restarted(
    state: RunState, plan: Plan, changed: Iterable[str], events: Iterable[AnyEvent]
) -> RunRestarted:
    """Say what a run that starts again has to know of what it did.

    Args:
        state: Where it stood.
        plan: What it will do now; its steps are the same.
        changed: The actions that changed, for people.
        events: All that happened to it.
    """
    signals: dict[str, list[Any]] = {}
    for event in events:
        if isinstance(event, SignalReceived):
            signals.setdefault(event.name, []).append(event.payload)
    return RunRestarted(
        plan=plan_to_value(plan), changed=tuple(changed), ran=tuple(_ran(state)), signals=signals
    )


def restart(state: RunState, event: RunRestarted) -> None:
    """Make a run one that has not begun, under its new plan."""
    plan = plan_from_value(event.plan)
    fresh = RunState.of(
        plan, state.inputs, segments_before=state.segments_made, alone=dict.fromkeys(event.ran)
    )
    for step_id, step in fresh.steps.items():
        old = state.steps.get(step_id)
        if old is not None:
            step.before = step.highest = old.highest
            step.attempts, step.seconds, step.sides = old.attempts, old.seconds, old.sides
            if step.plan.for_each is None:
                step.attempts = max(old.attempts, old.highest)  # One may have been in flight.
    fresh.ran = {
        one: None
        for one in event.ran
        if one in fresh.steps and not _goes_by_itself(fresh.steps[one])
    }
    fresh.paused = state.paused and not state.handed_over
    fresh.conflicts_made = state.conflicts_made
    fresh.signals = {name: list(payloads) for name, payloads in event.signals.items()}
    for one in fields(RunState):
        setattr(state, one.name, getattr(fresh, one.name))


def _goes_by_itself(step: StepState) -> bool:
    """Say whether its retry policy lets a step run once more that may have run."""
    policy = step.plan.retry
    return policy.max_retries > 0 and policy.wants(Outcome.UNKNOWN.value, OWNER_DIED)


def _ran(state: RunState) -> Iterator[str]:
    """Give the steps with effects outside that ran, or may have."""
    crossed = _given_out(state)
    for step_id, step in state.steps.items():
        has_effects = step.plan.kind == "action" and step.plan.effects == "external"
        is_asked = has_effects and step.plan.agent and not step.plan.waits
        if is_asked and (step_id in state.ran or step_id in crossed or _started(step)):
            yield step_id


def _started(step: StepState) -> bool:
    return step.highest > 0 or step.attempts > 0


def _given_out(state: RunState) -> Mapping[str, None]:
    """Give the steps of segments that have been in C."""
    return {
        step_id: None
        for segment in state.segments.values()
        if segment.attempts
        for step_id in segment.steps
    }
