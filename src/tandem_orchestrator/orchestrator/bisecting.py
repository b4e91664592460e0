"""Run a command set once in each implementation, to find the step where the two ways part."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.events import AnyEvent, StepEnded, steps_ended
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.twins.bisection import Bisection
from tandem_orchestrator.twins.bisection import bisect as compare_ways

if TYPE_CHECKING:
    from tandem_orchestrator.orchestrator.orchestrator import TandemOrchestrator

NAMED_MAX = 10
"""Steps that a refusal names."""


# Any: inputs are values of any kind.
async def bisect(
    tandem: TandemOrchestrator,
    command_set: CommandSet,
    *,
    left: str,
    right: str,
    inputs: Mapping[str, Any] | None,
) -> Bisection:
    """Run a set all-left, then all-right, each on its own values, and compare step by step.

    A step that has not both runs in the same implementation on both sides.

    Raises: CommandError if a step has external effects, or none has both implementations; what
        ``submit`` raises.
    """
    catalogue = tandem.catalogue()
    forced = _forced(command_set, catalogue, left, right)
    _check(tandem.validate(forced, inputs=inputs), catalogue, left, right)
    ends: list[dict[str, StepEnded]] = []
    runs: list[str] = []
    plan: Plan | None = None
    for name, other in ((left, right), (right, left)):
        found: dict[str, StepEnded] = {}
        asked = _forced(command_set, catalogue, name, other)
        plan = tandem.validate(asked, inputs=inputs)
        heard: dict[str, dict[str, StepEnded]] = {}

        def note(
            run_id: str, event: AnyEvent, into: dict[str, dict[str, StepEnded]] = heard
        ) -> None:
            for ended in steps_ended(event):
                into.setdefault(run_id, {})[ended.step] = ended

        async with tandem.listening(note):
            run = await tandem.submit(asked, inputs=inputs)
            await run.result_or_cancel()
        found = heard.get(run.id, {})
        ends.append(found)
        runs.append(run.id)
    assert plan is not None
    rules = {}
    for step in plan.steps:
        action = catalogue.action(step.agent, step.action)
        rules[step.id] = None if action is None else action.compare
    return compare_ways(
        plan,
        inputs or {},
        (ends[0], ends[1]),
        rules,
        implementations=(left, right),
        runs=(runs[0], runs[1]),
    )


def _check(plan: Plan, catalogue: Catalogue, left: str, right: str) -> None:
    """Refuse what may not run twice, and what has nothing to compare."""
    external, both = [], 0
    for step in plan.steps:
        action = catalogue.action(step.agent, step.action)
        if action is None:
            continue
        if not may_repeat(action.effects):
            external.append(f"{step.id!r} ({action.agent}.{action.name})")
        names = {i.name for i in action.implementations}
        both += left in names and right in names
    if external:
        raise CommandError(
            "bisect runs every step twice, and these have external effects: "
            f"{', '.join(external[:NAMED_MAX])}; leave them out, or declare effects='none' or "
            "'idempotent' where that is true"
        )
    if left == right or not both:
        raise CommandError(
            f"bisect: no step here has both a {left!r} and a {right!r} implementation"
        )


def _forced(command_set: CommandSet, catalogue: Catalogue, name: str, other: str) -> CommandSet:
    """Copy a set so that every step that can runs in one implementation, and fails softly."""
    forced = copy.copy(command_set)
    forced.mode, forced.idempotency_key = "intelligent", None
    forced.on_failure = "drain"  # A step that fails on one side hides only what needs it.
    forced.steps = []
    for step in command_set.steps:
        mine = copy.copy(step)
        if step.command_set is not None:
            mine.command_set = _forced(step.command_set, catalogue, name, other)
            mine.command_set.mode = None
        elif (action := catalogue.action(step.agent, step.action)) is not None:
            names = [i.name for i in action.implementations]
            pinned = step.implementations[0] if step.implementations else names[0]
            mine.implementations = [name if name in names and other in names else pinned]
        forced.steps.append(mine)
    return forced
