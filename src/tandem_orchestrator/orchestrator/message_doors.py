"""``send``, ``send_many`` and ``call_sync``, as an orchestrator offers them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.orchestrator.messages import Messages, Way


class MessageDoors:
    """The part of ``TandemOrchestrator`` that calls actions without a run."""

    _messages: Messages
    _ways: dict[tuple[str, str], Way]
    """``_messages.ways``, one look-up nearer."""

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
    ) -> asyncio.Future[Any]:
        """Call an action without a run: no journal, retry, hook or recovery; at most once.

        Goes to c where its rung is ``native`` or it is the only implementation, else to python.

        Args:
            agent, action: Which action.
            payload: Its payload; ``bytes`` are a value like any other, unless ``encoded``.
            implementation: Overrides the choice.
            timeout: Seconds until the Future gets TimeoutError; None is never.
            priority: The configured default is MEDIUM.
            encoded: The payload is ready-made: a strict MessagePack body; the answer is one, too.

        Returns: A Future of this loop. It gets the output, or ActionFailed, TimeoutError,
            OutcomeUnknown, LayerUnavailable. Cancelling it cancels the call.

        Raises: NotInitialized, Closed, Forked, WrongLoop, Busy, NotAValue; InvalidCommandSet with
            a fault for an unknown agent, action or implementation.
        """
        way = self._ways.get((agent, action))
        if way is not None and implementation is None and priority is None and not encoded:
            future = way(payload, timeout)
            if future is not None:
                return future
        return self._messages.send(
            agent, action, payload, implementation, timeout, priority, encoded
        )

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
    ) -> asyncio.Future[list[Any]]:
        """Call an action once for each payload, in windows; one Future for all of them.

        ``timeout`` is for all together; the rest is as in ``send``.

        Returns: A Future of the outputs in order, each that failed as its exception object in
            place (NotAValue as well). Cancelling it cancels what has not ended.
        """
        return self._messages.send_many(
            agent, action, payloads, implementation, timeout, priority, encoded
        )

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
        """Call an action and block until its output, from any thread, with a loop or without.

        In C it goes over one of at most 8 sessions and waits for a free one; the GIL is released.
        On the orchestrator's own loop it blocks that loop, and can reach C actions only.

        Raises: what ``send`` raises and what its Future gets; Busy when no session became free
            within ``timeout``.
        """
        return self._messages.call_sync(
            agent, action, payload, implementation, timeout, priority, encoded
        )
