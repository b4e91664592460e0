"""Steps that wait for a person's approval or for a signal: they begin, are answered, are given up.

Pure. Such a step is running as far as the run is concerned, but nothing of it moves: it has no
attempt, no task and no place. Its time limit is one wait of the run.
"""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.engine.ending import Ending
from tandem_orchestrator.engine.instructions import Drop, Wait
from tandem_orchestrator.engine.state import RunState, StepState
from tandem_orchestrator.engine.turn import Turn, resolve_payload
from tandem_orchestrator.model.events import (
    SignalReceived,
    StepApproved,
    StepTimedOut,
    StepWaits,
)
from tandem_orchestrator.model.outcomes import Failure, Outcome
from tandem_orchestrator.model.refs import Missing

Answer = StepApproved | SignalReceived | StepTimedOut
"""What ends the wait of a step."""


def begin(turn: Turn, step: StepState) -> Ending | None:
    """Have a step wait; an ending if it need not, or cannot."""
    state, step_id = turn.state, step.plan.id
    try:
        payload = resolve_payload(state, step, None)
    except Missing as missing:
        text = f"the payload refers to {missing.args[0]}, which is not there"
        return Ending(Outcome.FAILED, failure=Failure("BadReference", text))
    name = prompt = ""
    if step.plan.waits == "signal":
        asked = payload.get("name") if isinstance(payload, dict) else None
        name = asked if isinstance(asked, str) else ""
        if name == "":
            text = f"name={asked!r}, expected the name of a signal"
            return Ending(Outcome.FAILED, failure=Failure("TypeError", text))
        step.reason = f"waits for the signal {name!r}"
        if name in state.signals:
            return Ending(Outcome.SUCCEEDED, _take_kept(state, name))
    else:
        asked = payload.get("prompt") if isinstance(payload, dict) else None
        prompt = asked if isinstance(asked, str) else ""
        step.reason = "waits for an approval"
    state.waiting = state.waiting or {}
    state.waiting[step_id] = name
    state.pause(step, paused=True)
    if step.plan.timeout_s is not None:
        late = StepTimedOut(step=step_id)
        turn.out.append(Wait(f"limit:{step_id}", step.plan.timeout_s, late))
    turn.record(StepWaits(step=step_id, signal=name, prompt=prompt))
    return None


# Any: a payload is any value.
def _take_kept(state: RunState, name: str) -> Any:
    kept = state.signals[name]
    payload = kept.pop(0)
    if not kept:
        del state.signals[name]
    return payload


def keep(state: RunState, event: SignalReceived) -> None:
    """Keep a signal until somebody waits for it."""
    state.signals = state.signals or {}
    state.signals.setdefault(event.name, []).append(event.payload)


def forget(turn: Turn, step: StepState) -> bool:
    """Have a step wait no longer, its ending follows; False if it did not."""
    state, step_id = turn.state, step.plan.id
    if step_id not in state.waiting:
        return False
    del state.waiting[step_id]
    state.pause(step, paused=False)
    turn.out.append(Drop(f"limit:{step_id}"))
    return True


def answer(turn: Turn, event: Answer) -> tuple[StepState, Ending] | None:
    """Give what waited, and what it has come to; None if nothing waits for this any more."""
    step = turn.state.steps.get(event.step or "")
    if step is None or not forget(turn, step):
        return None
    return step, _ending(step, event)


def _ending(step: StepState, event: Answer) -> Ending:
    if isinstance(event, SignalReceived):
        return Ending(Outcome.SUCCEEDED, event.payload)
    if isinstance(event, StepApproved):
        who = event.by or "nobody who said a name"
        step.reason = f"{'approved' if event.approved else 'rejected'} by {who}"
        if event.approved:
            given = {"approved": True, "by": event.by, "note": event.note, "at": event.at}
            return Ending(Outcome.SUCCEEDED, given)
        text = step.reason + (f": {event.note}" if event.note else "")
        return Ending(Outcome.FAILED, failure=Failure("Rejected", text))
    limit_s = step.plan.timeout_s or 0.0
    if step.plan.waits == "approval":
        text = f"nobody approved it within {limit_s:g} s"
        return Ending(Outcome.FAILED, failure=Failure("TimeoutError", text))
    text = f"the signal did not come within {limit_s:g} s"
    return Ending(Outcome.TIMED_OUT, failure=Failure("TimeoutError", text))
