"""Taking a command set in: snapshot, callables by name, inputs, plan. Nothing runs here."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tandem_orchestrator.engine import RunRequest
from tandem_orchestrator.errors import Fault, InvalidCommandSet, NotAValue
from tandem_orchestrator.model.callables import find_callable, name_of
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.conditions import refs_in
from tandem_orchestrator.model.documents import to_document
from tandem_orchestrator.model.events import RunAccepted
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.plans import Plan, PlannedStep, plan_to_value
from tandem_orchestrator.model.refs import Missing, Ref, find_refs
from tandem_orchestrator.model.snapshot import snapshot
from tandem_orchestrator.model.values import to_value
from tandem_orchestrator.orchestrator.ahead import NOTHING_AHEAD, Ahead
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
    needs_inputs: bool = False
    """Whether a reference leads into the run's inputs and has no default."""
    plan_value: dict[str, Any] | None = None
    """The plan as plain data; None: not made yet."""
    literals: tuple[bytes, ...] | None = None
    """As ``express.Asked``: the plan's own."""

    @property
    def names(self) -> tuple[str, str]:
        """Id and name of the command set."""
        return self.command_set.id, self.plan.name

    def of_another(
        self,
        command_set: CommandSet,
        plan: Plan,
        document: dict[str, Any],
        plan_value: dict[str, Any] | None,
    ) -> Intake:
        """Give the intake of another set of the same structure."""
        return replace(
            self, command_set=command_set, plan=plan, document=document, plan_value=plan_value
        )

    def own_intake(self) -> Intake:
        """As ``express.Asked``: this is it."""
        return self


def take_in(
    command_set: CommandSet,
    catalogue: Catalogue,
    options: PlanOptions,
    *,
    inputs: Mapping[str, Any] | None = None,
    steps_max: int = 1_000_000,
    faults: Iterable[Fault] = (),
) -> Intake:
    """Check and plan a command set; the caller's objects are only read.

    Args:
        faults: What was found before, while a file was read; reported together with the rest.

    Raises:
        InvalidCommandSet: with every fault at once.
        LayerUnavailable: if its mode needs a layer that is away.
    """
    copy, found = snapshot(command_set, steps_max=steps_max)
    given, unfit = _inputs(inputs)
    intake = _plan(copy, catalogue, options, [*faults, *found, *unfit])
    missing = tuple(_missing_inputs(intake.plan, given))
    if missing:
        raise InvalidCommandSet(faults=missing)
    return replace(intake, inputs=given)


def take_in_without_inputs(
    command_set: CommandSet,
    catalogue: Catalogue,
    options: PlanOptions,
    *,
    steps_max: int = 1_000_000,
) -> Intake:
    """As ``take_in``; the inputs come with each run, by ``with_inputs``."""
    copy, faults = snapshot(command_set, steps_max=steps_max)
    return _plan(copy, catalogue, options, faults)


def with_inputs(
    intake: Intake, inputs: Mapping[str, Any] | None
) -> tuple[Intake, tuple[Fault, ...]]:
    """Give the intake with the inputs of one run, and what is wrong with them."""
    given, unfit = _inputs(inputs)
    faults = tuple(unfit) or tuple(_missing_inputs(intake.plan, given))
    return replace(intake, inputs=given), faults


def plan_again(intake: Intake, catalogue: Catalogue, options: PlanOptions) -> Intake:
    """Route a command set anew that was taken in before.

    Raises: InvalidCommandSet, LayerUnavailable: what it needs is not there any more.
    """
    return _plan(intake.command_set, catalogue, options, [])


def _plan(
    copy: CommandSet, catalogue: Catalogue, options: PlanOptions, faults: list[Fault]
) -> Intake:
    """Plan a snapshot; faults that were found before are reported together with the rest."""
    callables, names = _collect(copy, faults)
    plan = make_plan(copy, catalogue, options, faults=tuple(faults), names=names)
    for step in plan.steps:
        if step.compare is not None and step.compare.has_hooks:
            action = catalogue.action(step.agent, step.action)
            callables.update(action.hooks if action else {})
    document = to_document(copy)
    needs_inputs = any(True for step in plan.steps for _ in _input_refs(step))
    return Intake(copy, plan, document.body, document.resumable, callables, {}, needs_inputs)


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


def _inputs(inputs: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[Fault]]:
    """Give the inputs as values, or the fault that they are none."""
    try:
        value = to_value(dict(inputs or {}), where="inputs")
    except (NotAValue, TypeError, ValueError) as error:
        return {}, [Fault("not_serialisable", "inputs", str(error), inputs)]
    # A dict that looks like a reserved form comes back wrapped: as inputs it means itself.
    return (value["$literal"] if value.keys() == {"$literal"} else value), []


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


def accepted_of(intake: Intake, run_id: str) -> RunAccepted:
    """Make the first record of a run."""
    plan = intake.plan
    return RunAccepted(
        run_id=run_id,
        command_set_id=intake.command_set.id,
        name=plan.name,
        type=plan.type,
        mode=plan.mode,
        priority=plan.priority,
        durability=plan.durability,
        document=intake.document,
        plan=plan_to_value(plan) if intake.plan_value is None else intake.plan_value,
        inputs=intake.inputs,
        resumable=intake.resumable,
        steps_total=len(plan.steps),
        idempotency_key=intake.command_set.idempotency_key,
    )


def request_of(intake: Intake, run_id: str, ahead: Ahead = NOTHING_AHEAD) -> RunRequest:
    """Make what the engine is handed, with the caller's context variables."""
    plan = intake.plan
    return RunRequest(
        run_id,
        plan,
        accepted_of(intake, run_id),
        Priority.parse(plan.priority),
        intake.inputs,
        intake.callables,
        intake.command_set if plan.handler is not None else None,
        contextvars.copy_context(),
        ahead.head,
        onward=ahead.onward,
        begun=ahead.begun,
    )
