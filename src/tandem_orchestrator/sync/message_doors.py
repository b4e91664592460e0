"""``send``, ``send_many`` and ``call_sync``, blocking."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.orchestrator import TandemOrchestrator as AsyncTandemOrchestrator
from tandem_orchestrator.sync.loop_thread import LoopThread


class MessageDoors(ABC):
    """The part of the blocking orchestrator that calls actions without a run."""

    _tandem: AsyncTandemOrchestrator

    @abstractmethod
    def _usable(self) -> LoopThread:
        """Give the loop's thread, or raise NotInitialized, Closed or Forked."""

    # Any: payloads and outputs are any plain values.
    def send(
        self,
        agent: str,
        action: str,
        payload: Any,
        *,
        implementation: str | None = None,
        timeout: float | None = 30.0,
        priority: Priority | int | str | None = None,
        encoded: bool = False,
    ) -> Any:
        """Call an action without a run and wait for its output; an interrupt cancels the call.

        Goes over the loop's session, so thousands of threads may wait at one time; ``call_sync``
        answers sooner, and has eight sessions. Arguments as in the async class.

        Raises: what the async ``send`` raises and what its Future gets.
        """

        async def sending() -> Any:
            return await self._tandem.send(
                agent, action, payload, implementation=implementation, timeout=timeout,
                priority=priority, encoded=encoded,
            )  # fmt: skip

        return self._usable().wait(sending())

    def send_many(
        self,
        agent: str,
        action: str,
        payloads: Iterable[Any],
        *,
        implementation: str | None = None,
        timeout: float | None = 30.0,
        priority: Priority | int | str | None = None,
        encoded: bool = False,
    ) -> list[Any]:
        """Call an action once for each payload; outputs and exceptions in order.

        ``payloads`` is read in the calling thread; the rest is as in the async class.
        """
        taken = tuple(payloads)

        async def sending() -> list[Any]:
            return await self._tandem.send_many(
                agent, action, taken, implementation=implementation, timeout=timeout,
                priority=priority, encoded=encoded,
            )  # fmt: skip

        return self._usable().wait(sending())

    def call_sync(
        self,
        agent: str,
        action: str,
        payload: Any,
        *,
        implementation: str | None = None,
        timeout: float | None = 30.0,
        priority: Priority | int | str | None = None,
        encoded: bool = False,
    ) -> Any:
        """See the async class: in C it goes there from the calling thread, without the loop."""
        self._usable()
        return self._tandem.call_sync(
            agent, action, payload, implementation=implementation, timeout=timeout,
            priority=priority, encoded=encoded,
        )  # fmt: skip
