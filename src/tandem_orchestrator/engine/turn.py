"""One turn of ``advance``: the state it changes, what it wants done, what it still has to look at.

Consequences are queued rather than called, so a chain of 100,000 skipped steps needs no deep
stack, and the rooms for units, steps and groups need not know each other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tandem_orchestrator.engine.instructions import Instruction, Record, UnitKey
from tandem_orchestrator.engine.state import RunState, StepState
from tandem_orchestrator.model.events import AnyEvent
from tandem_orchestrator.model.refs import NO_DEFAULT, Missing, Ref, as_ref, find_refs, substitute


@dataclass(slots=True)
class Turn:
    """What one call of ``advance`` works with."""

    state: RunState
    out: list[Instruction] = field(default_factory=list)
    starting: deque[str] = field(default_factory=deque)
    """Steps whose last dependency has ended."""
    ready: deque[int] = field(default_factory=deque)
    """Segments that wait for nothing any more."""
    ended: deque[str] = field(default_factory=deque)
    """Steps that ended, whose dependents and group have not been told."""

    def give_out(self, name: str, *instructions: Instruction) -> None:
        """Have work started: now, or when a paused run goes on."""
        if self.state.paused:
            self.state.parked = self.state.parked or {}
            self.state.parked[name] = instructions
        else:
            self.out.extend(instructions)

    def bring_out(self, name: str) -> None:
        """Start what was put off after all: it is to be stopped, and tells its end then."""
        if self.state.parked:
            self.out.extend(self.state.parked.pop(name, ()))

    def record(self, event: AnyEvent) -> None:
        """Have a conclusion journaled."""
        self.out.append(Record(event))


# Any below: references lead to values of any kind.
def look_up(state: RunState, step: StepState, item: Any, ref: Ref) -> Any:
    """Find what a reference in ``step`` means at this moment.

    Raises: Missing if there is nothing and no default; it names the part that is not there.
    """
    if ref.step == "item":
        source = item
    elif ref.step == "inputs":
        source = state.inputs
    else:
        producer = state.steps[step.plan.scope + ref.step]
        source = None if producer.gave_nothing else producer.output
    try:
        return ref.walk(source)
    except Missing:
        if ref.default is NO_DEFAULT:
            raise
        return ref.default


def resolve_payload(state: RunState, step: StepState, item: int | None) -> Any:
    """Copy a step's payload with every reference replaced.

    Raises: Missing if one leads nowhere and has no default.
    """
    value = None if item is None or step.items is None else step.items[item]
    return substitute(step.plan.payload, lambda ref: look_up(state, step, value, ref))


def items_of(state: RunState, step: StepState) -> Any:
    """Give what a step's ``for_each`` means; a list, if it was written well.

    Raises: Missing if it refers to what is not there.
    """
    source = step.plan.for_each
    ref = as_ref(source)
    if ref is not None:
        return look_up(state, step, None, ref)
    return substitute(source, lambda inner: look_up(state, step, None, inner))


def inputs_of(state: RunState, step: StepState) -> dict[str, Any]:
    """Give the outputs of the steps before, by the names that ``ctx.inputs`` has them under."""
    return {name: state.steps[other].output for name, other in step.plan.inputs_from}


def part_of(step: StepState, key: UnitKey) -> dict[str, Any]:
    """Give the payload of one part of a batch that was split."""
    assert key.part is not None
    whole = UnitKey(key.step, key.item, key.implementation).place
    payload = step.splits[whole].payload
    return {**payload, "items": payload["items"][key.part[0] : key.part[1]]}


def empty_producer(state: RunState, step: StepState) -> str | None:
    """Name a step that gave nothing although this one refers into it without a default."""
    for part in (step.plan.payload, step.plan.for_each):
        for _, ref in find_refs(part):
            if isinstance(ref, Ref) and ref.step not in ("item", "inputs") and not ref.has_default:
                name = step.plan.scope + ref.step
                if state.steps[name].gave_nothing:
                    return name
    return None
