"""Segments in C: planned steps become a program once, and each run of them is one crossing.

Programs are kept by structure, so that the same command set built again with other values finds
the one that is loaded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from tandem_orchestrator.layers.cpus import cpu_mask
from tandem_orchestrator.layers.layer import SegmentWork
from tandem_orchestrator.layers.native.program import (
    Program,
    Structure,
    compile_structure,
    structure_of,
)
from tandem_orchestrator.layers.native.program_outcome import (
    CANCELLED,
    FAILED,
    TIMED_OUT,
    UNKNOWN,
    StepOutcome,
)
from tandem_orchestrator.layers.native.programs import OnCall, Programs
from tandem_orchestrator.layers.native.session import Session
from tandem_orchestrator.model.effects import may_repeat
from tandem_orchestrator.model.events import SegmentRow
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import PlannedStep

COMPILED_MAX = 256
"""Structures whose programs are kept; the one that was used longest ago goes first."""


class _Everything:
    """Every step's output is wanted: the result shows them all."""

    def __contains__(self, step_id: object) -> bool:
        return True


_WANTED = _Everything()


class Segments:
    """The segments that run over one session. Belongs to the session's loop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.programs = Programs(session)
        self._actions: object = None
        self._compiled: OrderedDict[Structure, Program] = OrderedDict()

    def compile(self, steps: Sequence[PlannedStep]) -> tuple[Program, list[bytes]]:
        """Find or make the program of these steps, and the values of their literals.

        Raises: ProgramRefused, naming a step and why it cannot be part of a program.
        """
        if self._actions is not self.session.actions:
            # Agents came or went. Ids keep their meaning, but what could be compiled may not be now.
            self._actions = self.session.actions
            self._compiled.clear()
        structure, literals = structure_of(steps, _WANTED)
        program = self._compiled.get(structure)
        if program is None:
            ids = {name: action.action_id for name, action in self.session.actions.items()}
            program = self._compiled[structure] = compile_structure(structure, literals, ids)
            if len(self._compiled) > COMPILED_MAX:
                self._compiled.popitem(last=False)
        else:
            self._compiled.move_to_end(structure)
        return program, literals

    async def run(self, work: SegmentWork, on_call: OnCall) -> tuple[SegmentRow, ...]:
        """Run a segment; gives a row for each step, in order.

        Raises: ProgramRefused; as ``Programs.run``.
        """
        program, literals = self.compile(work.steps)
        outcomes = await self.programs.run(
            program, work.inputs, work.outputs, literals=literals, lane=work.lane,
            cpus=cpu_mask(work.cpus), on_call=on_call, keys=work.keys,
        )  # fmt: skip
        return rows_of(work.steps, outcomes, program)


def rows_of(
    steps: Sequence[PlannedStep], outcomes: Sequence[StepOutcome], program: Program
) -> tuple[SegmentRow, ...]:
    """Say of each step what became of it, as the engine knows it."""
    return tuple(
        _row_of(step, outcome, program) for step, outcome in zip(steps, outcomes, strict=True)
    )


def abandoned_rows(rows: Sequence[SegmentRow]) -> tuple[SegmentRow, ...]:
    """Say of the steps whose end nobody waits for any more that they may be running still."""
    text = "asked to stop and gave no answer within its grace; it may be running still"
    failure = {"type": "Abandoned", "message": text, "traceback": None}
    return tuple(
        SegmentRow(row.step, "abandoned", failure=failure) if row.outcome == "unknown" else row
        for row in rows
    )


def _row_of(step: PlannedStep, outcome: StepOutcome, program: Program) -> SegmentRow:
    ended = outcome.outcome
    if may_repeat(step.effects):
        if outcome.code == UNKNOWN and _is_late(step, outcome):
            # Its process was killed because it did not obey its time limit.
            outcome = msgspec.structs.replace(outcome, code=TIMED_OUT)
            ended = Outcome.TIMED_OUT
        elif outcome.code == FAILED and outcome.failure_type == "TooLarge":
            ended = Outcome.UNKNOWN  # for a program's memory; by itself it has more room
    return SegmentRow(
        step.id,
        ended.value,
        outcome.output,
        outcome.elapsed_ns / 1e9,
        _failure_of(step, outcome),
        outcome.reason(program),
        outcome.failed_items,
        len(outcome.output) if step.for_each is not None and outcome.output else 1,
    )


def _is_late(step: PlannedStep, outcome: StepOutcome) -> bool:
    return step.timeout_s is not None and outcome.elapsed_ns >= step.timeout_s * 1e9


# Any: the plain form of a failure.
def _failure_of(step: PlannedStep, outcome: StepOutcome) -> dict[str, Any] | None:
    kind, text = outcome.failure_type, outcome.failure_message or ""
    if outcome.code == TIMED_OUT and step.timeout_s is not None:
        kind, text = "TimeoutError", f"the step's time limit of {step.timeout_s:g} s passed"
    elif outcome.code == CANCELLED and kind is None:
        kind, text = "Cancelled", "asked to stop, and did"
    elif outcome.code == UNKNOWN:
        text = f"{step.agent}.{step.action}: {text}"
    return None if kind is None else {"type": kind, "message": text, "traceback": None}
