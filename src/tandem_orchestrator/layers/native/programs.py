"""Running programs over one session: loaded once, run as often as wanted.

Loaded programs are known by their digest, so that equal structures share one. The bridge keeps a
bounded number and forgets the one that was run longest ago; a run of a forgotten program loads it
again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tandem_orchestrator.errors import Busy, CommandError, LayerUnavailable
from tandem_orchestrator.layers.native import reports
from tandem_orchestrator.layers.native.body import decode_body
from tandem_orchestrator.layers.native.program import Program, ProgramRefused, encode_run
from tandem_orchestrator.layers.native.program_outcome import (
    StepOutcome,
    decode_outcomes,
    lost_outcomes,
)
from tandem_orchestrator.layers.native.session import Completion, Session

KIND_LOAD, KIND_RUN = 4, 5
LOADED_MAX = 64
"""Programs a session keeps; the bridge has the same bound."""
LOADS_MAX = 3
"""Times a run loads a program that others keep pushing out."""

OnCall = Callable[[int, asyncio.Future[Completion]], None]
"""Told the id of a call and the Future of its end."""


def _watch_nothing(call_id: int, future: asyncio.Future[Completion]) -> None:
    """Nobody wants to stop this run."""


class Programs:
    """The programs of one session.

    Loops are not thread-safe: everything here runs on the session's loop.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._loads: OrderedDict[str, asyncio.Future[Completion]] = OrderedDict()
        self.loads_total = 0

    # Any: inputs and outputs are any plain values.
    async def run(
        self,
        program: Program,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        *,
        literals: Sequence[bytes] | None = None,
        deadline_ns: int = 0,
        lane: int = 2,
        cpus: bytes | None = None,
        reply_bytes_max: int = 0,
        on_call: OnCall = _watch_nothing,
        keys: Mapping[str, str] | None = None,
    ) -> list[StepOutcome]:
        """Run a program from end to end in C; arguments as for ``encode_run``.

        Cancelling the awaiting task asks the bridge to stop the program.

        Args:
            on_call: Told the id and the Future of the call that runs it, for who may want to
                stop it.

        Returns: One outcome for each step, in ``program.order``, also when the bridge died, or
            when the call was given up with ``reports.ABANDONED``.

        Raises: ProgramRefused (the bridge did not accept it), CommandError (too large), Busy and
            LayerUnavailable (nothing of it ran), CodecError.
        """
        body = encode_run(program, inputs, outputs, literals, keys)
        for _ in range(LOADS_MAX):
            program_id = await self._load(program)
            call_id, future = self._session.call(
                program_id,
                body,
                kind=KIND_RUN,
                deadline_ns=deadline_ns,
                lane=lane,
                cpus=cpus,
                reply_bytes_max=reply_bytes_max,
            )
            on_call(call_id, future)
            try:
                completion = await future
            except asyncio.CancelledError:
                self._session.cancel(call_id)
                raise
            if completion.status != reports.NO_AGENT:
                return outcomes_of(program, completion)
            self._loads.pop(program.digest, None)
        raise Busy("C layer: the program was pushed out before it could run")

    def loaded(self, program: Program) -> int | None:
        """Give the number under which a program was loaded, for ``Session.run``; or None."""
        load = self._loads.get(program.digest)
        if load is None or not load.done() or load.cancelled():
            return None
        completion = load.result()
        return _number_of(completion) if completion.status == reports.OK else None

    async def _load(self, program: Program) -> int:
        future = self._loads.get(program.digest)
        if future is None or future.cancelled():
            _, future = self._session.call(0, program.data, kind=KIND_LOAD)
            self.loads_total += 1
            self._loads[program.digest] = future
            if len(self._loads) > LOADED_MAX:
                self._loads.popitem(last=False)
        else:
            self._loads.move_to_end(program.digest)
        # Several runs may wait for one load: a cancelled one must not take it from the others.
        completion = future.result() if future.done() else await asyncio.shield(future)
        if completion.status != reports.OK:
            self._loads.pop(program.digest, None)
            raise _refusal(completion)
        return _number_of(completion)


def _number_of(completion: Completion) -> int:
    loaded = decode_body(completion.body)
    assert isinstance(loaded, int)
    return loaded


def outcomes_of(program: Program, completion: Completion) -> list[StepOutcome]:
    """Say what became of each step; raises, as ``Programs.run``, where nothing ran."""
    if completion.status == reports.OK:
        return decode_outcomes(program, completion.body)
    if completion.status in (reports.UNKNOWN, reports.ABANDONED):
        return lost_outcomes(program, completion.mark)
    if completion.status == reports.NOT_STARTED:
        return lost_outcomes(program, 0)
    if completion.started_ns:  # it ran, and its answer found no room
        return lost_outcomes(program, len(program.order))
    raise _refusal(completion)


def _refusal(completion: Completion) -> Exception:
    """Say why nothing of a program ran."""
    if completion.status == reports.FAILED:
        failure = decode_body(completion.body)
        return ProgramRefused("", f"{failure['type']}: {failure['message']}")
    name = reports.STATUS_NAMES[completion.status]
    if completion.status == reports.BUSY:
        return Busy("C layer: too many programs at once")
    if completion.status in (reports.UNKNOWN, reports.NOT_STARTED):
        return LayerUnavailable("C layer: the bridge died before it had the program")
    return CommandError(f"C layer: the program is refused: {name}")
