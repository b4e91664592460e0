"""Acceptances: the first record of runs of one plan, encoded once but for what is each one's own.

It holds the command set and the plan, some 4 KB that differ from run to run in ids, names and
payloads alone. They are encoded with marks in the place of those, cut there, and put together
around the values of each run: bytes that any other way of encoding would have given as well.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol, cast

import msgspec

from tandem_orchestrator.layers.native.program import Form, forms_of
from tandem_orchestrator.model.events import RunAccepted
from tandem_orchestrator.model.plans import plan_to_value
from tandem_orchestrator.orchestrator.intake import Intake, accepted_of

_encode = msgspec.msgpack.encode
_NIL = b"\xc0"
PAYLOADS_BYTES_MAX = 256 * 1024
"""Of one run, together."""
_ID, _NAME = -2, -1
"""Slots of a set's id and name; those of payloads are positions in the plan."""


class Asked(Protocol):
    """What one run asks of a plan that it shares with others."""

    @property
    def names(self) -> tuple[str, str]:
        """Id and name of the command set."""

    # Any: inputs and documents hold any plain value.
    @property
    def inputs(self) -> dict[str, Any]:
        """The run's own inputs."""

    @property
    def literals(self) -> Sequence[bytes] | None:
        """Values of the payloads' literals; None: those of the plan."""

    def own_intake(self) -> Intake:
        """Give what taking in this very set gave, or would have given."""


class Acceptance:
    """Makes the acceptances of runs of one plan.

    Args:
        intake: Of any set of the structure.
    """

    def __init__(self, intake: Intake) -> None:
        plan = intake.plan
        self.forms: tuple[Form, ...] = forms_of(plan.steps)
        self._intake = intake
        self._is_named = bool(intake.command_set.name)
        self._has_payload = [step.payload is not None for step in plan.steps]
        places = {step.id: position for position, step in enumerate(plan.steps)}
        asked = intake.command_set.steps
        order = [places[step.id or f"s{n + 1}"] for n, step in enumerate(asked)]
        own_name = {"name": _NAME} if "name" in intake.document else {}
        self._document = _Pieces(intake.document, {"id": _ID} | own_name, order)
        self._plan = _Pieces(plan_to_value(plan), {"name": _NAME}, list(range(len(plan.steps))))
        self._own: RunAccepted | None = None

    def of_run(self, run_id: str, asked: Asked, at_ns: int) -> RunAccepted:
        """Make the record of one run; some fields may be encoded already, for a journal to write."""
        if asked.literals is not None:
            made = self._event_with(run_id, asked.names, asked.literals, asked.inputs, at_ns)
            if made is not None:
                return made
        intake = asked.own_intake()
        if asked.literals is None and self._is_of(intake):
            return self._own_event(run_id, intake.inputs, at_ns)
        return msgspec.structs.replace(accepted_of(intake, run_id), at_ns=at_ns)

    # Any: inputs hold any plain value.
    def _event_with(
        self,
        run_id: str,
        names: tuple[str, str],
        literals: Sequence[bytes],
        inputs: dict[str, Any],
        at_ns: int,
    ) -> RunAccepted | None:
        """Make the record of one run.

        Args:
            names: Id and name of the command set.
            literals: The values of its payloads, as ``literals_of`` finds them in the plan.

        Returns: it, ``document`` and ``plan`` encoded already: for a journal that writes it. None
            where a field would be left out that is there in this plan, or the other way round; and
            where the payloads are so large that the journal has to look into the record.
        """
        if bool(names[1]) != self._is_named:
            return None
        payloads: list[bytes] = []
        position = 0
        for form, has_payload in zip(self.forms, self._has_payload, strict=True):
            if len(form) == 1 and form[0] is None:
                body = literals[position]
                position += 1
                if (body != _NIL) != has_payload:
                    return None
            else:
                pieces = []
                for piece in form:
                    if piece is None:
                        piece = literals[position]
                        position += 1
                    pieces.append(piece)
                body = b"".join(pieces)
            payloads.append(body)
        payloads += [_encode(names[0]), _encode(names[1])]  # at -2 and -1
        if sum(map(len, payloads)) > PAYLOADS_BYTES_MAX:
            return None
        document, plan = self._document.joined(payloads), self._plan.joined(payloads)
        return self._event(run_id, names, document, plan, inputs, at_ns)

    def _is_of(self, intake: Intake) -> bool:
        """Whether an intake is that of the very set it was made of, but for its inputs."""
        mine = self._intake
        return intake.plan is mine.plan and intake.document is mine.document

    def _own_event(self, run_id: str, inputs: dict[str, Any], at_ns: int) -> RunAccepted:
        """Make the record of a run of the very set that it was made of."""
        if self._own is None:
            intake = self._intake
            document = msgspec.Raw(_encode(intake.document))
            plan = msgspec.Raw(_encode(plan_to_value(intake.plan)))
            self._own = self._event("", intake.names, document, plan, {}, 1)
        return msgspec.structs.replace(self._own, run_id=run_id, inputs=inputs, at_ns=at_ns)

    def _event(
        self,
        run_id: str,
        names: tuple[str, str],
        document: msgspec.Raw,
        plan: msgspec.Raw,
        inputs: dict[str, Any],
        at_ns: int,
    ) -> RunAccepted:
        asked = self._intake.plan
        return RunAccepted(
            at_ns=at_ns,
            run_id=run_id,
            command_set_id=names[0],
            name=names[1],
            type=asked.type,
            mode=asked.mode,
            priority=asked.priority,
            durability=asked.durability,
            document=cast("dict[str, Any]", document),
            plan=cast("dict[str, Any]", plan),
            inputs=inputs,
            resumable=self._intake.resumable,
            steps_total=len(asked.steps),
        )


class _Pieces:
    """A document or plan, encoded and cut at what differs from run to run.

    Args:
        slots: Keys of its own, to the slots of their values.
        order: The slots of its steps' payloads.
    """

    __slots__ = ("_slots", "_texts")

    def __init__(self, value: dict[str, Any], slots: dict[str, int], order: list[int]) -> None:
        marks: dict[bytes, int] = {}

        def mark(slot: int) -> msgspec.Raw:
            made = os.urandom(16)
            marks[made] = slot
            return msgspec.Raw(made)

        steps = [
            {**step, "payload": mark(slot)} if "payload" in step else step
            for step, slot in zip(value["steps"], order, strict=True)
        ]
        body = _encode({**value, "steps": steps, **{key: mark(s) for key, s in slots.items()}})
        found = sorted((body.index(made), made) for made in marks)
        self._texts: list[bytes] = []
        self._slots: list[int] = []
        position = 0
        for start, made in found:
            self._texts.append(body[position:start])
            self._slots.append(marks[made])
            position = start + len(made)
        self._texts.append(body[position:])

    def joined(self, values: Sequence[bytes]) -> msgspec.Raw:
        pieces = [self._texts[0]]
        for slot, text in zip(self._slots, self._texts[1:], strict=True):
            pieces.append(values[slot])
            pieces.append(text)
        return msgspec.Raw(b"".join(pieces))
