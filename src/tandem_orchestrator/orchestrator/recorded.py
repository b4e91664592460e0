"""Inputs that an action has had: payloads of runs in the journal, references resolved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from tandem_orchestrator.engine import RunState
from tandem_orchestrator.engine.advance import replay
from tandem_orchestrator.engine.state import StepState
from tandem_orchestrator.engine.turn import look_up, resolve_payload
from tandem_orchestrator.journal import Journal, Record
from tandem_orchestrator.model.events import RunAccepted
from tandem_orchestrator.model.plans import plan_from_value
from tandem_orchestrator.model.refs import Missing, as_ref, substitute
from tandem_orchestrator.twins.canonical import same

RUNS_LOOKED_AT_MAX = 1_000
"""Runs in which inputs are looked for, the newest ones."""


# Any: payloads are values of any kind.
async def recorded_payloads(journal: Journal, agent: str, action: str, limit: int) -> list[Any]:
    """Give payloads that an action was given, newest runs first, each once.

    Raises: JournalError.
    """

    def choose(record: Record) -> str | None:
        event = record.event
        if not isinstance(event, RunAccepted):
            return None
        steps = event.plan.get("steps", ())
        uses = any(s.get("agent") == agent and s.get("action") == action for s in steps)
        return event.run_id if uses else None

    found: list[Any] = []
    for run_id in await journal.find("run_accepted", choose, limit=RUNS_LOOKED_AT_MAX):
        for payload in _payloads(await journal.records(run_id), agent, action):
            if not any(same(payload, known) for known in found):
                found.append(payload)
            if len(found) >= limit:
                return found
    return found


def _payloads(records: list[Record], agent: str, action: str) -> Iterator[Any]:
    events = [record.event for record in records]
    accepted = next((event for event in events if isinstance(event, RunAccepted)), None)
    if accepted is None:
        return
    try:
        plan = plan_from_value(accepted.plan)
    except msgspec.ValidationError:
        return  # Of another version: there are other runs.
    state = replay(RunState.of(plan, accepted.inputs), events)
    for step in state.steps.values():
        if step.plan.agent != agent or step.plan.action != action:
            continue
        source = step.plan.for_each
        try:
            if source is None:
                yield resolve_payload(state, step, None)
                continue
            step.items = _items(state, step, source)
            for i in range(len(step.items) if isinstance(step.items, list) else 0):
                yield resolve_payload(state, step, i)
        except Missing:
            continue  # What it refers to was never made: it had no input then, either.


# Any: a list, or whatever a ``for_each`` turned out to be.
def _items(state: RunState, step: StepState, source: Any) -> Any:
    ref = as_ref(source)
    if ref is not None:
        return look_up(state, step, None, ref)
    return substitute(source, lambda found: look_up(state, step, None, found))
