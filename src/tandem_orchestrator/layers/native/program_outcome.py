"""What became of a program's steps, out of the completion's body."""

from __future__ import annotations

from typing import Any

import msgspec

from tandem_orchestrator.layers.native import codec
from tandem_orchestrator.layers.native.body import decode_body
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.program import Program
from tandem_orchestrator.layers.native.program_layout import FROM_STEP
from tandem_orchestrator.model.outcomes import Failure, Outcome

SUCCEEDED, FAILED, TIMED_OUT, CANCELLED, SKIPPED, NOT_STARTED, PACKED = range(7)
UNKNOWN = 7
"""The agent died with it, or the bridge under it."""
_OUTCOMES = (
    Outcome.SUCCEEDED, Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELLED, Outcome.SKIPPED,
    Outcome.NOT_STARTED, Outcome.SUCCEEDED, Outcome.UNKNOWN,
)  # fmt: skip
SKIP_CONDITION, SKIP_NO_OUTPUT = 1, 2


class StepOutcome(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One step's end, as C wrote it."""

    code: int
    """Index of ``outcome``; in the order of ``SUCCEEDED`` to ``UNKNOWN``."""
    started_ns: int = 0
    """Since the program's start."""
    elapsed_ns: int = 0
    # Any: an output is any plain value.
    output: Any = None
    """Of a wanted step that succeeded."""
    failure_type: str | None = None
    failure_message: str | None = None
    detail: tuple[int, ...] = ()
    """Of a ``for_each`` the failed items; of a skipped step why, and where the cause is."""

    @property
    def outcome(self) -> Outcome:
        """What it ended with; NOT_STARTED where the program stopped before it."""
        return _OUTCOMES[self.code]

    @property
    def failure(self) -> Failure | None:
        """Why it did not succeed."""
        if self.failure_type is None:
            return None
        return Failure(self.failure_type, self.failure_message or "")

    @property
    def failed_items(self) -> tuple[int, ...]:
        """Positions of the items that failed."""
        return () if self.code == SKIPPED else self.detail

    def reason(self, program: Program) -> str:
        """Say why it was skipped; empty if it was not."""
        if self.code != SKIPPED:
            return ""
        if self.detail[0] == SKIP_CONDITION:
            return "its condition is false"
        _, source, index = self.detail
        name = program.order[index] if source == FROM_STEP else program.outers[index - 1]
        return f"it refers to step {name!r}, which gave no output"


class _Completion(msgspec.Struct, array_like=True, gc=False):
    started_ns: int
    elapsed_ns: int
    stopped: int
    rows: list[StepOutcome]


_decode = msgspec.msgpack.Decoder(_Completion).decode


def decode_outcomes(program: Program, body: bytes) -> list[StepOutcome]:
    """Read a completion's body, which the client has found to be strict.

    Returns: One outcome for each step, in the program's order.

    Raises: CodecError if it is not a completion of this program.
    """
    try:
        if b"\xd6\xff" in body or b"\xd7\xff" in body or b"\xc7\x0c\xff" in body:
            # Timestamps keep their nanoseconds only there; a false alarm is merely slower.
            rows = [StepOutcome(*row) for row in codec.decode(body)[3]]
        else:
            rows = _decode(body).rows
    except (msgspec.MsgspecError, TypeError, ValueError, LookupError) as error:
        raise CodecError(f"not a program's completion: {error}") from error
    if len(rows) != len(program.order):
        raise CodecError(f"{len(rows)} outcomes for {len(program.order)} steps")
    for i, row in enumerate(rows):
        if row.code == PACKED:
            rows[i] = msgspec.structs.replace(row, code=SUCCEEDED, output=decode_body(row.output))
        elif row.code > UNKNOWN:
            raise CodecError(f"outcome {row.code} is not known")
    return rows


def lost_outcomes(program: Program, mark: int) -> list[StepOutcome]:
    """Say what is known of a program whose bridge died: steps from ``mark`` on never started."""
    unknown = StepOutcome(
        UNKNOWN, failure_type="OutcomeUnknown", failure_message="the bridge died after taking it"
    )
    total = len(program.order)
    mark = min(mark, total)
    return [unknown] * mark + [StepOutcome(NOT_STARTED)] * (total - mark)
