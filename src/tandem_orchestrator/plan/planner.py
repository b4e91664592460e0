"""The planner: a checked command set becomes a plan, or every reason why it cannot. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tandem_orchestrator.errors import Fault, InvalidCommandSet, LayerUnavailable
from tandem_orchestrator.model.catalogue import Action, Catalogue, nearest
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.levels import HardwareAffinity, Priority
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.plans import Assignment, Plan, PlannedStep, shared
from tandem_orchestrator.model.policies import Policy
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.plan.check import check_set, check_step, needs_python_to_look, retry_of
from tandem_orchestrator.plan.flatten import FlatStep, Flattened, flatten
from tandem_orchestrator.plan.options import PlanOptions
from tandem_orchestrator.plan.route import Away, assign
from tandem_orchestrator.plan.segment import Cell, cut_segments
from tandem_orchestrator.plan.waits import wait_faults, waits_of

NAMED_MAX = 10
"""Steps of which a fault about all of them says why."""
HANDLER_STEP = "python_handler"
"""Id of the one step that stands for a ``python_handler``."""


@dataclass(slots=True)
class _Draft:
    """A plan in the making."""

    command_set: CommandSet
    catalogue: Catalogue
    options: PlanOptions
    flat: Flattened
    mode: ExecutionMode
    priority: Priority
    faults: list[Fault] = field(default_factory=list)
    away: tuple[ExecutionMode, Away] | None = None
    """The first step's mode that needs a layer that is away."""
    assignments: dict[str, Assignment] = field(default_factory=dict)
    by_id: dict[str, FlatStep] = field(default_factory=dict)


def make_plan(
    command_set: CommandSet,
    catalogue: Catalogue,
    options: PlanOptions,
    *,
    faults: tuple[Fault, ...] = (),
    names: Mapping[int, str] | None = None,
) -> Plan:
    """Plan a command set.

    Args:
        command_set: A snapshot (``documents.snapshot``): enumerations parsed, payloads plain.
        catalogue: What can be done at this moment.
        options: Settings and readings.
        faults: What the snapshot found wrong already; reported together with the rest.
        names: ``id(callable)`` to the name it has in the run's table.

    Raises:
        InvalidCommandSet: with every fault, if there is any.
        LayerUnavailable: if a mode that may not fall back needs a layer that is away.
    """
    if command_set.conflict_resolution is not None:
        options = replace(options, conflict_resolution=command_set.conflict_resolution)
    draft = _Draft(
        command_set,
        catalogue,
        options,
        flatten(command_set),
        ExecutionMode(command_set.mode or options.default_mode),
        Priority.parse(
            options.default_priority if command_set.priority is None else command_set.priority
        ),
        list(faults),
    )
    draft.by_id = {flat.id: flat for flat in draft.flat.steps}
    _check(draft)
    if command_set.python_handler is None:
        _assign(draft)
    if draft.faults:
        raise InvalidCommandSet(faults=(*faults, *_news(draft.faults[len(faults) :], faults)))
    if draft.away is not None:
        mode, away = draft.away
        raise LayerUnavailable(
            f"mode {mode.name} needs the {away.layer} layer, which is away: {away.reason}"
        )
    return _finish(draft, names or {})


def _check(draft: _Draft) -> None:
    draft.faults.extend(draft.flat.faults)
    draft.faults.extend(check_set(draft.command_set, "", draft.options))
    if draft.mode.value not in draft.catalogue.policies:
        draft.faults.append(_no_policy(draft, draft.mode, "mode"))
    with_handler = draft.command_set.python_handler is not None
    for flat in draft.flat.steps:
        draft.faults.extend(check_step(flat, draft.catalogue, with_handler=with_handler))
        if not with_handler:
            draft.faults.extend(wait_faults(flat))
        nested = flat.step.command_set
        if nested is not None:
            prefix = f"{flat.path}.command_set."
            draft.faults.extend(check_set(nested, prefix, draft.options))
            if nested.mode and ExecutionMode(nested.mode).value not in draft.catalogue.policies:
                mode = ExecutionMode(nested.mode)
                draft.faults.append(_no_policy(draft, mode, prefix + "mode"))
            if nested.conflict_resolution is not None:
                text = "a conflict_resolution belongs to the outermost command set"
                draft.faults.append(Fault("bad_type", prefix + "conflict_resolution", text))
            if nested.python_handler is not None:
                text = "a python_handler belongs to the outermost command set"
                draft.faults.append(Fault("bad_type", prefix + "python_handler", text))


def _news(found: Sequence[Fault], known: Sequence[Fault]) -> Iterator[Fault]:
    """Leave out what was found at, or inside of, a place that is known to be wrong already.

    The snapshot has put a default there, and that a default names no agent is not the user's slip.
    """
    wrong = {fault.path for fault in known if fault.code in ("bad_type", "not_serialisable")}
    for fault in found:
        path = fault.path
        ends = [i for i, char in enumerate(path) if char in ".["]
        if path not in wrong and "" not in wrong and not any(path[:end] in wrong for end in ends):
            yield fault


def _no_policy(draft: _Draft, mode: ExecutionMode, path: str) -> Fault:
    known = ", ".join(sorted(draft.catalogue.policies))
    text = f"mode {mode.value!r} has no policy; register_mode() gives it one. Known: {known}"
    return Fault("no_policy", path, text, mode.value, nearest(mode.value, draft.catalogue.policies))


def _mode_of(draft: _Draft, flat: FlatStep) -> ExecutionMode:
    """Give a nested set's own mode, else the one around it."""
    owner, parent = flat.owner, flat.parent
    while owner.mode is None and parent:
        owner, parent = draft.by_id[parent].owner, draft.by_id[parent].parent
    return ExecutionMode(owner.mode or draft.mode)


def _assign(draft: _Draft) -> None:
    compared = comparing = 0
    for flat in draft.flat.steps:
        action = draft.catalogue.action(flat.step.agent, flat.step.action)
        if flat.step.command_set is not None or action is None or not action.implementations:
            continue
        mode = _mode_of(draft, flat)
        policy = draft.catalogue.policies.get(mode.value)
        if policy is None:
            continue  # Said once for its set, by _check.
        options = draft.options
        if flat.step.for_each is not None and options.explore_share:
            # All its items would go to the one that is tried, however many they are.
            options = replace(options, explore_share=0.0)
        result = assign(
            action, policy, mode.value, flat.step.implementations,
            draft.catalogue, options, flat.path, flat.step.payload,
        )  # fmt: skip
        if isinstance(result, Fault):
            draft.faults.append(result)
        elif isinstance(result, Away):
            draft.away = draft.away or (mode, result)
        else:
            draft.assignments[flat.id] = shared(result)
            comparing += policy.verdict != "none"
            compared += result.verdict != "none"
        draft.faults.extend(_speed_faults(flat, policy))
    if comparing and not compared and draft.away is None and not draft.faults:
        draft.faults.append(_nothing_compared(draft))


def _nothing_compared(draft: _Draft) -> Fault:
    """Say for each step why it is not compared, and what to declare."""
    advice = {
        "external": "declare effects='none' or 'idempotent', where that is true",
        "single": "add a twin: @action.twin(NAME), or a C action of the same name",
        "named": "name two with implementations=",
    }
    why = []
    for flat in draft.flat.steps[:NAMED_MAX]:
        assignment = draft.assignments.get(flat.id)
        if assignment is not None and assignment.not_compared is not None:
            what = f"{flat.step.agent}.{flat.step.action}, {assignment.not_compared}"
            why.append(f"step {flat.id!r} ({what}): {advice[assignment.not_compared]}")
    text = (
        f"mode {draft.mode.name} compares twins and no step here has any to compare; "
        f"{'; '.join(why)}; or choose another mode"
    )
    return Fault("nothing_to_compare", "steps", text)


def _speed_faults(flat: FlatStep, policy: Policy) -> list[Fault]:
    """A plan that C must run alone has no place for Python in between."""
    if policy.implementations == ("c",) and flat.step.validation_fn is not None:
        text = "validation_fn runs in Python; a SPEED_CRITICAL plan is run by C alone"
        return [Fault("no_native", f"{flat.path}.validation_fn", text)]
    return []


_NO_WEIGHTS: dict[str, float] = {}
"""Of most plans; one for all, as nobody changes a plan."""


def _finish(draft: _Draft, names: Mapping[int, str]) -> Plan:
    command_set, options = draft.command_set, draft.options
    policy = draft.catalogue.policies.get(draft.mode.value, Policy())
    handler = command_set.python_handler
    segments: tuple[tuple[str, ...], ...] = ()
    if handler is None:
        segments = _segments(draft, whole=policy.implementations == ("c",))
        of_step = {step_id: i for i, segment in enumerate(segments) for step_id in segment}
        places = _Places(draft)
        steps = tuple(_planned(draft, flat, names, of_step, places) for flat in draft.flat.steps)
    else:
        steps = (_handler_step(command_set),)
    away = draft.catalogue.away.get("c")
    notes = (f"the C layer is away, so everything runs in Python: {away}",) if away else ()
    return Plan(
        name=command_set.name,
        type=sys.intern(str(command_set.type)),
        mode=sys.intern(draft.mode.value),
        priority=sys.intern(str(draft.priority)),
        durability=command_set.durability or policy.durability,  # type: ignore[arg-type]
        steps=steps,
        segments=segments,
        timeout_s=command_set.timeout,
        on_failure=command_set.on_failure,  # type: ignore[arg-type]
        on_change=command_set.on_change,  # type: ignore[arg-type]
        handler=None if handler is None else _callable_name(handler, names),
        conflict_resolution=options.conflict_resolution,
        vote=options.vote,  # type: ignore[arg-type]
        vote_weights=dict(options.vote_weights) if options.vote_weights else _NO_WEIGHTS,
        agreement_threshold=options.agreement_threshold,
        consensus_retries=options.consensus_retries,
        notes=notes,
    )


def _handler_step(command_set: CommandSet) -> PlannedStep:
    reason = "python_handler takes the whole command set"
    assignment = Assignment(implementations=("python",), layers=("python",), reason=reason)
    return PlannedStep(
        id=HANDLER_STEP,
        action=HANDLER_STEP,
        assignment=assignment,
        retry=RetryPolicy.parse(command_set.retry_policy),
    )


def _segments(draft: _Draft, *, whole: bool) -> tuple[tuple[str, ...], ...]:
    cells = []
    for flat in draft.flat.steps:
        assignment = draft.assignments.get(flat.id)
        action = draft.catalogue.action(flat.step.agent, flat.step.action)
        native = assignment is not None and _fits_a_program(flat, action, assignment)
        looks = needs_python_to_look(flat, action)
        cells.append(Cell(flat.id, flat.parent, flat.needs, native, looks))
    return cut_segments(cells, whole=whole)


def _fits_a_program(flat: FlatStep, action: Action | None, assignment: Assignment) -> bool:
    """Say whether C can run a step between others, without asking Python.

    Items that may be tried again one by one cannot; nor can steps of a set in which branches go on
    after a failure, since what a failure means for the others is then Python's to say.
    """
    if assignment.layers != ("c",) or assignment.verdict != "none" or action is None:
        return False
    if action.limited:
        return False
    if assignment.shadow:
        return False  # Its payload has to be seen, to give it to the other one as well.
    implementation = action.implementation(assignment.implementations[0])
    if implementation is None or not implementation.in_programs:
        return False
    items_again = flat.step.for_each is not None and retry_of(flat).max_retries > 0
    return not items_again and flat.owner.on_failure == "stop"


class _Places:
    """Where steps run: each wish is decided once."""

    def __init__(self, draft: _Draft) -> None:
        self._draft = draft
        self._decided: dict[HardwareAffinity, tuple[str, str]] = {}

    def of(self, flat: FlatStep) -> tuple[HardwareAffinity, str, str]:
        """Give the wish, the CPUs and the reason; a set without a wish has that around it."""
        owner, parent, by_id = flat.owner, flat.parent, self._draft.by_id
        while owner.hardware_affinity == HardwareAffinity.AUTO and parent:
            owner, parent = by_id[parent].owner, by_id[parent].parent
        wish = HardwareAffinity(owner.hardware_affinity)
        machine = self._draft.options.machine
        if machine is None or flat.step.command_set is not None:
            return wish, "", ""
        if wish not in self._decided:
            self._decided[wish] = machine.cpus_and_reason(wish)
        return (wish, *self._decided[wish])


def _planned(
    draft: _Draft,
    flat: FlatStep,
    names: Mapping[int, str],
    of_step: Mapping[str, int],
    places: _Places,
) -> PlannedStep:
    wish, cpus, placed = places.of(flat)
    step, nested = flat.step, flat.step.command_set
    action = draft.catalogue.action(step.agent, step.action) if nested is None else None
    on_failure = nested.on_failure if nested is not None else "stop"
    limit = step.timeout if nested is None or step.timeout is not None else nested.timeout
    assignment = draft.assignments.get(flat.id)
    may_split = assignment is not None and assignment.verdict != "none"
    may_split = may_split and step.expected_output is None and step.validation_fn is None
    return PlannedStep(
        id=flat.id,
        parent=flat.parent,
        kind="group" if nested is not None else "action",
        agent=step.agent,
        action=step.action,
        payload=step.payload if nested is None else None,
        waits=waits_of(flat),
        depends_on=flat.needs,
        inputs_from=flat.inputs,
        scope=flat.scope,
        assignment=assignment,
        effects=action.effects if action else "none",
        deterministic=action.deterministic if action else False,
        batch="items" if may_split and action and action.batch == "items" else None,
        transient=action.transient if action else False,
        version=action.version if action else "1",
        can_fail=step.can_fail,
        timeout_s=limit,
        retry=retry_of(flat),
        expected_output=step.expected_output,
        validation=None
        if step.validation_fn is None
        else _callable_name(step.validation_fn, names),
        compare=action.compare if action else None,
        for_each=step.for_each,
        when=step.when,
        on_item_failure=step.on_item_failure,  # type: ignore[arg-type]
        on_failure=on_failure,  # type: ignore[arg-type]
        affinity=str(wish),
        cpus=cpus,
        placed=placed,
        segment=of_step.get(flat.id),
    )


def _callable_name(given: object, names: Mapping[int, str]) -> str:
    return given if isinstance(given, str) else names[id(given)]
