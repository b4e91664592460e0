"""Taking a command set in: snapshot, callables by name, inputs, plan. Nothing runs here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.errors import Fault, InvalidCommandSet, NotAValue
from tandem_orchestrator.model.callables import find_callable, name_of
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.conditions import refs_in
from tandem_orchestrator.model.documents import to_document
from tandem_orchestrator.model.plans import Plan, PlannedStep
from tandem_orchestrator.model.refs import Missing, Ref, find_refs
from tandem_orchestrator.model.snapshot import snapshot
from tandem_orchestrator.model.values import to_value
from tandem_orchestrator.plan import PlanOptions, make_plan


@dataclass(frozen=True, slots=True)
class Intake:
    """A command set, ready to be given to the engine."""

    command_set: CommandSet
    plan: Plan
    document: dict[str, Any]
    resumable: bool
    callables: Mapping[str, Callable[..., Any]]
    inputs: dict[str, Any]


def take_in(
    command_set: CommandSet,
    catalogue: Catalogue,
    options: PlanOptions,
    *,
    inputs: Mapping[str, Any] | None = None,
    steps_max: int = 1_000_000,
) -> Intake:
    """Check and plan a command set; the caller's objects are only read.

    Raises:
        InvalidCommandSet: with every fault at once.
        LayerUnavailable: if its mode needs a layer that is away.
    """
    copy, faults = snapshot(command_set, steps_max=steps_max)
    callables, names = _collect(copy, faults)
    given = _inputs(inputs, faults)
    plan = make_plan(copy, catalogue, options, faults=tuple(faults), names=names)
    missing = tuple(_missing_inputs(plan, given))
    if missing:
        raise InvalidCommandSet(faults=missing)
    document = to_document(copy)
    return Intake(copy, plan, document.body, document.resumable, callables, given)


def _collect(
    command_set: CommandSet, faults: list[Fault]
) -> tuple[dict[str, Callable[..., Any]], dict[int, str]]:
    """Give (name to callable, id of callable to name) for everything a plan may have to call."""
    callables: dict[str, Callable[..., Any]] = {}
    names: dict[int, str] = {}
    for path, given in _callables_of(command_set, ""):
        if isinstance(given, str):
            try:
                callables[given] = find_callable(given)
            except LookupError as error:
                faults.append(Fault("bad_reference", path, str(error), given))
            continue
        name = name_of(given) or f"$local:{path}"
        callables[name] = given
        names[id(given)] = name
    return callables, names


def _callables_of(
    command_set: CommandSet, path: str
) -> Iterator[tuple[str, Callable[..., Any] | str]]:
    if command_set.python_handler is not None:
        yield f"{path}python_handler", command_set.python_handler
    for i, step in enumerate(command_set.steps):
        if step.validation_fn is not None:
            yield f"{path}steps[{i}].validation_fn", step.validation_fn
        if step.command_set is not None:
            yield from _callables_of(step.command_set, f"{path}steps[{i}].command_set.")


def _inputs(inputs: Mapping[str, Any] | None, faults: list[Fault]) -> dict[str, Any]:
    try:
        value = to_value(dict(inputs or {}), where="inputs")
    except (NotAValue, TypeError, ValueError) as error:
        faults.append(Fault("not_serialisable", "inputs", str(error), inputs))
        return {}
    return value if isinstance(value, dict) else {}


def _missing_inputs(plan: Plan, inputs: dict[str, Any]) -> Iterator[Fault]:
    for step in plan.steps:
        for ref in _input_refs(step):
            try:
                ref.walk(inputs)
            except Missing as missing:
                have = ", ".join(inputs) or "none"
                text = f"step {step.id!r} refers to {missing.args[0]}, and the inputs are: {have}"
                yield Fault("bad_reference", f"inputs.{'.'.join(ref.path)}", text, str(ref))


def _input_refs(step: PlannedStep) -> Iterator[Ref]:
    found = [ref for part in (step.payload, step.for_each) for _, ref in find_refs(part)]
    if step.when is not None:
        found.extend(ref for ref in refs_in(step.when))
    for ref in found:
        if isinstance(ref, Ref) and ref.step == "inputs" and not ref.has_default:
            yield ref
