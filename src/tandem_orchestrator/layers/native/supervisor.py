"""Keep one bridge running and one session with it open, and say what happens to them.

The loop is: open, wait for the end, report, wait as the restart policy says, open again. With a
bridge that somebody else started there is no process to look after; the loop then only connects
again. Calls in flight at a death are answered by the session; giving them out again is decided
elsewhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.layer import CancelToken
from tandem_orchestrator.layers.native.process import BridgeProcess
from tandem_orchestrator.layers.native.restarts import RestartLimits, RestartPolicy
from tandem_orchestrator.layers.native.session import NativeAction, Session
from tandem_orchestrator.layers.native.waiting import pause, settled_within

if TYPE_CHECKING:
    from tandem_orchestrator._native import _ext

_log = logging.getLogger(__name__)

OnEvent = Callable[[str, str], None]
"""Called with ``started | died | restarted | gave_up`` and one line of detail, on the loop."""

Open = Callable[[], Awaitable[tuple["BridgeProcess | None", "_ext.Client"]]]
"""Start (or only find) a bridge and connect. Raises LayerUnavailable."""


@dataclass(frozen=True, slots=True)
class SupervisorLimits:
    """How long the supervisor waits for what."""

    stop_grace_s: float = 1.0
    """Seconds a bridge gets to leave by itself before it is killed."""
    restarts: RestartLimits = field(default_factory=RestartLimits)


class BridgeSupervisor:
    """Look after one bridge, from ``start`` to ``close``.

    Args:
        open_bridge: Starts a bridge and connects; called again after every death.
        clock: For waits and for counting deaths.
        on_event: Told of every start, death and restart, so that they can be journaled.
        limits: How long to wait for what.

    Attributes:
        reason: Why there is no session; empty while there is one.
    """

    def __init__(
        self,
        open_bridge: Open,
        *,
        clock: Clock,
        on_event: OnEvent,
        limits: SupervisorLimits | None = None,
    ) -> None:
        self._open_bridge = open_bridge
        self._clock = clock
        self._on_event = on_event
        self._limits = limits or SupervisorLimits()
        self._policy = RestartPolicy(self._limits.restarts)
        self._process: BridgeProcess | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._starts_total = 0
        self._session: Session | None = None
        self._offered: Mapping[tuple[str, str], NativeAction] = {}
        self.reason = "not started"

    @property
    def session(self) -> Session | None:
        """The open session; None during an outage, from the very moment a session ends."""
        session = self._session
        return None if session is None or session.ended.done() else session

    @property
    def away(self) -> str:
        """Why no session can be had soon; empty while one is open or about to be opened again."""
        soon = self._starts_total > 0 and not self._policy.breaker_open and self._keeper is not None
        return "" if self.session is not None or soon else self.reason

    @property
    def offered(self) -> Mapping[tuple[str, str], NativeAction]:
        """The actions of the open session, or of the last one; another mapping at each change."""
        if self._session is not None:
            self._offered = self._session.actions
        return self._offered

    async def start(self) -> None:
        """Open the first session; a failure is kept in ``away`` and tried again later."""
        try:
            await self._open()
        except LayerUnavailable as error:
            self.reason = str(error)
        self._keeper = asyncio.create_task(self._keep(), name="tandem-bridge-supervisor")

    async def session_within(self, limit_s: float, cancel: CancelToken) -> Session:
        """Give the open session, waiting through a restart for at most ``limit_s`` seconds.

        Raises: LayerUnavailable when there is none by then, or will not be, or at the cancel.
        """
        if self.session is None:
            cancel.on_cancel(self._wake)
        deadline_ns = self._clock.monotonic_ns() + int(limit_s * 1e9)
        while (session := self.session) is None:
            left_s = (deadline_ns - self._clock.monotonic_ns()) / 1e9
            if self.away or left_s <= 0 or cancel.requested:
                raise LayerUnavailable(f"C layer: {self.reason}")
            await settled_within(self._changed, left_s, self._clock)
        return session

    async def close(self) -> None:
        """End session and process, within the grace; leaves nothing behind. May be repeated."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.wait([keeper])
        await self._let_go("closed")

    # Any: figures and texts for people.
    def describe(self) -> dict[str, Any]:
        """Describe process, session and restarts without waiting."""
        session = self.session
        return {
            "pid": None if session is None else session.bridge_pid,
            "supervised": self._process is not None,
            "starts": self._starts_total,
            "deaths": self._policy.deaths_total,
            "breaker_open": self._policy.breaker_open,
            "in_flight": 0 if session is None else session.in_flight,
            "session": {} if session is None else session.stats(),
            "refused": [] if session is None else session.notes,
            "bridge": {} if session is None else session.bridge_stats(),
        }

    async def _open(self) -> None:
        self._process, client = await self._open_bridge()
        try:
            self._session = session = Session(client)
        except LayerUnavailable as error:
            await self._let_go(str(error))
            raise
        self._offered = session.actions
        self.reason = ""
        self._starts_total += 1
        again = "restarted" if self._starts_total > 1 else "started"
        self._tell(again, f"bridge {session.bridge_pid}")

    async def _keep(self) -> None:
        try:
            await self._keep_open()
        except Exception as error:  # noqa: BLE001
            # Our bug. Nothing may wait for a restart that will not come, so it becomes the reason.
            _log.exception("bridge supervisor failed")
            self._keeper = None
            await self._let_go(f"supervisor failed: {error!r}")
            self._tell("gave_up", self.reason)

    async def _keep_open(self) -> None:
        while True:
            if self._session is not None:
                await self._watch(self._session)
                await self._let_go(await self._reason_of_death())
                self._tell("died", self.reason)
            decision = self._policy.note_death(self._clock.monotonic_ns() / 1e9)
            if decision.breaker_open:
                self._tell("gave_up", f"{self.reason}; next try in {decision.delay_s:g} s")
            await pause(decision.delay_s, self._clock)
            try:
                await self._open()
            except LayerUnavailable as error:
                self.reason = str(error)
                _log.warning("bridge: %s", self.reason)

    async def _watch(self, session: Session) -> None:
        """Return at the session's end; once it was up for a while, forget earlier deaths."""
        if not await settled_within(session.ended, self._limits.restarts.window_s, self._clock):
            self._policy.note_steady()
            await session.ended

    async def _reason_of_death(self) -> str:
        session, process = self._session, self._process
        why = session.ended.result() if session is not None else self.reason
        if process is None:
            return why
        # EOF on the socket comes a moment before the process can be reaped.
        if await settled_within(process.died, self._limits.stop_grace_s, self._clock):
            words = process.last_words()
            return f"bridge {process.pid}: {process.died.result()}" + (
                f": {words}" if words else ""
            )
        return f"bridge {process.pid}: {why}, and it does not leave"

    async def _let_go(self, reason: str) -> None:
        self.reason = reason
        session, self._session = self._session, None
        if session is not None:
            session.close()
        if self._process is not None:
            # Forgotten only afterwards: close() may cancel this wait, and then stops it itself.
            await self._process.stop(self._limits.stop_grace_s, self._clock)
            self._process = None

    def _wake(self) -> None:
        """Let whoever waits for a session look again."""
        changed, self._changed = self._changed, asyncio.get_running_loop().create_future()
        if not changed.done():
            changed.set_result(None)

    def _tell(self, kind: str, detail: str) -> None:
        self._wake()
        _log.info("bridge %s: %s", kind, detail)
        try:
            self._on_event(kind, detail)
        except Exception:  # noqa: BLE001
            # A listener's bug must not end the supervision.
            _log.exception("listener of bridge events failed")
