"""From nested command sets to one list of steps, with every fault of their structure.

A step that holds a command set becomes a group; what it holds gets ids with its own as a prefix,
``outer/inner``, and is in its scope: references and dependencies inside mean siblings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.conditions import refs_in
from tandem_orchestrator.model.levels import CommandType
from tandem_orchestrator.model.refs import RESERVED_STEP_IDS, Ref, find_refs
from tandem_orchestrator.plan.graph import find_cycle, order

HINTS_MAX = 20
"""Misspelt ids of one command set for which names that look alike are sought: each search looks at
every id, so a file of 10,000 steps with 10,000 misspelt ids would take minutes."""


@dataclass(slots=True)
class FlatStep:
    """One step with its place in the whole."""

    id: str
    parent: str
    scope: str
    path: str
    """Where it stands in the document, as ``steps[2].command_set.steps[0]``."""
    step: CommandStep
    owner: CommandSet
    needs: tuple[str, ...] = ()
    """Full ids it waits for."""
    inputs: tuple[tuple[str, str], ...] = ()
    """(short id, full id) of those whose outputs it sees."""


@dataclass(slots=True)
class Flattened:
    """All steps in an order that respects the dependencies, and what is wrong with them."""

    steps: list[FlatStep] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    hints_left: int = HINTS_MAX

    def hint(self, name: str, known: Collection[str]) -> tuple[str, ...]:
        """Give names that look alike; after so many faults nobody reads them, and they cost."""
        if self.hints_left <= 0:
            return ()
        self.hints_left -= 1
        return nearest(name, known)


def flatten(command_set: CommandSet) -> Flattened:
    """Flatten a command set whose fields have the right types."""
    result = Flattened()
    _flatten_into(result, command_set, scope="", parent="", path="")
    return result


def _flatten_into(
    result: Flattened, owner: CommandSet, *, scope: str, parent: str, path: str
) -> None:
    """Add one command set's steps, those of nested sets right behind the step that holds them."""
    if not owner.steps and owner.python_handler is None:
        where = path + "steps"
        result.faults.append(Fault("empty", where, "a command set needs steps or a python_handler"))
        return
    if owner.type is CommandType.ATOMIC and len(owner.steps) > 1:
        text = f"an ATOMIC command set has one step, this one has {len(owner.steps)}"
        result.faults.append(Fault("bad_level", path + "steps", text, len(owner.steps)))
    written = [step.id or f"s{i + 1}" for i, step in enumerate(owner.steps)]
    result.faults.extend(_id_faults(written, path))
    needs, declared = _needs(result, owner, written, path)
    places: dict[str, list[int]] = {}
    """Where each id stands; more than once is a fault, and still each of them is looked at."""
    for i, step_id in enumerate(written):
        places.setdefault(step_id, []).append(i)
    ids = list(places)
    ordered, stuck = order(ids, needs)
    if stuck:
        cycle = find_cycle(stuck, needs)
        text = f"steps wait for each other: {' -> '.join(cycle)}"
        result.faults.append(Fault("cycle", path + "dependencies", text, cycle))
        ordered = ordered + stuck
    if not owner.parallel_allowed:
        _chain(ordered, needs)
    elif owner.type is CommandType.SEQUENCE and not owner.dependencies:
        _chain(ids, needs)
        ordered = ids if not stuck else ordered
        declared = {after: [before] for before, after in zip(ids, ids[1:], strict=False)}
    for short, place in [(step_id, place) for step_id in ordered for place in places[step_id]]:
        step, where = owner.steps[place], f"{path}steps[{place}]"
        seen = dict.fromkeys([*declared.get(short, ()), *_referred(step)])
        flat = FlatStep(
            id=scope + short,
            parent=parent,
            scope=scope,
            path=where,
            step=step,
            owner=owner,
            needs=tuple(scope + other for other in dict.fromkeys(needs[short])),
            inputs=tuple((other, scope + other) for other in seen if other in places),
        )
        result.steps.append(flat)
        if step.command_set is not None:
            _check_level(result, owner, step.command_set, where)
            _flatten_into(
                result,
                step.command_set,
                scope=f"{flat.id}/",
                parent=flat.id,
                path=f"{where}.command_set.",
            )


def _id_faults(ids: list[str], path: str) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for i, step_id in enumerate(ids):
        where = f"{path}steps[{i}].id"
        if step_id in first:
            text = f"step id {step_id!r} is used by steps[{first[step_id]}] as well"
            yield Fault("duplicate_id", where, text, step_id)
        first.setdefault(step_id, i)
        if step_id in RESERVED_STEP_IDS:
            text = f"step id {step_id!r} is reserved for references to a run's {step_id}"
            yield Fault("duplicate_id", where, text, step_id)
        if "/" in step_id or "#" in step_id or len(step_id) > 200:
            text = f"step id {step_id[:80]!r}: expected at most 200 characters without '/' and '#'"
            yield Fault("bad_type", where, text, step_id)


def _needs(
    result: Flattened, owner: CommandSet, ids: list[str], path: str
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Give (all that each step waits for, what was declared), reporting what does not exist."""
    known = set(ids)
    declared: dict[str, list[str]] = {}
    for step_id, others in owner.dependencies.items():
        where = f"{path}dependencies.{step_id}"
        if step_id not in known:
            text = f"there is no step {step_id!r}"
            near = result.hint(step_id, known)
            result.faults.append(Fault("unknown_dependency", where, text, step_id, near))
            continue
        for other in others:
            if other == step_id:
                text = f"step {step_id!r} depends on itself"
                result.faults.append(Fault("self_dependency", where, text, other))
            elif other not in known:
                text = f"step {step_id!r} depends on {other!r}, which does not exist"
                near = result.hint(other, known)
                result.faults.append(Fault("unknown_dependency", where, text, other, near))
            else:
                declared.setdefault(step_id, []).append(other)
    needs = {step_id: list(declared.get(step_id, ())) for step_id in ids}
    for i, step in enumerate(owner.steps):
        needs[ids[i]].extend(_check_refs(result, step, ids[i], known, f"{path}steps[{i}]"))
    return needs, declared


def _check_refs(
    result: Flattened, step: CommandStep, step_id: str, known: set[str], path: str
) -> list[str]:
    """Give the steps that this one's references imply, reporting those that lead nowhere."""
    implied = []
    for where, ref in _refs_of(step, path):
        name = ref.step
        in_payload = where.startswith(f"{path}.payload")
        if name == "inputs" or (name == "item" and step.for_each is not None and in_payload):
            continue
        if name == "item":
            text = f"{ref}: 'item' has a meaning only in the payload of a step with for_each"
            result.faults.append(Fault("bad_reference", where, text, str(ref)))
        elif name == step_id:
            text = f"{ref}: step {step_id!r} cannot refer to its own output"
            result.faults.append(Fault("bad_reference", where, text, str(ref)))
        elif name not in known:
            near = result.hint(name, known)
            text = f"{ref}: there is no step {name!r}"
            result.faults.append(Fault("bad_reference", where, text, str(ref), near))
        else:
            implied.append(name)
    return implied


def _refs_of(step: CommandStep, path: str) -> Iterator[tuple[str, Ref]]:
    for part, value in (("payload", step.payload), ("for_each", step.for_each)):
        for where, ref in find_refs(value, f"{path}.{part}"):
            if isinstance(ref, Ref):  # Malformed ones were reported when the snapshot was made.
                yield where, ref
    if step.when is not None:
        for ref in _condition_refs(step.when):
            yield f"{path}.when", ref


def _condition_refs(condition: Any) -> list[Ref]:
    try:
        return refs_in(condition)
    except (ValueError, TypeError):
        return []  # A malformed condition is reported by its own check.


def _referred(step: CommandStep) -> list[str]:
    return [ref.step for _, ref in _refs_of(step, "")]


def _chain(ids: list[str], needs: dict[str, list[str]]) -> None:
    """Let each step wait for the one before it."""
    for before, after in zip(ids, ids[1:], strict=False):
        if before not in needs[after]:
            needs[after].append(before)


def _check_level(result: Flattened, outer: CommandSet, inner: CommandSet, path: str) -> None:
    assert isinstance(outer.type, CommandType) and isinstance(inner.type, CommandType)
    if inner.type.rank > outer.type.rank or outer.type is CommandType.ATOMIC:
        text = f"{inner.type.name} cannot be held by {outer.type.name}"
        result.faults.append(Fault("bad_level", f"{path}.command_set.type", text, str(inner.type)))
