"""What is wrong with single steps: everything that can be said without looking at the graph. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.catalogue import Action, Catalogue, nearest
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.conditions import check_condition
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.model.shapes import check_shape
from tandem_orchestrator.model.snapshot import RESOLUTIONS
from tandem_orchestrator.plan.flatten import FlatStep
from tandem_orchestrator.plan.options import PlanOptions

TIMEOUT_S_MAX = 10 * 365 * 86_400.0
"""Ten years: beyond that a time limit is a mistake in units."""


def check_set(owner: CommandSet, path: str, options: PlanOptions) -> Iterator[Fault]:
    """List the faults of a command set's own fields."""
    yield from _timeout_faults(owner.timeout, path + "timeout")
    yield from _retry_faults(owner.retry_policy, path + "retry_policy")
    for i, library in enumerate(owner.requires_libraries):
        if not options.is_installed(library):
            near = nearest(library.partition(".")[0], options.installed())
            text = f"library {library!r} is not installed here; install the package that has it"
            yield Fault("missing_library", f"{path}requires_libraries[{i}]", text, library, near)
    for name, value, expected in (
        ("durability", owner.durability, (None, "sync", "group", "async", "none")),
        ("on_failure", owner.on_failure, ("stop", "drain")),
        ("on_change", owner.on_change, ("continue", "restart", "hold")),
        ("conflict_resolution", owner.conflict_resolution, (None, *RESOLUTIONS)),
    ):
        yield from _choice_faults(path + name, value, expected)


def check_step(flat: FlatStep, catalogue: Catalogue, *, with_handler: bool) -> Iterator[Fault]:
    """List the faults of one step; with a ``python_handler`` its steps are only data."""
    step, path = flat.step, flat.path
    yield from _timeout_faults(step.timeout, f"{path}.timeout")
    if step.retry_policy is not None:
        yield from _retry_faults(step.retry_policy, f"{path}.retry_policy")
    if step.expected_output is not None:
        yield from check_shape(step.expected_output, f"{path}.expected_output")
    if step.when is not None:
        yield from check_condition(step.when, f"{path}.when")
    yield from _choice_faults(f"{path}.on_item_failure", step.on_item_failure, ("fail", "collect"))
    if step.command_set is not None:
        if step.agent or step.action:
            text = "a step has either a command_set or an agent and an action, not both"
            yield Fault("bad_type", f"{path}.command_set", text, step.agent or step.action)
        if step.for_each is not None:
            text = "for_each over a nested command set is not possible; put it on the steps inside"
            yield Fault("bad_type", f"{path}.for_each", text)
    elif not with_handler:
        yield from _action_faults(flat, catalogue)


def _action_faults(flat: FlatStep, catalogue: Catalogue) -> Iterator[Fault]:
    agent, name, path = flat.step.agent, flat.step.action, flat.path
    hint = f"; the C layer, which may have it, is away: {catalogue.away['c']}" if (
        catalogue.away.get("c")
    ) else ""  # fmt: skip
    if not agent:
        yield Fault("unknown_agent", f"{path}.agent", "the step names no agent", agent)
    elif agent not in catalogue.agents:
        near = catalogue.nearest_agents(agent)
        text = f"there is no agent {agent!r}{hint}"
        yield Fault("unknown_agent", f"{path}.agent", text, agent, near)
    elif not name:
        yield Fault("unknown_action", f"{path}.action", "the step names no action", name)
    else:
        action = catalogue.action(agent, name)
        if action is None:
            near = catalogue.nearest_actions(agent, name)
            text = f"agent {agent!r} has no action {name!r}{hint}"
            yield Fault("unknown_action", f"{path}.action", text, name, near)
        elif not action.implementations:
            text = (
                f"agent {agent!r} announces {name!r} and has no handler for it; "
                f"add one with @agent.action({name!r})"
            )
            yield Fault("unknown_action", f"{path}.action", text, name)


def retry_of(flat: FlatStep) -> RetryPolicy:
    """Give the retry policy that a step goes by: its own, else its command set's."""
    given = flat.step.retry_policy
    return RetryPolicy.parse(flat.owner.retry_policy if given is None else given)


def needs_python_to_look(flat: FlatStep, action: Action | None) -> bool:
    """Say whether Python must see a step's output before anything may follow."""
    checked = flat.step.validation_fn is not None or flat.step.expected_output is not None
    return checked or (action is not None and action.transient)


def _timeout_faults(value: float | None, path: str) -> Iterator[Fault]:
    if value is not None and not 0 < value <= TIMEOUT_S_MAX:
        text = f"a time limit of {value} s is impossible; expected above 0 and at most ten years"
        yield Fault("impossible_timeout", path, text, value)


def _retry_faults(given: dict[str, Any], path: str) -> Iterator[Fault]:
    try:
        RetryPolicy.parse(given)
    except ValueError as error:
        yield Fault("bad_type", path, str(error), given)


def _choice_faults(path: str, value: str | None, expected: tuple[Any, ...]) -> Iterator[Fault]:
    if value not in expected:
        words = ", ".join(repr(choice) for choice in expected if choice is not None)
        yield Fault("bad_type", path, f"{value!r}, expected one of {words}", value)
