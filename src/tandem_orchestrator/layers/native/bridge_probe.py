"""Is the C layer there? One ``system.noop`` round trip on a session of its own; never raises.

Works with and without an orchestrator, inside a running loop and outside of one: the probe has a
short-lived thread with a loop of its own, so the caller only waits, and at most for its timeout.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from tandem_orchestrator.clock import Clock, SystemClock
from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.ids import Ids
from tandem_orchestrator.layers.native import reports
from tandem_orchestrator.layers.native.binary import NativeFiles, find_native_files
from tandem_orchestrator.layers.native.body import encode_body
from tandem_orchestrator.layers.native.environment import child_environment
from tandem_orchestrator.layers.native.launch import BridgeCommand, launch_bridge
from tandem_orchestrator.layers.native.process import Spawn, spawn_program
from tandem_orchestrator.layers.native.runtime_dir import bridge_socket_path, make_runtime_dir
from tandem_orchestrator.layers.native.session import Session, connect_client

STOP_GRACE_S = 0.5
"""Seconds the probe's own bridge gets to leave before it is killed."""


@dataclass(frozen=True, slots=True)
class BridgeProbe:
    """What a probe found; true when a round trip succeeded."""

    ok: bool
    reason: str = ""
    """Why not, as one line; empty when it succeeded."""
    round_trip_s: float = 0.0
    """Seconds of the round trip alone."""
    started_s: float = 0.0
    """Seconds until the session was open, a start of the bridge included."""
    bridge_pid: int = 0
    """For people; 0 when none answered."""
    started: bool = False
    """Whether the probe had to start a bridge of its own."""

    def __bool__(self) -> bool:
        return self.ok


def probe_bridge(
    timeout: float = 1.0,
    *,
    socket: str = "",
    environ: Mapping[str, str] = os.environ,
    files: NativeFiles | None = None,
    spawn: Spawn = spawn_program,
    clock: Clock | None = None,
) -> BridgeProbe:
    """Make one round trip through a bridge; blocks, never raises.

    Args:
        timeout: Seconds until the answer; above 0. Stopping the probe's own bridge may go on.
        socket: A running bridge; without one the probe starts its own and ends it again.
        environ, files, spawn, clock: The world, passed in.
    """
    if not timeout > 0:
        return BridgeProbe(False, f"timeout={timeout}: must be above 0")
    found = files or find_native_files()
    if not found.usable:
        return BridgeProbe(False, found.reason)
    probe = _Probe(timeout, socket, environ, found, spawn, clock or SystemClock())
    thread = threading.Thread(target=probe.run, name="tandem-bridge-probe", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        return BridgeProbe(False, f"no thread for the probe: {error}")
    thread.join(timeout)
    return probe.answer


class _Probe:
    """One probe, on the loop of its thread."""

    def __init__(
        self,
        timeout_s: float,
        socket: str,
        environ: Mapping[str, str],
        files: NativeFiles,
        spawn: Spawn,
        clock: Clock,
    ) -> None:
        self._timeout_s = timeout_s
        self._socket = socket
        self._environ = environ
        self._files = files
        self._spawn = spawn
        self._clock = clock
        self.answer = BridgeProbe(False, f"no answer within {timeout_s:g} s")

    def run(self) -> None:
        """Fill ``answer``; the thread's whole life."""
        try:
            asyncio.run(self._probe())
        except LayerUnavailable as error:
            self.answer = BridgeProbe(False, str(error))
        except Exception as error:  # noqa: BLE001  # a probe answers, it never raises (API.md)
            self.answer = BridgeProbe(False, f"{type(error).__name__}: {error}")

    async def _probe(self) -> None:
        name = f"probe-{Ids().make()}"
        if self._socket:
            begun_ns = self._clock.monotonic_ns()
            client = await connect_client(self._socket, name, timeout_s=self._timeout_s)
            await self._round_trip(Session(client), begun_ns, started=False)
            return
        path = bridge_socket_path(make_runtime_dir(self._environ), name)
        command = BridgeCommand(
            self._files.bridge_path, str(path), child_environment(self._environ)
        )
        begun_ns = self._clock.monotonic_ns()
        process, client = await launch_bridge(
            command, name=name, spawn=self._spawn, clock=self._clock, timeout_s=self._timeout_s
        )
        try:
            await self._round_trip(Session(client), begun_ns, started=True)
        finally:
            await process.stop(STOP_GRACE_S, self._clock)

    async def _round_trip(self, session: Session, begun_ns: int, *, started: bool) -> None:
        sent_ns = self._clock.monotonic_ns()
        try:
            noop = session.actions.get(("system", "noop"))
            if noop is None:
                raise LayerUnavailable("the bridge has no action system.noop")
            deadline_ns = begun_ns + int(self._timeout_s * 1e9)
            _, future = session.call(noop.action_id, encode_body({}), deadline_ns=deadline_ns)
            completion = await asyncio.wait_for(future, self._timeout_s)
            if completion.status != reports.OK:
                status = reports.STATUS_NAMES[completion.status]
                raise LayerUnavailable(f"system.noop ended with {status}")
            self.answer = BridgeProbe(
                True,
                round_trip_s=(self._clock.monotonic_ns() - sent_ns) / 1e9,
                started_s=(sent_ns - begun_ns) / 1e9,
                bridge_pid=session.bridge_pid,
                started=started,
            )
        finally:
            session.close()
