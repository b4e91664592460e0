"""Messages: an action called by name, without a run. No journal, retry, hook or recovery.

The way is found once per (agent, action, implementation) and kept until a registration, or the
end of the session, makes it stale; after that a message costs one look-up and one call into C.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tandem_orchestrator.engine import Gates
from tandem_orchestrator.errors import (
    Fault,
    InvalidCommandSet,
    LayerUnavailable,
    NotAValue,
    NotInitialized,
    WrongLoop,
)
from tandem_orchestrator.layers.native import (
    CodecError,
    NativeLayer,
    Session,
    SyncPool,
    decode_strict,
)
from tandem_orchestrator.layers.python import PythonLayer, Registry
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.orchestrator.message_routes import Route, Routes
from tandem_orchestrator.orchestrator.python_messages import (
    ENCODED,
    RAW,
    PythonMessages,
    failed_future,
)

LANE = Priority.MEDIUM.lane
"""Of a message without a priority."""
TIMEOUT_S_MAX = 1e9
"""31 years; beyond it nanoseconds would overflow."""

Way = Callable[[Any, float | None], "asyncio.Future[Any] | None"]
"""``way(payload, timeout_s)``: one message in one call into C; None where ``send`` must say why not."""

_running_loop = asyncio._get_running_loop  # None, and no exception, where there is none


class Messages:
    """``send``, ``send_many`` and ``call_sync`` of one orchestrator.

    Args:
        usable: Raises NotInitialized, Closed or Forked.
        catalogue: Gives what can be asked for.
        registry: Tells when what was found is stale.
        layers: Gives the two layers, once there are any.
        gates: Gives where attempts wait for limits, once there is such a place.

    Attributes:
        ways: The short ways by (agent, action), for messages that say nothing else. Emptied
            whenever one of them might be stale.
    """

    def __init__(
        self,
        usable: Callable[[], object],
        catalogue: Callable[[], Catalogue],
        registry: Registry,
        layers: Callable[[], tuple[PythonLayer | None, NativeLayer | None]],
        gates: Callable[[], Gates],
    ) -> None:
        self._usable, self._layers = usable, layers
        self._routes = Routes(catalogue, lambda: layers()[1], self._keep_session)
        self._python = PythonMessages(lambda: layers()[0], gates)
        self._hosted = PythonMessages(lambda: layers()[1], gates)
        self.ways: dict[tuple[str, str], Way] = {}
        registry.on_change = self.forget_ways
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pool: SyncPool | None = None
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
        route = self._routes.known((agent, action, implementation))
        if route is None or _running_loop() is not self._loop:
            route = self._checked_route(agent, action, implementation)
        if timeout is not None and not 0 < timeout <= TIMEOUT_S_MAX:
            raise _impossible(timeout)
        lane = LANE if priority is None else _lane(priority)
        if route.session is not None:
            try:
                if implementation is None and (agent, action) not in self.ways:
                    self.ways[agent, action] = route.session.way(route.action_id, LANE)
                return route.session.send(
                    route.action_id, payload, lane, timeout, ENCODED | RAW if encoded else 0
                )
            except LayerUnavailable as error:
                self.forget_ways()
                return failed_future(error)
        if route.native and not route.hosted:
            return failed_future(self._routes.away(route))
        return self._attempts(route).send(
            route, payload, lane, timeout, ENCODED | RAW if encoded else 0
        )

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
                self.forget_ways()
                return failed_future(error)
        if route.native and not route.hosted:
            return failed_future(self._routes.away(route))
        many = self._attempts(route).send_many(route, tuple(payloads), lane, timeout, flags)
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
        route = self._routes.known((agent, action, implementation))
        if route is None or self._loop is None:
            self._usable()
            route = self._routes.find(agent, action, implementation)
        if timeout is not None and not 0 < timeout <= TIMEOUT_S_MAX:
            raise _impossible(timeout)
        lane = LANE if priority is None else _lane(priority)
        if flags is None:
            flags = ENCODED | RAW if encoded else 0
        if route.native and (not route.hosted or (route.watched and _running_loop() is self._loop)):
            return self._sync_pool().ask(agent, action, payload, lane, timeout, flags)
        return self._attempt_sync(route, payload, lane, timeout, flags)

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
        self.forget_ways()
        self._loop = None
        if self._pool is not None:
            self._pool.close()
        self._python.close()
        self._hosted.close()

    # Any: SPEC's table of numbers.
    def add_to(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Add messages to the counters that runs have made, and the bridge's own."""
        native = dict(self._past)
        for counts in [session.message_stats() for session in self._sessions] + (
            [] if self._pool is None else [self._pool.stats()]
        ):
            for key in native:
                native[key] += counts.get(key, 0)
        for layer, total, seconds in (
            ("python", self._python.total, self._python.seconds),
            (
                "c",
                native["settled"] + self._hosted.total,
                native["elapsed_ns"] / 1e9 + self._hosted.seconds,
            ),
        ):
            before = metrics[f"{layer}_msgs_processed"]
            spent = metrics[f"avg_{layer}_latency"] * before + seconds
            metrics[f"{layer}_msgs_processed"] = before + total
            metrics[f"avg_{layer}_latency"] = spent / (before + total) if before + total else 0.0
        bridge = self._layers()[1]
        metrics["c_layer"] = {} if bridge is None else bridge.counters()
        return metrics

    def forget_ways(self) -> None:
        """Have the next messages look anew where they go: an agent or a layer came or went."""
        self.ways.clear()
        self._routes.forget()

    def _attempts(self, route: Route) -> PythonMessages:
        return self._hosted if route.hosted else self._python

    # --- the way -------------------------------------------------------------------------------------

    def _checked_route(self, agent: str, action: str, implementation: str | None) -> Route:
        self._usable()
        if self._loop is None:
            raise NotInitialized("await initialize() first, or use 'async with'")
        if _running_loop() is not self._loop:
            raise WrongLoop(
                "send() is called on the event loop that initialised the orchestrator; "
                "call_sync() works in other threads"
            )
        return self._routes.find(agent, action, implementation)

    def _keep_session(self, session: Session) -> None:
        """Remember whose counters to read; those of ended sessions are added up."""
        if self._sessions and self._sessions[-1] is session:
            return
        for ended in self._sessions:
            for key in self._past:
                self._past[key] += ended.message_stats().get(key, 0)
        self._sessions = [session]
        session.on_change = self.forget_ways
        layer = self._layers()[1]
        if layer is not None:
            session.missing, session.crashed = layer.missing, self._watch

    def _watch(self, agent: str, action: str) -> None:
        """Have the next messages for an action counted by their input; may come on any thread."""
        layer = self._layers()[1]
        if layer is not None:
            layer.quarantine.watch_action(agent, action)
        self.forget_ways()

    def _sync_pool(self) -> SyncPool:
        layer = self._layers()[1]
        if layer is None:
            raise LayerUnavailable("C layer: switched off (c_layer.enabled)")
        if self._pool is None:
            self._pool = SyncPool(
                lambda: layer.socket_path,
                "call-sync",
                lambda: layer.session,
                layer.spin_ns,
                self._watch,
            )
        return self._pool

    def _attempt_sync(
        self, route: Route, payload: Any, lane: int, timeout: float | None, flags: int
    ) -> Any:
        loop = self._loop
        if loop is None or _running_loop() is loop:
            raise WrongLoop(
                f"{route.agent}.{route.action} runs on this loop, so call_sync() here would wait "
                "for itself: await send(), or call from another thread"
            )

        async def message() -> Any:
            return await self._attempts(route).send(route, payload, lane, timeout, flags)

        return asyncio.run_coroutine_threadsafe(message(), loop).result()


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
