"""Messages: an action called by name, without a run. No journal, retry, hook or recovery.

The way is found once per (agent, action, implementation) and kept until a registration, or the
end of the session, makes it stale; after that a message costs one look-up and one call into C.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.errors import (
    ActionFailed,
    Fault,
    InvalidCommandSet,
    LayerUnavailable,
    NotAValue,
    NotInitialized,
    OutcomeUnknown,
    TandemError,
    WrongLoop,
)
from tandem_orchestrator.layers import CancelToken, Report, Work
from tandem_orchestrator.layers.native import (
    CodecError,
    NativeLayer,
    Session,
    SyncPool,
    decode_strict,
    encode_body,
)
from tandem_orchestrator.layers.python import PythonLayer, Registry
from tandem_orchestrator.model.catalogue import Action, Catalogue, Implementation, nearest
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.values import from_value, to_value

ENCODED, RAW = 1, 2
"""Flags: the payload is a strict MessagePack body; the answer is wanted as one."""
LANE = Priority.MEDIUM.lane
"""Of a message without a priority."""
TIMEOUT_S_MAX = 1e9
"""31 years; beyond it nanoseconds would overflow."""
MANY_AT_ONCE = 64
"""Messages of one ``send_many`` that the Python layer has in work."""

_running_loop = asyncio._get_running_loop  # None, and no exception, where there is none


@dataclass(frozen=True, slots=True)
class _Route:
    """Where messages for one action go."""

    agent: str
    action: str
    implementation: str
    version: int
    """Of the registry, when the way was found."""
    native: bool
    session: Session | None
    """None for Python, and while the C layer is away."""
    action_id: int


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


class Messages:
    """``send``, ``send_many`` and ``call_sync`` of one orchestrator.

    Args:
        usable: Raises NotInitialized, Closed, Forked or WrongLoop.
        catalogue: Gives what can be asked for.
        registry: Its ``version`` says when a way is stale.
        layers: Gives the two layers, once there are any.
    """

    def __init__(
        self,
        usable: Callable[[], object],
        catalogue: Callable[[], Catalogue],
        registry: Registry,
        layers: Callable[[], tuple[PythonLayer | None, NativeLayer | None]],
    ) -> None:
        self._usable, self._catalogue, self._registry = usable, catalogue, registry
        self._layers = layers
        self._routes: dict[tuple[str, str, str | None], _Route] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: SyncPool | None = None
        self._in_python: dict[asyncio.Future[Any], CancelToken] = {}
        self._python_total, self._python_s = 0, 0.0
        self._sessions: list[Session] = []
        self._past = {"settled": 0, "elapsed_ns": 0}

    def start(self) -> None:
        """Belong to the running loop from now on."""
        self._loop = asyncio.get_running_loop()

    # Any: payloads and outputs are any plain values.
    def send(
        self,
        agent: str,
        action: str,
        payload: Any,
        implementation: str | None = None,
        timeout: float | None = 30.0,
        priority: Priority | int | str | None = None,
        encoded: bool = False,
    ) -> asyncio.Future[Any]:
        """Send one message; see ``TandemOrchestrator.send``."""
        route = self._routes.get((agent, action, implementation))
        if (
            route is None
            or route.version != self._registry.version
            or _running_loop() is not self._loop
        ):
            route = self._checked_route(agent, action, implementation)
        if timeout is not None and not 0 < timeout <= TIMEOUT_S_MAX:
            raise _impossible(timeout)
        lane = LANE if priority is None else _lane(priority)
        if route.session is not None:
            try:
                return route.session.send(
                    route.action_id, payload, lane, timeout, ENCODED | RAW if encoded else 0
                )
            except LayerUnavailable as error:
                self._routes.clear()
                return self._failed(error)
        if route.native:
            return self._failed(self._native_away(route))
        return self._to_python(route, payload, lane, timeout, ENCODED | RAW if encoded else 0)

    def send_many(
        self,
        agent: str,
        action: str,
        payloads: Iterable[Any],
        implementation: str | None = None,
        timeout: float | None = 30.0,
        priority: Priority | int | str | None = None,
        encoded: bool = False,
    ) -> asyncio.Future[list[Any]]:
        """Send many messages; see ``TandemOrchestrator.send_many``."""
        route = self._checked_route(agent, action, implementation)
        if timeout is not None and not 0 < timeout <= TIMEOUT_S_MAX:
            raise _impossible(timeout)
        lane = LANE if priority is None else _lane(priority)
        flags = ENCODED | RAW if encoded else 0
        if route.session is not None:
            try:
                return route.session.send_many(
                    route.action_id, tuple(payloads), lane, timeout, flags
                )
            except LayerUnavailable as error:
                self._routes.clear()
                return self._failed(error)
        if route.native:
            return self._failed(self._native_away(route))
        many = self._many_to_python(route, tuple(payloads), lane, timeout, flags)
        return asyncio.get_running_loop().create_task(many)

    def call_sync(
        self,
        agent: str,
        action: str,
        payload: Any,
        implementation: str | None = None,
        timeout: float | None = 30.0,
        priority: Priority | int | str | None = None,
        encoded: bool = False,
        flags: int | None = None,
    ) -> Any:
        """Send one message and block; see ``TandemOrchestrator.call_sync``."""
        route = self._routes.get((agent, action, implementation))
        if route is None or route.version != self._registry.version or self._loop is None:
            self._usable()
            route = self._route(agent, action, implementation)
        if timeout is not None and not 0 < timeout <= TIMEOUT_S_MAX:
            raise _impossible(timeout)
        lane = LANE if priority is None else _lane(priority)
        if flags is None:
            flags = ENCODED | RAW if encoded else 0
        if route.native:
            return self._sync_pool().ask(agent, action, payload, lane, timeout, flags)
        return self._python_sync(route, payload, lane, timeout, flags)

    async def send_message(self, message: Mapping[str, Any]) -> Any:
        """Send ``{"agent", "action", "payload"}`` to its Python implementation."""
        agent, action, payload = _parts(message)
        return await self.send(agent, action, payload, "python")

    def bridge_message(self, message: Mapping[str, Any] | bytes) -> Any:
        """Send ``{"agent", "action", "payload"}``, or its encoding, through the C layer; blocks."""
        if isinstance(message, bytes):
            try:
                decoded = decode_strict(message)
            except CodecError as error:
                raise NotAValue(f"message: {error}") from error
            return self.call_sync(*_parts(decoded), "c", flags=RAW)
        return self.call_sync(*_parts(message), "c")

    def close(self) -> None:
        """Refuse what comes, and resolve what is in flight in Python; the C session does its own."""
        self._routes.clear()
        self._loop = None
        if self._pool is not None:
            self._pool.close()
        for future, token in list(self._in_python.items()):
            if not future.done():
                future.set_exception(
                    OutcomeUnknown("the orchestrator was closed while the message was in work")
                )
            token.cancel("the orchestrator was closed")

    # Any: SPEC's table of numbers.
    def add_to(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Add messages to the counters that runs have made."""
        native = dict(self._past)
        for counts in [session.message_stats() for session in self._sessions] + (
            [] if self._pool is None else [self._pool.stats()]
        ):
            for key in native:
                native[key] += counts.get(key, 0)
        for layer, total, seconds in (
            ("python", self._python_total, self._python_s),
            ("c", native["settled"], native["elapsed_ns"] / 1e9),
        ):
            before = metrics[f"{layer}_msgs_processed"]
            spent = metrics[f"avg_{layer}_latency"] * before + seconds
            metrics[f"{layer}_msgs_processed"] = before + total
            metrics[f"avg_{layer}_latency"] = spent / (before + total) if before + total else 0.0
        return metrics

    def forget_ways(self) -> None:
        """Have the next messages look anew where they go: a layer came or went."""
        self._routes.clear()

    # --- the way -------------------------------------------------------------------------------------

    def _checked_route(self, agent: str, action: str, implementation: str | None) -> _Route:
        self._usable()
        if self._loop is None:
            raise NotInitialized("await initialize() first, or use 'async with'")
        if _running_loop() is not self._loop:
            raise WrongLoop(
                "send() is called on the event loop that initialised the orchestrator; "
                "call_sync() works in other threads"
            )
        return self._route(agent, action, implementation)

    def _route(self, agent: str, action: str, implementation: str | None) -> _Route:
        version = self._registry.version
        entry = self._entry(agent, action)
        chosen = _choose(entry, implementation, self._catalogue().away)
        native, session, action_id = chosen.layer == "c", None, 0
        if native:
            layer = self._layers()[1]
            session = None if layer is None else layer.session
            if session is not None:
                offered = session.actions.get((agent, action))
                session = session if offered is not None else None
                action_id = 0 if offered is None else offered.action_id
        route = _Route(agent, action, chosen.name, version, native, session, action_id)
        if session is not None:
            self._keep_session(session)
        if session is not None or not native:  # Without a session the next message asks anew.
            self._routes[agent, action, implementation] = route
        return route

    def _entry(self, agent: str, action: str) -> Action:
        catalogue = self._catalogue()
        entry = catalogue.action(agent, action)
        if entry is not None and entry.implementations:
            return entry
        if agent not in catalogue.agents:
            text = f"agent {agent!r} is not registered"
            fault = Fault("unknown_agent", "agent", text, agent, catalogue.nearest_agents(agent))
        else:
            text = f"agent {agent!r} has no action {action!r} with a handler"
            near = catalogue.nearest_actions(agent, action)
            fault = Fault("unknown_action", "action", text, action, near)
        raise InvalidCommandSet(faults=(fault,))

    def _keep_session(self, session: Session) -> None:
        """Remember whose counters to read; those of ended sessions are added up."""
        if self._sessions and self._sessions[-1] is session:
            return
        for ended in self._sessions:
            for key in self._past:
                self._past[key] += ended.message_stats().get(key, 0)
        self._sessions = [session]

    def _native_away(self, route: _Route) -> LayerUnavailable:
        layer = self._layers()[1]
        why = "switched off" if layer is None else layer.away or "the bridge is being restarted"
        return LayerUnavailable(f"{route.agent}.{route.action}: C layer: {why}")

    def _failed(self, error: Exception) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        future.set_exception(error)
        return future

    def _sync_pool(self) -> SyncPool:
        layer = self._layers()[1]
        if layer is None:
            raise LayerUnavailable("C layer: switched off (c_layer.enabled)")
        if self._pool is None:
            self._pool = SyncPool(lambda: layer.socket_path, "call-sync", lambda: layer.session)
        return self._pool

    # --- in Python -----------------------------------------------------------------------------------

    def _to_python(
        self, route: _Route, payload: Any, lane: int, timeout: float | None, flags: int
    ) -> asyncio.Future[Any]:
        value = _value_of(payload, flags)
        layer, loop = self._layers()[0], asyncio.get_running_loop()
        if layer is None:
            return self._failed(LayerUnavailable("Python layer: closed"))
        deadline_ns = 0 if timeout is None else time.monotonic_ns() + int(timeout * 1e9)
        work = Work(
            "", "", route.agent, route.action, route.implementation, value,
            deadline_ns=deadline_ns, lane=lane,
        )  # fmt: skip
        token = CancelToken()
        future = _PythonFuture(token, loop)
        task = loop.create_task(layer.run(work, token))
        self._in_python[future] = token
        timer = None if timeout is None else loop.call_later(timeout, _expire, future, token, route)

        def ended(task: asyncio.Task[Report]) -> None:
            if timer is not None:
                timer.cancel()
            self._in_python.pop(future, None)
            self._settle(future, task, route, flags)

        task.add_done_callback(ended)
        return future

    def _settle(
        self,
        future: asyncio.Future[Any],
        task: asyncio.Task[Report],
        route: _Route,
        flags: int,
    ) -> None:
        if task.cancelled():
            error: BaseException | None = OutcomeUnknown("the loop ended while it was in work")
        else:
            error = task.exception()
        if error is None:
            report = task.result()
            if report.outcome is not Outcome.NOT_STARTED:
                self._python_total += 1
                self._python_s += report.seconds
            error = _error_of(report, route)
            if error is None and not future.done():
                output = report.output
                future.set_result(encode_body(output) if flags & RAW else from_value(output))
        if error is not None and not future.done():
            future.set_exception(error)

    async def _many_to_python(
        self, route: _Route, payloads: tuple[Any, ...], lane: int, limit_s: float | None, flags: int
    ) -> list[Any]:
        outputs: list[Any] = [None] * len(payloads)
        end_s = None if limit_s is None else time.monotonic() + limit_s
        left = iter(enumerate(payloads))

        async def worker() -> None:
            for index, payload in left:
                left_s = None if end_s is None else max(end_s - time.monotonic(), 1e-6)
                try:
                    outputs[index] = await self._to_python(route, payload, lane, left_s, flags)
                except (TandemError, TimeoutError) as error:
                    outputs[index] = error

        async with asyncio.TaskGroup() as group:
            for _ in range(min(MANY_AT_ONCE, len(payloads))):
                group.create_task(worker())
        return outputs

    def _python_sync(
        self, route: _Route, payload: Any, lane: int, timeout: float | None, flags: int
    ) -> Any:
        loop = self._loop
        if loop is None or _running_loop() is loop:
            raise WrongLoop(
                f"{route.agent}.{route.action} runs on this loop, so call_sync() here would wait "
                "for itself: await send(), or call from another thread"
            )

        async def message() -> Any:
            return await self._to_python(route, payload, lane, timeout, flags)

        return asyncio.run_coroutine_threadsafe(message(), loop).result()


def _choose(entry: Action, name: str | None, away: Mapping[str, str]) -> Implementation:
    """Take the named implementation; else c where its rung is native or it is alone; else python."""
    if name is not None:
        found = entry.implementation(name)
        if found is None and name == "c" and away.get("c"):
            found = Implementation("c", "c")  # Only its layer knows whether it is there.
        if found is not None:
            return found
        have = [i.name for i in entry.implementations]
        text = (
            f"{entry.agent}.{entry.name} has no implementation {name!r}, it has: {', '.join(have)}"
        )
        code = "no_native" if name == "c" else "bad_reference"
        raise InvalidCommandSet(
            faults=(Fault(code, "implementation", text, name, nearest(name, have)),)
        )
    native = entry.implementation("c")
    if native is not None and (native.rung == "native" or len(entry.implementations) == 1):
        return native
    return entry.implementation("python") or entry.implementations[0]


def _value_of(payload: Any, flags: int) -> Any:
    if not flags & ENCODED:
        return to_value(payload, where="payload", payload=True)
    if not isinstance(payload, bytes):
        raise NotAValue(f"payload: an encoded body is bytes, got {type(payload).__name__}")
    try:
        return decode_strict(payload)
    except CodecError as error:
        raise NotAValue(f"payload: {error}") from error


def _error_of(report: Report, route: _Route) -> Exception | None:
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
    return ActionFailed(failure.type if failure is not None else str(report.outcome), text)


def _expire(future: asyncio.Future[Any], token: CancelToken, route: _Route) -> None:
    if not future.done():
        future.set_exception(
            TimeoutError(f"{route.agent}.{route.action}: no answer within its timeout")
        )
        token.cancel("its timeout passed")


def _lane(priority: Priority | int | str) -> int:
    try:
        return Priority.parse(priority).lane
    except ValueError as error:
        names = ", ".join(level.name.lower() for level in Priority)
        text = f"priority {priority!r}, expected one of {names}"
        raise InvalidCommandSet(faults=(Fault("bad_level", "priority", text, priority),)) from error


def _impossible(timeout: float) -> InvalidCommandSet:
    text = f"timeout={timeout}, must be above 0 and at most 1e9 seconds, or None"
    return InvalidCommandSet(faults=(Fault("impossible_timeout", "timeout", text, timeout),))


def _parts(message: Any) -> tuple[str, str, Any]:
    """Take ``{"agent", "action", "payload"}`` apart."""
    keys = {"agent", "action", "payload"}
    if not isinstance(message, Mapping) or set(message) != keys:
        shown = (
            sorted(map(str, message)) if isinstance(message, Mapping) else type(message).__name__
        )
        text = f"expected a map with exactly agent, action and payload, got {shown}"
        raise InvalidCommandSet(faults=(Fault("bad_type", "message", text, message),))
    for key in ("agent", "action"):
        if not isinstance(message[key], str):
            text = f"expected str, got {type(message[key]).__name__}"
            raise InvalidCommandSet(faults=(Fault("bad_type", key, text, message[key]),))
    return message["agent"], message["action"], message["payload"]
