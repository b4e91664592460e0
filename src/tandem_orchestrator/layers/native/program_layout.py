"""The bytes of a program, table by table; the manual is ``protocol/program.md``.

What comes in is a structure: nested tuples that say everything about the steps except the values
of their literals. Equal structures give equal bytes, so a structure is the key of a cache.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from typing import NamedTuple

MAGIC = 0x47504454
VERSION = 1
RUN_MAGIC, RUN_KEYED_MAGIC = 0x4E524454, 0x4B524454
RUN_KEY_BYTES = 16
NO_INDEX = 0xFFFF_FFFF

WANTED, CAN_FAIL, FOR_EACH, COLLECT = 1, 2, 4, 8
FROM_STEP, FROM_SLOT, FROM_ITEM = 0, 1, 2
PIECE_LITERAL, PIECE_REF, PIECE_SLOT = 0, 1, 2
OPERATORS = (
    "all", "any", "not", "eq", "ne", "lt", "le", "gt", "ge", "in", "contains", "exists", "truthy",
)  # fmt: skip
"""By number, groups first."""


class RefShape(NamedTuple):
    """A reference, hashable."""

    step: str
    """As written: a step's id without its scope, ``inputs`` or ``item``."""
    path: tuple[str, ...]
    default: bytes = b""
    """Strict MessagePack; empty: none."""


Template = tuple[bytes | RefShape | None, ...]
"""Literal bytes, references, and None where RUN brings the value."""


class ConditionShape(NamedTuple):
    """One condition: a group with what is in it, or a comparison."""

    op: str
    inside: tuple[ConditionShape, ...] = ()
    ref: RefShape | None = None
    value: bytes = b""


class StepShape(NamedTuple):
    """All of a step that its program depends on."""

    id: str
    agent: str
    action: str
    flags: int
    depends_on: tuple[str, ...]
    inputs_from: tuple[tuple[str, str], ...]
    scope: str
    payload: Template
    for_each: Template
    """Empty: none."""
    when: ConditionShape | None
    timeout_ns: int


class Layout(NamedTuple):
    """A program's bytes, and what must be known to run it."""

    data: bytes
    outers: tuple[str, ...]
    """Steps outside of the program whose outputs RUN brings, in the order of slots."""
    literals_total: int


def lay_out(steps: tuple[StepShape, ...], action_ids: Mapping[tuple[str, str], int]) -> Layout:
    """Write the tables.

    Args:
        steps: Each after those it depends on.
        action_ids: What the bridge offers; an action of a step that is not in it is a KeyError.
    """
    return _Tables(steps, action_ids).build()


def run_body(values: list[bytes], keys: bytes = b"") -> bytes:
    """Write what RUN carries: one strict value a slot, empty where an outer step gave nothing.

    Args:
        values: In the order of the slots.
        keys: Nothing, or ``RUN_KEY_BYTES`` for each step; zeros where it has none.
    """
    count = len(values)
    lengths = _lengths(count).pack(*map(len, values))
    head = _HEAD.pack(RUN_KEYED_MAGIC if keys else RUN_MAGIC, count)
    return b"".join((head, keys, lengths, *values))


_HEAD = struct.Struct("<II")


@functools.lru_cache(256)
def _lengths(count: int) -> struct.Struct:
    """Give the table of so many lengths, padded to a multiple of 8 bytes."""
    return struct.Struct(f"<{count}I{count % 2 * 4}x")


class _Tables:
    """The tables while they grow."""

    def __init__(
        self, steps: tuple[StepShape, ...], action_ids: Mapping[tuple[str, str], int]
    ) -> None:
        self.shapes = steps
        self.action_ids = action_ids
        self.position = {step.id: i for i, step in enumerate(steps)}
        self.outers: dict[str, int] = {}
        for step in steps:
            for name in _needed(step):
                if name not in self.position:
                    self.outers.setdefault(name, len(self.outers) + 1)
        self.slots = 1 + len(self.outers)
        self.literals = bytearray()
        self.texts: dict[bytes, int] = {}
        self.ref_of: dict[tuple[int, int, RefShape], int] = {}
        self.refs: list[bytes] = []
        self.tokens: list[bytes] = []
        self.pieces: list[bytes] = []
        self.conditions: list[bytes] = []
        self.inputs: list[bytes] = []

    def build(self) -> Layout:
        """Write everything."""
        edges: list[list[int]] = [[] for _ in self.shapes]
        needs = [0] * len(self.shapes)
        for i, shape in enumerate(self.shapes):
            for name in dict.fromkeys(shape.depends_on):
                if name in self.position:
                    edges[self.position[name]].append(i)
                    needs[i] += 1
        rows: list[bytes] = []
        edge = 0
        for i, shape in enumerate(self.shapes):
            payload = self.template(shape, shape.payload)
            each = self.template(shape, shape.for_each) if shape.for_each else (0, 0)
            when = len(self.conditions)
            if shape.when is not None:
                self.condition(shape, shape.when)
            inputs = len(self.inputs)
            for name, source in shape.inputs_from:
                self.inputs.append(struct.pack("<4I", *self.text(name), *self.source(source)))
            flags = shape.flags | (FOR_EACH if shape.for_each else 0)
            rows.append(
                struct.pack(
                    "<14IQ",
                    self.action_ids[shape.agent, shape.action], flags, *payload, *each,
                    when, len(self.conditions) - when, edge, len(edges[i]), needs[i],
                    inputs, len(self.inputs) - inputs, 0, shape.timeout_ns,
                )
            )  # fmt: skip
            edge += len(edges[i])
        flat = [to for row in edges for to in row]
        tables = [
            b"".join(rows), struct.pack(f"<{len(flat)}I", *flat), b"".join(self.refs),
            b"".join(self.tokens), b"".join(self.pieces), b"".join(self.conditions),
            b"".join(self.inputs), bytes(self.literals),
        ]  # fmt: skip
        body = b"".join(table + bytes(-len(table) % 8) for table in tables)
        header = struct.pack(
            "<IHH14I",
            MAGIC, VERSION, 0, 64 + len(body), len(rows), len(flat), len(self.refs),
            len(self.tokens), len(self.pieces), len(self.conditions), len(self.inputs),
            len(self.literals), self.slots, len(self.outers), 0, 0, 0,
        )  # fmt: skip
        return Layout(header + body, tuple(self.outers), self.slots - 1 - len(self.outers))

    def text(self, text: str) -> tuple[int, int]:
        """Keep a text, once however often it is used."""
        data = text.encode()
        at = self.texts.get(data)
        if at is None:
            at = self.texts[data] = len(self.literals)
            self.literals += data
        return at, len(data)

    def literal(self, data: bytes) -> tuple[int, int]:
        """Keep bytes."""
        at = len(self.literals)
        self.literals += data
        return at, len(data)

    def source(self, step_id: str) -> tuple[int, int]:
        """Say where a step's output is found: in the program, or in a slot."""
        if step_id in self.position:
            return FROM_STEP, self.position[step_id]
        return FROM_SLOT, self.outers[step_id]

    def ref(self, shape: StepShape, ref: RefShape) -> int:
        """Keep a reference, once for each source and path: a run then walks it once."""
        if ref.step == "item":
            source = (FROM_ITEM, 0)
        elif ref.step == "inputs":
            source = (FROM_SLOT, 0)
        else:
            source = self.source(shape.scope + ref.step)
        known = self.ref_of.get((*source, ref))
        if known is not None:
            return known
        first = len(self.tokens)
        for token in ref.path:
            index = int(token) if token.isdecimal() and len(token) < 11 else NO_INDEX
            self.tokens.append(struct.pack("<4I", *self.text(token), min(index, NO_INDEX), 0))
        default = self.literal(ref.default) if ref.default else (0, 0)
        self.refs.append(
            struct.pack("<8I", *source, first, len(ref.path), *default, *self.text(ref.step))
        )
        self.ref_of[(*source, ref)] = len(self.refs) - 1
        return len(self.refs) - 1

    def template(self, shape: StepShape, template: Template) -> tuple[int, int]:
        """Keep a template's pieces."""
        first = len(self.pieces)
        for piece in template:
            if piece is None:
                self.pieces.append(struct.pack("<4I", PIECE_SLOT, self.slots, 0, 0))
                self.slots += 1
            elif isinstance(piece, bytes):
                self.pieces.append(struct.pack("<4I", PIECE_LITERAL, *self.literal(piece), 0))
            else:
                self.pieces.append(struct.pack("<4I", PIECE_REF, self.ref(shape, piece), 0, 0))
        return first, len(self.pieces) - first

    def condition(self, shape: StepShape, condition: ConditionShape) -> None:
        """Keep a condition, what is in a group behind it."""
        row = len(self.conditions)
        self.conditions.append(b"")
        for inside in condition.inside:
            self.condition(shape, inside)
        ref = 0 if condition.ref is None else self.ref(shape, condition.ref)
        value = self.literal(condition.value) if condition.value else (0, 0)
        self.conditions[row] = struct.pack(
            "<8I", OPERATORS.index(condition.op), len(self.conditions) - row, ref, *value, 0, 0, 0
        )


def _needed(step: StepShape) -> list[str]:
    """List every step that this one names, itself and repetitions included."""
    names = [*step.depends_on, *(source for _, source in step.inputs_from)]
    refs = [piece for piece in (*step.payload, *step.for_each) if isinstance(piece, RefShape)]
    stack = [step.when] if step.when is not None else []
    while stack:
        condition = stack.pop()
        stack.extend(condition.inside)
        if condition.ref is not None:
            refs.append(condition.ref)
    names += [step.scope + ref.step for ref in refs if ref.step not in ("inputs", "item")]
    return names
