"""What an orchestrator offers about twins: learn what is noise, find where two ways part."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine import Engine
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.orchestrator.bisecting import bisect
from tandem_orchestrator.orchestrator.calibrating import PAUSE_S, calibrate, find_action
from tandem_orchestrator.orchestrator.recorded import recorded_payloads
from tandem_orchestrator.twins import Bisection, Calibration

if TYPE_CHECKING:
    from tandem_orchestrator.orchestrator.orchestrator import TandemOrchestrator


class TwinDoors(ABC):
    """The part of ``TandemOrchestrator`` that asks about twins."""

    _clock: Clock

    @abstractmethod
    def _usable(self) -> tuple[Engine, Journal]:
        """Refuse every call from the wrong place or at the wrong time."""

    # Any: payloads are values of any kind.
    async def calibrate(
        self,
        action: str,
        payloads: Sequence[Any] | int,
        *,
        implementation: str | None = None,
        timeout_s: float = 30.0,
        pause_s: float = PAUSE_S,
    ) -> Calibration:
        """Run one side of ``AGENT.ACTION`` twice and learn which fields of its output are noise.

        Args:
            payloads: Inputs; or how many to take from runs in the journal.
            implementation: Which side; None: ``python`` where there is one.
            timeout_s: Seconds for one attempt.
            pause_s: Seconds between the passes, so that stamps have moved on.

        Raises: CommandError if it may not be run twice, or there is no input.
        """
        _, journal = self._usable()
        entry = find_action(self._whole, action)
        if isinstance(payloads, int):
            taken = await recorded_payloads(journal, entry.agent, entry.name, payloads)
            payloads = [{"$literal": payload} for payload in taken]
        return await calibrate(
            self._whole,
            self._clock,
            entry,
            payloads,
            implementation=implementation,
            timeout_s=timeout_s,
            pause_s=pause_s,
        )

    # Any: inputs are values of any kind.
    async def bisect(
        self,
        command_set: CommandSet,
        *,
        left: str = "python",
        right: str = "c",
        inputs: Mapping[str, Any] | None = None,
    ) -> Bisection:
        """Find the first step and field at which two implementations of a whole set part.

        The set is run twice, as ordinary runs in the journal: once with ``left`` for every step that
        has both, once with ``right``, each on its own values in between. (In a comparing mode each
        step is compared by itself, on the output that counts.)

        Raises: CommandError if a step has external effects, or none has both implementations; and
            what ``submit`` raises.
        """
        self._usable()
        return await bisect(self._whole, command_set, left=left, right=right, inputs=inputs)

    @property
    def _whole(self) -> TandemOrchestrator:
        return cast("TandemOrchestrator", self)
