"""Familiar command sets: those of a structure that was planned before, found again in one walk.

A program that builds the same command set for each request differs from one to the next in values
only. What was checked and planned for the first one holds for all; only the values are new. This
is for sets that go the express way: any other run costs so much more that a plan saved is nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from tandem_orchestrator.layers.native import plain_encoder
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.program import Form, filled_payloads, forms_of, literals_of
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.documents import to_document
from tandem_orchestrator.model.plans import PlannedStep, plan_to_value
from tandem_orchestrator.model.refs import NO_DEFAULT, Ref
from tandem_orchestrator.model.routing import UNSIZED, bucket_of
from tandem_orchestrator.orchestrator.express import ExpressPlan
from tandem_orchestrator.orchestrator.intake import Intake
from tandem_orchestrator.orchestrator.prompt import PromptPlan
from tandem_orchestrator.orchestrator.routing import Watch

Way = ExpressPlan | PromptPlan
"""What is known of a plan that goes a quick way."""

FAMILIAR_MAX = 256
"""Structures that are kept; the one that was met longest ago goes first."""


Encode = Callable[[Any], bytes | None]
"""Writes a plain value as a strict body; gives None for any other."""


_MARKS = (b"$ref", b"$literal", b"$buffer")
"""What a value with a meaning of its own is known by; such a set goes the ordinary way."""


class _Strange(Exception):
    """It holds what only the ordinary way can look at."""


class Look(NamedTuple):
    """A command set, taken apart."""

    key: Hashable
    """All but the values."""
    literals: list[bytes]
    """The values of all its steps, encoded."""
    ends: list[int]
    """By step: how many of them come before those of the next one."""


class _Pattern:
    """What all sets of one structure have in common, to make the intake of any of them."""

    __slots__ = ("_forms", "_intake", "_plan_value")

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._forms: tuple[Form, ...] | None = None
        # Any: a plan as plain data.
        self._plan_value: dict[str, Any] = {}

    def intake_of(self, names: tuple[str, str], literals: Sequence[bytes]) -> Intake:
        """Give what taking in the set of that id and name, with these values, would have given."""
        old = self._intake
        if self._forms is None:
            self._forms = forms_of(old.plan.steps)
            self._plan_value = plan_to_value(old.plan)
        payloads = filled_payloads(self._forms, literals)
        steps = tuple(
            [
                msgspec.structs.replace(step, payload=payload)
                for step, payload in zip(old.plan.steps, payloads, strict=True)
            ]
        )
        of_step = {step.id: step.payload for step in steps}
        copy = CommandSet(**vars(old.command_set))
        copy.id, copy.name = names
        copy.steps = [CommandStep(**vars(step)) for step in old.command_set.steps]
        for position, step in enumerate(copy.steps):
            step.payload = of_step[step.id or f"s{position + 1}"]
        plan = msgspec.structs.replace(old.plan, name=names[1], steps=steps)
        document = None
        if bool(copy.name) == bool(old.command_set.name):
            changed = {"id": copy.id, "name": copy.name} if copy.name else {"id": copy.id}
            document = _with_payloads(old.document, changed, [step.payload for step in copy.steps])
        value = _with_payloads(self._plan_value, {"name": names[1]}, payloads)
        return old.of_another(
            copy, plan, to_document(copy).body if document is None else document, value
        )


# Any: documents and plans as plain data.
def _with_payloads(
    body: dict[str, Any], changed: dict[str, str], payloads: Sequence[Any]
) -> dict[str, Any] | None:
    """Copy a document or plan with other payloads; None where that would change its fields."""
    if not changed.keys() <= body.keys():
        return None
    steps = []
    for step, payload in zip(body["steps"], payloads, strict=True):
        if ("payload" in step) != (payload is not None):
            return None  # What is left out as the default would come in another place.
        steps.append(step if payload is None else {**step, "payload": payload})
    return {**body, "steps": type(body["steps"])(steps), **changed}


class _Known(NamedTuple):
    way: Way | None
    """None: its runs go the ordinary way."""
    pattern: _Pattern
    order: tuple[int, ...] | None
    """Where each literal of the plan stands in the look; None: where it stands in the plan."""
    stamp: object
    watch: Watch | None = None
    """Says when its routes are stale; None where there was nothing to choose."""


class _BySize(NamedTuple):
    """Stands for a structure whose routes go by the size of its payloads."""

    sized: tuple[tuple[int, int, int], ...]
    """(first literal, end of them, bytes of the payload beside them) of each such step."""

    def key(self, look: Look) -> Hashable:
        """Give the key of those sets of the structure that are routed alike."""
        return look.key, tuple(
            [bucket_of(beside + sum(map(len, look.literals[a:b]))) for a, b, beside in self.sized]
        )


class FamiliarRun(NamedTuple):
    """One run of a familiar set; an ``express.Asked``."""

    names: tuple[str, str]
    literals: Sequence[bytes]
    pattern: _Pattern
    # Any: inputs hold any plain value.
    inputs: dict[str, Any]

    def own_intake(self) -> Intake:
        """Give what taking in this very set would have given."""
        return self.pattern.intake_of(self.names, self.literals)


class Familiar:
    """What was planned before, by structure. Belongs to the orchestrator's loop."""

    def __init__(self) -> None:
        self._encode: Encode | None = None
        self._roll: float | None = None
        self._known: OrderedDict[Hashable, _Known | _BySize] = OrderedDict()

    def look(self, command_set: CommandSet) -> Look | None:
        """Take a set apart; see ``look_at``."""
        if self._encode is None:
            self._encode = plain_encoder()
        return look_at(command_set, self._encode)

    def find(
        self, look: Look, command_set: CommandSet, stamp: object
    ) -> tuple[Way | None, FamiliarRun] | None:
        """Find the plan of a set that looks like this; ``stamp`` says what plans depend on."""
        key = look.key
        try:
            known = self._known.get(key)
        except TypeError:
            return None  # A field of it cannot be a key: the ordinary way says which.
        if type(known) is _BySize:
            self._known.move_to_end(key)
            key = known.key(look)
            known = self._known.get(key)
        if known is None:
            return None
        assert type(known) is _Known
        if known.stamp != stamp or (known.watch is not None and known.watch.is_stale):
            del self._known[key]
            return None
        if known.watch is not None and known.watch.draws_trial():
            self._roll = known.watch.roll
            return None  # This one run is planned by itself; the others go on as they are.
        self._known.move_to_end(key)
        literals = look.literals
        if known.order is not None:
            literals = [literals[position] for position in known.order]
        names = (command_set.id, command_set.name)
        return known.way, FamiliarRun(names, literals, known.pattern, {})

    def take_roll(self) -> float | None:
        """Give what was drawn for the set that was just not found; None where nothing was."""
        roll, self._roll = self._roll, None
        return roll

    def keep(
        self,
        look: Look,
        way: Way | None,
        intake: Intake,
        stamp: object,
        watch: Watch | None = None,
    ) -> None:
        """Remember a plan, if the look sees all of its values."""
        if watch is not None and watch.is_for_one_run:
            return
        if way is None and not _outlasts_its_run(intake):
            return
        planned = intake.plan.steps
        steps = intake.command_set.steps
        starts = [0, *look.ends]
        spans = {
            step.id or f"s{i + 1}": range(starts[i], starts[i + 1]) for i, step in enumerate(steps)
        }
        order = tuple(position for step in planned for position in spans[step.id])
        try:
            literals = literals_of(planned)
        except CodecError:
            return
        if literals != [look.literals[position] for position in order]:
            return
        as_it_is = order == tuple(range(len(order)))
        key = look.key
        by_size = _sizes(planned, spans, look)
        if by_size.sized:
            self._known[key] = by_size
            key = by_size.key(look)
        self._known[key] = _Known(way, _Pattern(intake), None if as_it_is else order, stamp, watch)
        while len(self._known) > FAMILIAR_MAX:
            self._known.popitem(last=False)


def _outlasts_its_run(intake: Intake) -> bool:
    """Say whether the plan of an ordinary run would be made again as it is, but for the values."""
    plan = intake.plan
    if intake.callables or plan.handler is not None or not plan.steps:
        return False
    is_native = len(plan.segments) == 1 and len(plan.segments[0]) == len(plan.steps)
    return all(
        step.kind == "action"
        and not step.waits
        and (one := step.assignment) is not None
        and one.verdict == "none"
        and not one.shadow
        and (one.route is None or is_native)  # else the load of the moment counts as well
        for step in plan.steps
    )


def _sizes(steps: Sequence[PlannedStep], spans: Mapping[str, range], look: Look) -> _BySize:
    """Say which steps of a plan were routed by the size of their payload."""
    sized = []
    for step in steps:
        route = None if step.assignment is None else step.assignment.route
        if route is not None and route.bucket != UNSIZED:
            span = spans[step.id]
            literals = look.literals[span.start : span.stop]
            sized.append((span.start, span.stop, route.bytes - sum(map(len, literals))))
    return _BySize(tuple(sized))


def look_at(command_set: CommandSet, encode: Encode) -> Look | None:
    """Take a set apart; None if it holds anything unusual.

    ``encode`` writes a plain value, and gives None for any other.
    """
    if (
        type(command_set) is not CommandSet
        or command_set.timeout is not None
        or command_set.retry_policy
        or command_set.python_handler is not None
        or command_set.requires_libraries
        or command_set.idempotency_key is not None
        or type(command_set.name) is not str
        or type(command_set.id) is not str
    ):
        return None
    literals: list[bytes] = []
    ends: list[int] = []
    try:
        steps = tuple([_step(step, literals, ends, encode) for step in command_set.steps])
        needs = command_set.dependencies
        key = (
            steps,
            tuple([(name, tuple(others)) for name, others in needs.items()]) if needs else (),
            command_set.type,
            command_set.mode,
            command_set.durability,
            command_set.priority,
            command_set.parallel_allowed,
            command_set.c_optimized,
            command_set.hardware_affinity,
            command_set.on_failure,
            command_set.on_change,
            command_set.conflict_resolution,
        )
    except (_Strange, TypeError, ValueError, AttributeError, RecursionError):
        return None  # The ordinary way says what is wrong with it, if anything is.
    return Look(key, literals, ends)


_USUAL = [None, None, False, None, None, None, None, None, None, "fail"]
"""Fields of a step from ``expected_output`` on, where none was given."""
_TOLERANT = [*_USUAL[:2], True, *_USUAL[3:]]


def _step(step: CommandStep, literals: list[bytes], ends: list[int], encode: Encode) -> Hashable:
    if type(step) is not CommandStep:
        raise _Strange
    # All fields at once, in the order of the class; a field more or less is strange, too.
    step_id, action, agent, payload, *rest = vars(step).values()
    if rest != _USUAL and rest != _TOLERANT:
        raise _Strange
    shape = _shape(payload, literals, encode)
    ends.append(len(literals))
    return step_id, agent, action, rest[2], shape


# Any: a payload is any value.
def _shape(value: Any, literals: list[bytes], encode: Encode) -> Hashable:
    """Give what a payload is apart from its values; these are appended as they are met."""
    kind = type(value)
    if kind is Ref:
        if value.default is not NO_DEFAULT:
            raise _Strange
        return value.step, value.path
    body = encode(value)
    if body is not None:
        if b"$" in body and any(mark in body for mark in _MARKS):
            raise _Strange
        literals.append(body)
        return None
    if kind is dict:
        items = value.values()
    elif kind is list:
        items = value
    else:
        raise _Strange
    inside: list[Hashable] = [
        # Most of what is in there are references: no call for each of them.
        (item.step, item.path)
        if type(item) is Ref and item.default is NO_DEFAULT
        else _shape(item, literals, encode)
        for item in items
    ]
    return kind, tuple(value) if kind is dict else None, tuple(inside)
