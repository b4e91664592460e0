"""Programs: a segment of native steps as bytes that the bridge runs from end to end.

A program holds the structure of the steps; the values of their literals travel with each run. So
two command sets that differ in values only, as the same set built again with new objects, share
one loaded program: ``structure_of`` gives the key and the values in one cheap walk, and
``compile_program`` turns a structure into bytes once.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tandem_orchestrator.layers.native.body import decode_body, encode_body
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.program_layout import (
    CAN_FAIL,
    COLLECT,
    RUN_KEY_BYTES,
    WANTED,
    ConditionShape,
    RefShape,
    StepShape,
    Template,
    lay_out,
    run_body,
)
from tandem_orchestrator.model.plans import PlannedStep
from tandem_orchestrator.model.refs import Ref, as_ref

Structure = tuple[StepShape, ...]
"""Everything about a segment's steps but the values of their literals; hashable."""

_SLOT: Template = (None,)
_NO_BYTES = b""


class ProgramRefused(ValueError):
    """A step has no place in a program; it can still run by itself.

    Attributes:
        step: Its id.
        reason: One line.
    """

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"step {step!r}: {reason}")
        self.step = step
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled segment."""

    data: bytes = field(repr=False)
    """What LOAD carries."""
    order: tuple[str, ...]
    """Ids of the steps; outcomes come in this order."""
    outers: tuple[str, ...]
    """Steps outside whose outputs a run brings."""
    literals: tuple[bytes, ...] = field(repr=False)
    """Values of the steps it was compiled from, encoded, for ``encode_run``."""
    digest: str = ""
    """BLAKE2b of ``data``, 32 hex digits: equal structures have equal digests."""


def compile_program(
    steps: Sequence[PlannedStep],
    action_ids: Mapping[tuple[str, str], int],
    wanted: Container[str],
) -> Program:
    """Compile steps into a program; equal structures give equal bytes.

    Args:
        steps: Action steps of one group with ``on_failure="stop"``, each after those it needs.
        action_ids: What the bridge offers, by (agent, action).
        wanted: Ids whose outputs are to come back.

    Raises: ProgramRefused, naming a step and why it cannot be part of a program.
    """
    structure, literals = structure_of(steps, wanted)
    return compile_structure(structure, literals, action_ids)


def compile_structure(
    structure: Structure, literals: Sequence[bytes], action_ids: Mapping[tuple[str, str], int]
) -> Program:
    """Compile what ``structure_of`` gave. Raises ProgramRefused."""
    for step in structure:
        if (step.agent, step.action) not in action_ids:
            raise ProgramRefused(step.id, f"the bridge does not offer {step.agent}.{step.action}")
    layout = lay_out(structure, action_ids)
    return Program(
        data=layout.data,
        order=tuple(step.id for step in structure),
        outers=layout.outers,
        literals=tuple(literals),
        digest=hashlib.blake2b(layout.data, digest_size=16).hexdigest(),
    )


# Any below: payloads and outputs are any plain values.
def encode_run(
    program: Program,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    literals: Sequence[bytes] | None = None,
    keys: Mapping[str, str] | None = None,
) -> bytes:
    """Write what RUN carries.

    Args:
        program: A compiled segment.
        inputs: The run's own inputs.
        outputs: Of the steps outside that gave one, by id; the others gave nothing.
        literals: From ``structure_of`` of other steps with the same structure; None: its own.
        keys: Idempotency keys of steps by id, 32 hex digits each. An action sees its step's; item
            n of a ``for_each`` sees the key, a hyphen and n.

    Raises: CodecError for a value that cannot travel.
    """
    given = outputs or {}
    values = [encode_body(dict(inputs)) if inputs else b"\x80"]
    if program.outers:
        values += [encode_body(given[i]) if i in given else _NO_BYTES for i in program.outers]
    values += program.literals if literals is None else literals
    if not keys:
        return run_body(values)
    none = bytes(RUN_KEY_BYTES)
    return run_body(
        values,
        b"".join(bytes.fromhex(keys[i]) if i in keys else none for i in program.order),
    )


def structure_of(
    steps: Sequence[PlannedStep], wanted: Container[str]
) -> tuple[Structure, list[bytes]]:
    """Split steps into their structure and the values of their literals.

    Raises: ProgramRefused.
    """
    literals: list[bytes] = []
    shapes: list[StepShape] = []
    seen: set[str] = set()
    looked_at: set[str] = set()
    ids = {step.id for step in steps}
    parent = steps[0].parent if steps else ""
    for step in steps:
        fault = _fault(step, parent)
        if not fault and not seen.issuperset(step.depends_on):
            early = (other for other in step.depends_on if other in ids and other not in seen)
            fault = next((f"it comes before step {other!r}, which it needs" for other in early), "")
        if not fault and not looked_at.isdisjoint(step.depends_on):
            fault = "it needs a step whose output Python checks first"
        if fault:
            raise ProgramRefused(step.id, fault)
        try:
            shapes.append(_shape_of(step, wanted, literals))
        except CodecError as error:
            raise ProgramRefused(step.id, f"not a value: {error}") from error
        seen.add(step.id)
        if step.expected_output is not None or step.validation is not None:
            looked_at.add(step.id)
    if not shapes:
        raise ProgramRefused("", "a program needs a step")
    return tuple(shapes), literals


def literals_of(steps: Sequence[PlannedStep]) -> list[bytes]:
    """Give the values of the literals in steps' payloads, in the order of ``structure_of``.

    Raises: CodecError if a payload is no value.
    """
    literals: list[bytes] = []
    for step in steps:
        _template(step.payload, literals)
    return literals


def _fault(step: PlannedStep, parent: str) -> str:
    assignment = step.assignment
    if step.kind != "action":
        return "it is a group"
    if step.parent != parent:
        return "its group is not that of the first step"
    if assignment is not None and (assignment.layers != ("c",) or assignment.verdict != "none"):
        return "it does not run in the C layer alone"
    if step.for_each is not None and step.retry.max_retries:
        return "its items may be tried again"
    return ""


def _shape_of(step: PlannedStep, wanted: Container[str], literals: list[bytes]) -> StepShape:
    # A step that may be tried again stops the program: whether to try is decided in Python.
    flags = CAN_FAIL if step.can_fail and not step.retry.max_retries else 0
    if step.id in wanted:
        flags |= WANTED
    if step.on_item_failure == "collect":
        flags |= COLLECT
    payload = _template(step.payload, literals)
    each = () if step.for_each is None else _template(step.for_each, literals)
    when = None if step.when is None else _condition(step.when)
    timeout_ns = 0 if step.timeout_s is None else max(1, int(step.timeout_s * 1e9))
    return StepShape(
        step.id, step.agent, step.action, flags, step.depends_on, step.inputs_from, step.scope,
        payload, each, when, timeout_ns,
    )  # fmt: skip


def _template(value: Any, literals: list[bytes]) -> Template:
    """Cut a payload: what holds no reference becomes one slot, also when that is all of it."""
    if not _has_refs(value):
        literals.append(encode_body(value))
        return _SLOT
    pieces: list[bytes | RefShape | None] = []
    text = bytearray()
    _cut(value, pieces, text, literals, 0)
    if text:
        pieces.append(bytes(text))
    return tuple(pieces)


def _has_refs(value: Any) -> bool:
    kind = type(value)
    if kind is dict:
        if "$ref" in value or "$literal" in value:
            return True
        items = value.values()
    elif kind is list:
        items = value
    else:
        return kind is Ref
    for item in items:
        inside = type(item)
        if inside is Ref or ((inside is dict or inside is list) and _has_refs(item)):
            return True
    return False


def _cut(
    value: Any,
    pieces: list[bytes | RefShape | None],
    text: bytearray,
    literals: list[bytes],
    depth: int,
) -> None:
    """Append the pieces of one value; ``text`` is the literal that has not been closed."""
    if depth > 64:
        raise CodecError("nested deeper than 32 containers")
    hole = _ref_of(value)
    if hole is None:
        if type(value) is dict and value.keys() == {"$literal"}:
            literals.append(encode_body(value["$literal"]))
        elif not _has_refs(value):
            literals.append(encode_body(value))
        elif type(value) is dict:
            text += _head(len(value), is_map=True)
            for key, item in value.items():
                text += _encoded_key(key)
                _cut(item, pieces, text, literals, depth + 1)
            return
        else:
            text += _head(len(value), is_map=False)
            for item in value:
                _cut(item, pieces, text, literals, depth + 1)
            return
    if text:
        pieces.append(bytes(text))
        text.clear()
    pieces.append(hole)


def _ref_of(value: Any) -> RefShape | None:
    """Give the reference that a value is, if it is one."""
    kind = type(value)
    if kind is dict:
        if "$ref" not in value:
            return None
        if len(value) == 1 and type(value["$ref"]) is str:
            return _parsed_ref(value["$ref"])
    elif kind is not Ref:
        return None
    ref = as_ref(value)
    return None if ref is None else _ref_shape(ref)


@functools.lru_cache(4096)
def _parsed_ref(text: str) -> RefShape:
    return _ref_shape(Ref.parse(text))


@functools.lru_cache(4096)
def _encoded_key(key: str) -> bytes:
    return encode_body(key)


def _head(count: int, *, is_map: bool) -> bytes:
    if count < 16:
        return bytes([(0x80 if is_map else 0x90) | count])
    if count < 2**16:
        return bytes([0xDE if is_map else 0xDC]) + count.to_bytes(2)
    return bytes([0xDF if is_map else 0xDD]) + count.to_bytes(4)


def _ref_shape(ref: Ref) -> RefShape:
    return RefShape(ref.step, ref.path, encode_body(ref.default) if ref.has_default else b"")


def _condition(condition: Mapping[str, Any]) -> ConditionShape:
    for group in ("all", "any"):
        if group in condition:
            return ConditionShape(group, tuple(_condition(sub) for sub in condition[group]))
    if "not" in condition:
        return ConditionShape("not", (_condition(condition["not"]),))
    given = condition["ref"]
    ref = Ref.parse(given) if isinstance(given, str) else as_ref(given)
    if ref is None:
        raise CodecError(f"when: {given!r} is no reference")
    value = condition.get("value")
    operator = condition.get("op", "truthy")
    encoded = b""
    if operator not in ("exists", "truthy"):
        encoded = encode_body(list(value) if isinstance(value, tuple) else value)
    return ConditionShape(operator, (), _ref_shape(ref), encoded)


Form = tuple[bytes | None, ...]
"""An encoded payload in pieces; each None is the place of a literal."""


def forms_of(steps: Sequence[PlannedStep]) -> tuple[Form, ...]:
    """Give the forms of the payloads of steps without ``for_each``; see ``filled_payloads``."""
    return tuple(
        tuple(
            [
                None if piece is None else _piece_bytes(piece)
                for piece in _template(step.payload, [])
            ]
        )
        for step in steps
    )


# Any: a payload is any value.
def filled_payloads(forms: Sequence[Form], literals: Sequence[bytes]) -> list[Any]:
    """Put values in the place of the literals of payloads.

    Args:
        literals: As many as ``literals_of`` finds in the steps, in that order.
    """
    payloads = []
    position = 0
    for form in forms:
        if len(form) == 1 and form[0] is None:
            body = literals[position]
            position += 1
        else:
            pieces = []
            for piece in form:
                if piece is None:
                    piece = literals[position]
                    position += 1
                pieces.append(piece)
            body = b"".join(pieces)
        payloads.append(decode_body(body))
    return payloads


def _piece_bytes(piece: bytes | RefShape) -> bytes:
    if isinstance(piece, bytes):
        return piece
    value: dict[str, Any] = {"$ref": str(Ref(piece.step, piece.path))}
    if piece.default:
        value["default"] = decode_body(piece.default)
    return encode_body(value)
