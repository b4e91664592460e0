"""Messages that are attempts without a run: to Python, and to functions of libraries in C."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from tandem_orchestrator.engine import Gates, never_entered
from tandem_orchestrator.errors import (
    ActionFailed,
    LayerUnavailable,
    NotAValue,
    OutcomeUnknown,
    TandemError,
)
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import (
    CodecError,
    NativeLayer,
    decode_strict,
    encode_body,
)
from tandem_orchestrator.layers.python import PythonLayer
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.values import from_value, to_value
from tandem_orchestrator.orchestrator.message_routes import Route

ENCODED, RAW = 1, 2
"""Flags: the payload is a strict MessagePack body; the answer is wanted as one."""
MANY_AT_ONCE = 64
"""Messages of one ``send_many`` that the Python layer has in work."""


class _PythonFuture(asyncio.Future[Any]):
    """A loop Future whose cancellation asks the handler to stop."""

    __slots__ = ("_token",)

    def __init__(self, token: CancelToken, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._token = token

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel, and ask the handler to stop."""
        cancelled = super().cancel(msg)
        if cancelled:
            self._token.cancel("its caller was cancelled")
        return cancelled


class PythonMessages:
    """Sends to a layer, attempt by attempt, and counts.

    Args:
        layer: Gives the Python layer, or the C layer for functions of libraries and for what has
            limits, once there is one.
        gates: Gives where attempts wait for limits.

    Attributes:
        total, seconds: Messages that ran, and for how long together.
    """

    def __init__(
        self,
        layer: Callable[[], PythonLayer | NativeLayer | None],
        gates: Callable[[], Gates],
    ) -> None:
        self._layer, self._gates = layer, gates
        self._in_work: dict[asyncio.Future[Any], CancelToken] = {}
        self.total, self.seconds = 0, 0.0

    def close(self) -> None:
        """Resolve what is in flight."""
        for future, token in list(self._in_work.items()):
            if not future.done():
                future.set_exception(
                    OutcomeUnknown("the orchestrator was closed while the message was in work")
                )
            token.cancel("the orchestrator was closed")

    # Any: payloads and outputs are any plain values.
    def send(
        self, route: Route, payload: Any, lane: int, timeout: float | None, flags: int
    ) -> asyncio.Future[Any]:
        """Send one message. Raises: NotAValue."""
        value = _value_of(payload, flags)
        layer, loop = self._layer(), asyncio.get_running_loop()
        if layer is None:
            return failed_future(
                LayerUnavailable(f"{route.agent}.{route.action}: its layer is closed")
            )
        deadline_ns = 0 if timeout is None else time.monotonic_ns() + int(timeout * 1e9)
        work = Work(
            "", "", route.agent, route.action, route.implementation, value,
            deadline_ns=deadline_ns, lane=lane,
        )  # fmt: skip
        token = CancelToken()
        future = _PythonFuture(token, loop)
        task = loop.create_task(self._run(layer, work, token))
        self._in_work[future] = token
        timer = None if timeout is None else loop.call_later(timeout, _expire, future, token, route)

        def ended(task: asyncio.Task[Report]) -> None:
            if timer is not None:
                timer.cancel()
            self._in_work.pop(future, None)
            self._settle(future, task, route, flags)

        task.add_done_callback(ended)
        return future

    async def _run(
        self, layer: PythonLayer | NativeLayer, work: Work, token: CancelToken
    ) -> Report:
        passage = await self._gates().enter(
            work.agent, work.action, lambda: work.payload, -work.lane, token
        )
        if passage.failure is not None:
            return never_entered(passage.failure)
        try:
            return await layer.run(work, token)
        finally:
            passage.leave()

    def _settle(
        self,
        future: asyncio.Future[Any],
        task: asyncio.Task[Report],
        route: Route,
        flags: int,
    ) -> None:
        if task.cancelled():
            error: BaseException | None = OutcomeUnknown("the loop ended while it was in work")
        else:
            error = task.exception()
        if error is None:
            report = task.result()
            if report.outcome is not Outcome.NOT_STARTED:
                self.total += 1
                self.seconds += report.seconds
            error = _error_of(report, route)
            if error is None and not future.done():
                output = report.output
                future.set_result(encode_body(output) if flags & RAW else from_value(output))
        if error is not None and not future.done():
            future.set_exception(error)

    async def send_many(
        self, route: Route, payloads: tuple[Any, ...], lane: int, limit_s: float | None, flags: int
    ) -> list[Any]:
        """Send many, some at one time; outputs and exceptions in order."""
        outputs: list[Any] = [None] * len(payloads)
        end_s = None if limit_s is None else time.monotonic() + limit_s
        left = iter(enumerate(payloads))

        async def worker() -> None:
            for index, payload in left:
                left_s = None if end_s is None else max(end_s - time.monotonic(), 1e-6)
                try:
                    outputs[index] = await self.send(route, payload, lane, left_s, flags)
                except (TandemError, TimeoutError) as error:
                    outputs[index] = error

        async with asyncio.TaskGroup() as group:
            for _ in range(min(MANY_AT_ONCE, len(payloads))):
                group.create_task(worker())
        return outputs


def failed_future(error: Exception) -> asyncio.Future[Any]:
    """Make a Future of the running loop that has failed."""
    future = asyncio.get_running_loop().create_future()
    future.set_exception(error)
    return future


def _value_of(payload: Any, flags: int) -> Any:
    if not flags & ENCODED:
        return to_value(payload, where="payload", payload=True)
    if not isinstance(payload, bytes):
        raise NotAValue(f"payload: an encoded body is bytes, got {type(payload).__name__}")
    try:
        return decode_strict(payload)
    except CodecError as error:
        raise NotAValue(f"payload: {error}") from error


def _error_of(report: Report, route: Route) -> Exception | None:
    """Make the exception for a report; None for a success."""
    name, failure = f"{route.agent}.{route.action}", report.failure
    text = failure.message if failure is not None else ""
    match report.outcome:
        case Outcome.SUCCEEDED:
            return None
        case Outcome.TIMED_OUT:
            return TimeoutError(text or f"{name}: no answer within its timeout")
        case Outcome.UNKNOWN | Outcome.ABANDONED:
            return OutcomeUnknown(f"{name}: {text or 'it was asked to stop and may still run'}")
        case Outcome.NOT_STARTED:
            return LayerUnavailable(text or f"{name}: nothing ran")
        case Outcome.FAILED if route.native and failure and failure.type == "LayerUnavailable":
            return LayerUnavailable(text)
    return ActionFailed(failure.type if failure is not None else str(report.outcome), text)


def _expire(future: asyncio.Future[Any], token: CancelToken, route: Route) -> None:
    if not future.done():
        future.set_exception(
            TimeoutError(f"{route.agent}.{route.action}: no answer within its timeout")
        )
        token.cancel("its timeout passed")
