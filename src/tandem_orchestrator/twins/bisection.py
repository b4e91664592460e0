"""Where two ways through one plan part: the first step, and the first field of it, that differ.

A plan was run twice, each time in one implementation throughout and on its own values in between.
Steps are looked at in an order in which each comes after those it depends on, so that the first
that differs had equal inputs: the divergence is its own. What differs behind it may only follow.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tandem_orchestrator.model.comparing import CompareRules
from tandem_orchestrator.model.events import StepEnded
from tandem_orchestrator.model.plans import Plan, PlannedStep
from tandem_orchestrator.model.refs import Missing, Ref, substitute
from tandem_orchestrator.twins.compare import differences


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One side's view of a step."""

    implementation: str
    # Any: payloads and outputs are any values.
    payload: Any
    """What it was given, references resolved; of the item, where one differs."""
    inputs: dict[str, Any]
    """Outputs of the steps before."""
    outcome: str
    output: Any = None
    failure: dict[str, Any] | None = None


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """A step at which the two ways differ."""

    step: str
    agent: str
    action: str
    item: int | None = None
    """Of a ``for_each``: the first item that differs."""
    fields: list[dict[str, Any]]
    """``{path, left, right}``, as in a conflict."""
    follows: tuple[str, ...] = ()
    """Steps it depends on that differ, too: it may only follow from them. Empty: its own."""


class Bisection(msgspec.Struct, frozen=True, kw_only=True):
    """What two runs of one command set, one in each implementation, have shown."""

    implementations: tuple[str, str]
    runs: tuple[str, str]
    """Ids of the two runs."""
    compared: int
    """Steps that ran on both sides in different implementations."""
    diverged: tuple[Divergence, ...]
    """In the order of the plan."""
    sides: tuple[Side, Side] | None = None
    """Of the first that diverged: what went in and came out on either side."""

    @property
    def first(self) -> Divergence | None:
        """The step where it began; None where the two ways agree."""
        return self.diverged[0] if self.diverged else None

    def line(self) -> str:
        """Say it in one line."""
        left, right = self.implementations
        if self.first is None:
            return f"{left} and {right} agree in all {self.compared} steps that have both"
        place = self.first.fields[0]["path"] or "the whole output"
        item = "" if self.first.item is None else f" item {self.first.item}"
        text = f"{left} and {right} part at step {self.first.step!r}{item}, in {place}"
        behind = sum(bool(each.follows) for each in self.diverged)
        own = len(self.diverged) - 1 - behind
        text += f"; {behind} later steps follow from it" if behind else ""
        return text + (f"; {own} more differ by themselves" if own else "")

    # Any: plain data.
    def to_value(self) -> dict[str, Any]:
        """Give the plain form."""
        value: dict[str, Any] = msgspec.to_builtins(self, builtin_types=(bytes,))
        return {**value, "agree": self.first is None, "line": self.line()}


def bisect(
    plan: Plan,
    given: Mapping[str, Any],
    ends: tuple[Mapping[str, StepEnded], Mapping[str, StepEnded]],
    rules: Mapping[str, CompareRules | None],
    *,
    implementations: tuple[str, str],
    runs: tuple[str, str],
) -> Bisection:
    """Compare the two ways step by step.

    Args:
        given: The runs' inputs.
        ends: Step to its end, of the left and of the right run.
        rules: Step to what counts as equal.
    """
    left, right = ends
    found: list[Divergence] = []
    sides: tuple[Side, Side] | None = None
    compared = 0
    differing: set[str] = set()
    for step in plan.steps:
        if step.is_group:
            continue
        one, other = left.get(step.id), right.get(step.id)
        if one is not None and other is not None:
            names = {one.implementation, other.implementation}
            compared += len(names) == 2 and "" not in names
        fields = _fields(one, other, rules.get(step.id))
        if not fields:
            continue
        item = _item(step, fields)
        follows = tuple(need for need in _needs(plan, step) if need in differing)
        differing.add(step.id)
        found.append(
            Divergence(
                step=step.id,
                agent=step.agent,
                action=step.action,
                item=item,
                fields=fields,
                follows=follows,
            )
        )
        if sides is None:
            sides = (
                _side(step, left, given, item, implementations[0]),
                _side(step, right, given, item, implementations[1]),
            )
    return Bisection(
        implementations=implementations,
        runs=runs,
        compared=compared,
        diverged=tuple(found),
        sides=sides,
    )


def _fields(
    one: StepEnded | None, other: StepEnded | None, rules: CompareRules | None
) -> list[dict[str, Any]]:
    outcomes = [None if end is None else end.outcome for end in (one, other)]
    if one is not None and other is not None and outcomes == ["succeeded", "succeeded"]:
        return [found.to_value() for found in differences(one.output, other.output, rules)]
    kinds = [
        end.failure["type"] if end is not None and end.failure is not None else None
        for end in (one, other)
    ]
    if rules is not None:
        kinds = [rules.failure_kind(kind) for kind in kinds]
    shown = [{"outcome": o, "type": k} for o, k in zip(outcomes, kinds, strict=True)]
    return [] if shown[0] == shown[1] else [{"path": "", "left": shown[0], "right": shown[1]}]


def _needs(plan: Plan, step: PlannedStep) -> list[str]:
    """List the actions that a step depends on; of a group those in it."""
    needs: list[str] = []
    for need in step.depends_on:
        planned = plan.step(need)
        if planned is not None and planned.is_group:
            needs.extend(each.id for each in plan.steps if each.id.startswith(f"{need}/"))
        else:
            needs.append(need)
    return needs


def _item(step: PlannedStep, fields: list[dict[str, Any]]) -> int | None:
    first = str(fields[0]["path"]).split("/")
    return int(first[1]) if step.for_each is not None and len(first) > 1 else None


def _side(
    step: PlannedStep,
    ends: Mapping[str, StepEnded],
    given: Mapping[str, Any],
    item: int | None,
    implementation: str,
) -> Side:
    end = ends.get(step.id)
    outputs = {name: each.output for name, each in ends.items() if each.outcome == "succeeded"}

    # Any: references lead to values of any kind.
    def look_up(ref: Ref) -> Any:
        if ref.step == "item":
            items = substitute(step.for_each, look_up)
            source = items[item] if item is not None else None
        else:
            source = given if ref.step == "inputs" else outputs.get(step.scope + ref.step)
        try:
            return ref.walk(source)
        except Missing:
            return ref.default if ref.has_default else None

    return Side(
        implementation=implementation if end is None else end.implementation or implementation,
        payload=substitute(step.payload, look_up),
        inputs={name: outputs.get(other) for name, other in step.inputs_from},
        outcome="not reached" if end is None else end.outcome,
        output=None if end is None else end.output,
        failure=None if end is None else end.failure,
    )
