"""The C layer behind the layers' seam: one supervised bridge, and attempts that run in it.

The layer reports; it does not repair. Work that was lost to a dead bridge comes back as NOT_STARTED
or UNKNOWN and the engine decides. Only two waits happen here, both bounded: for a restart that is
under way, and for room when the bridge is full.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tandem_orchestrator.clock import Clock, SystemClock
from tandem_orchestrator.errors import Busy, CommandError, Forked, LayerUnavailable
from tandem_orchestrator.layers.cpus import cpu_mask
from tandem_orchestrator.layers.layer import (
    CancelToken,
    LayerHealth,
    Report,
    SegmentReport,
    SegmentWork,
    Work,
)
from tandem_orchestrator.layers.libraries import BoundTwin
from tandem_orchestrator.layers.native import reports
from tandem_orchestrator.layers.native.binary import NativeFiles, find_native_files
from tandem_orchestrator.layers.native.body import encode_body
from tandem_orchestrator.layers.native.codec import CodecError
from tandem_orchestrator.layers.native.environment import child_environment
from tandem_orchestrator.layers.native.hosts import HostCommand, PluginHosts
from tandem_orchestrator.layers.native.launch import BridgeCommand, launch_bridge
from tandem_orchestrator.layers.native.library_hosts import LibraryHosts
from tandem_orchestrator.layers.native.limits import NativeLimits
from tandem_orchestrator.layers.native.offers import Offers
from tandem_orchestrator.layers.native.process import BridgeProcess, Spawn, spawn_program
from tandem_orchestrator.layers.native.program import ProgramRefused
from tandem_orchestrator.layers.native.progress import ProgressWatch
from tandem_orchestrator.layers.native.quarantine import CRASHES_MAX, Quarantine
from tandem_orchestrator.layers.native.runtime_dir import (
    bridge_socket_path,
    make_runtime_dir,
    sweep_runtime_dir,
)
from tandem_orchestrator.layers.native.sameness import compare_in_c
from tandem_orchestrator.layers.native.segments import Segments, abandoned_rows
from tandem_orchestrator.layers.native.session import (
    SPIN_NS,
    Completion,
    Session,
    connect_client,
    may_spin,
)
from tandem_orchestrator.layers.native.stop_request import StopRequest
from tandem_orchestrator.layers.native.supervisor import BridgeSupervisor, OnEvent, Open
from tandem_orchestrator.layers.native.waiting import GrowingWait, pause
from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.model.outcomes import Outcome

if TYPE_CHECKING:
    from tandem_orchestrator._native import _ext


HOST_LOOK_S = 0.01
"""Pause between looks whether the hosts of plug-ins have spoken."""


def _ignore_event(kind: str, detail: str) -> None:
    """Nobody listens."""


class NativeLayer:
    """Run attempts in ``agent_bridge``; implements ``layers.Layer``.

    Args:
        orchestrator_id: Names the private socket and the session; [0-9a-z-].
        socket: A bridge that somebody else looks after (``c_layer.socket``): connect only.
        required: Whether ``start`` raises when the layer cannot be had.
        options: Further arguments for the bridge, as ``("--buffer-size", "16777216")``.
        spin_ns: How long whoever waits for the bridge looks before it sleeps.
        plugins: Shared objects that offer agents; each runs in a host process of its own.
        twins: Lists the functions of libraries that are implementations here.
        quarantine: Counts crashes by input; None: one in memory, for this layer's life.
        on_event: Told ``started | died | restarted | gave_up`` and one line, on the loop.
        clock, environ, spawn, files, limits: The world, passed in.
    """

    name = "c"

    def __init__(
        self,
        orchestrator_id: str,
        *,
        socket: str = "",
        required: bool = False,
        options: tuple[str, ...] = (),
        spin_ns: int = SPIN_NS,
        plugins: tuple[str, ...] = (),
        twins: Callable[[], Iterable[BoundTwin]] = tuple,
        quarantine: Quarantine | None = None,
        on_event: OnEvent = _ignore_event,
        clock: Clock | None = None,
        environ: Mapping[str, str] = os.environ,
        spawn: Spawn = spawn_program,
        files: NativeFiles | None = None,
        limits: NativeLimits | None = None,
    ) -> None:
        self._id = orchestrator_id
        self._socket = socket
        self._required = required
        self._options = options
        self.spin_ns = spin_ns if may_spin() else 0
        self._plugins = plugins
        self._hosts: PluginHosts | None = None
        self._libraries = LibraryHosts(twins, orchestrator_id, self._make_hosts)
        self._on_event = on_event
        self._clock = clock or SystemClock()
        self._environ = environ
        self._spawn = spawn
        self._files = files
        self._limits = limits or NativeLimits()
        self.quarantine = quarantine or Quarantine(
            CRASHES_MAX, None, lambda: self._clock.wall_ns() / 1e9
        )
        """Inputs that keep crashing their hosts."""
        self._progress = ProgressWatch(self._clock)
        self._supervisor: BridgeSupervisor | None = None
        self._segments: Segments | None = None
        self._offers = Offers(self._clock, lambda: self._hosts)
        self._away = "not started"
        self._socket_path = socket
        self._pid = os.getpid()

    @property
    def away(self) -> str:
        """Why the layer is not there, as one clear line; empty when it is."""
        return self._away if self._supervisor is None else self._supervisor.away

    @property
    def socket_path(self) -> str:
        """Where the bridge listens, as a file name; empty before ``start``."""
        return self._socket_path

    @property
    def session(self) -> Session | None:
        """The open session, for messages; None while there is none."""
        return None if self._supervisor is None else self._supervisor.session

    @property
    def segments(self) -> Segments | None:
        """What runs segments over the open session; None while there is none."""
        session = self.session
        if session is None:
            return None
        if self._segments is None or self._segments.session is not session:
            self._segments = Segments(session)
        return self._segments

    async def start(self) -> None:
        """Start the bridge, or connect to the one that was named; once is enough.

        Raises: LayerUnavailable, only where the layer is required.
        """
        if self._supervisor is not None:
            return
        try:
            open_bridge = self._way_to_a_bridge()
        except LayerUnavailable as error:
            self._away = str(error)
        else:
            compare_in_c()
            supervisor = BridgeSupervisor(
                open_bridge,
                clock=self._clock,
                on_event=self._on_event,
                limits=self._limits.supervisor,
            )
            await supervisor.start()
            self._supervisor = supervisor
            self._start_hosts()
            await self._until_hosts_have_spoken()
        if self._required and self.away:
            reason = self.away
            await self.close()
            raise LayerUnavailable(f"C layer: {reason}")

    async def close(self) -> None:
        """End the session and the bridge within its grace; may be repeated."""
        self._refuse_in_child()
        supervisor, self._supervisor = self._supervisor, None
        self._away = self._away if supervisor is None else "closed"
        self._progress.close()
        hosts, self._hosts = self._hosts, None
        if hosts is not None:
            await hosts.close()
        await self._libraries.close()
        if supervisor is not None:
            await supervisor.close()

    def actions(self) -> tuple[Action, ...]:
        """List what the bridge offers; during a restart, of it or of a host, what it did before."""
        return self._offers.entries({} if self._supervisor is None else self._supervisor.offered)

    async def run(self, work: Work, cancel: CancelToken) -> Report:
        """Run one attempt to its end and report what the C layer said.

        Raises: Forked, in a child of the process that started the layer.
        """
        self._refuse_in_child()
        try:
            body = encode_body(work.payload)
            inputs = encode_body(dict(work.inputs)) if work.inputs else None
        except CodecError as error:
            return reports.refused(work, "NotAValue", error)
        waited = GrowingWait(self._clock, self._limits.busy_wait_s, self._limits.busy_pause_s)
        while True:
            if cancel.requested:
                return reports.cancelled_before(work, cancel.reason)
            version = self._version_of(work)
            refusal = self.quarantine.refusal(work, version)
            if refusal is not None:
                return refusal
            try:
                report = await self._attempt(work, cancel, body, inputs)
            except Busy as error:
                report = reports.not_started(work, error)
            except LayerUnavailable as error:
                return reports.never_sent(work, cancel, error)
            except CommandError as error:
                return reports.refused(work, "TooLarge", error)
            lost = reports.is_gone(report) or self._never_started(work, report)
            wait = reports.is_full(report) or (lost and self._comes_back(work))
            if not wait or not await waited.again():
                report = self._libraries.taken_in(work, report)
                if cancel.reason != "cancelled":  # else it was killed for that, not by its input
                    self.quarantine.note(work, version, report)
                return report

    def hosts(self, agent: str, action: str, implementation: str) -> bool:
        """Whether an implementation is a function of a library, which needs a host of its own."""
        return self._libraries.find(agent, action, implementation) is not None

    def library_of(self, agent: str, action: str, implementation: str) -> str:
        """Give the digest of the library that an implementation lies in; empty if in none."""
        bound = self._libraries.find(agent, action, implementation)
        return "" if bound is None else bound.twin.library.sha256

    def _version_of(self, work: Work) -> str:
        bound = self._libraries.find(work.agent, work.action, work.implementation)
        if bound is not None:
            return f"{bound.version}@{bound.twin.library.sha256[:16]}"
        self.actions()
        return self._offers.version((work.agent, work.action)) or ""

    def _never_started(self, work: Work, report: Report) -> bool:
        """Whether a library's host died before it took the work: another's input killed it."""
        hosted = self.hosts(work.agent, work.action, work.implementation)
        return hosted and report.outcome is Outcome.NOT_STARTED

    def _comes_back(self, work: Work) -> bool:
        """Whether a host that is being started may offer the action soon."""
        bound = self._libraries.find(work.agent, work.action, work.implementation)
        if bound is not None:
            return self._libraries.comes(bound)
        if self._hosts is None or self._offers.version((work.agent, work.action)) is None:
            return False
        return not self._hosts.given_up

    def missing(self) -> str:
        """Say why an action that was planned for is not offered at this moment, for people."""
        return "" if self._hosts is None else self._hosts.reason

    async def run_segment(self, work: SegmentWork, cancel: CancelToken) -> SegmentReport:
        """Run a segment in one crossing and report what the C layer said of each step.

        Raises: Forked, in a child of the process that started the layer.
        """
        self._refuse_in_child()
        if self.quarantine.watches(work.steps):
            return SegmentReport.refusing(work, "one of its actions has crashed a host")
        waited = GrowingWait(self._clock, self._limits.busy_wait_s, self._limits.busy_pause_s)
        while not cancel.requested:
            try:
                return await self._run_segment(work, cancel)
            except Busy as error:
                if not await waited.again():
                    return SegmentReport.refusing(work, str(error))
            except (CommandError, CodecError, ProgramRefused, LayerUnavailable) as error:
                return SegmentReport.refusing(work, str(error))
        return SegmentReport.not_started(work)

    async def _run_segment(self, work: SegmentWork, cancel: CancelToken) -> SegmentReport:
        session = await self._session(0, cancel)
        segments = self.segments
        if segments is None or segments.session is not session:
            raise LayerUnavailable("C layer: the session has just ended")
        stops: list[StopRequest] = []
        calls: list[int] = []

        def on_call(call_id: int, future: asyncio.Future[Completion]) -> None:
            calls.append(call_id)
            session.works[call_id] = work
            stop = self.stop_of(session, call_id, future)
            stops.append(stop)
            cancel.on_cancel(stop.ask)

        try:
            rows = await segments.run(work, on_call)
        finally:
            for stop in stops:
                stop.done()
            for call_id in calls:
                session.works.pop(call_id, None)
        self.quarantine.watch(work.steps, rows)
        if any(stop.abandoned for stop in stops):
            return SegmentReport(abandoned_rows(rows), stopped=False)
        return SegmentReport(rows)

    def stop_of(self, at: Session, call_id: int, future: asyncio.Future[Completion]) -> StopRequest:
        """Make what asks a call to stop, and gives it up after the grace."""
        return StopRequest(at, call_id, future, self._limits.cancel_grace_s, self._clock)

    # Any: numbers, and a list of them.
    def counters(self) -> dict[str, Any]:
        """Read the bridge's counters, without a round trip; empty while there is no session."""
        return {} if self.session is None else self.session.bridge_stats()

    def health(self) -> LayerHealth:
        """Describe the layer without waiting; healthy means that a session is open."""
        supervisor = self._supervisor
        details = {} if supervisor is None else supervisor.describe()
        details["socket"] = self._socket_path
        details["quarantined"] = held = [
            {"digest": one.digest, "agent": one.agent, "action": one.action,
             "crashes": one.crashes, "last_words": one.last_words}
            for one in self.quarantine.held()
        ]  # fmt: skip
        if supervisor is None:
            return LayerHealth(self.name, False, self._away, details)
        reasons = [supervisor.reason] if supervisor.reason else []
        details["libraries"] = libraries = self._libraries.describe()
        reasons += [f"library {name}: {one['reason']}" for name, one in libraries.items()
                    if one["reason"] and one["pid"] is None]  # fmt: skip
        if self._hosts is not None:
            details["plugins"] = hosts = self._hosts.describe()
            reasons += [
                f"plug-in {path}: {host['reason']}"
                for path, host in hosts.items()
                if host["reason"] and host["pid"] is None
            ]
        if held:
            reasons.append(
                f"{len(held)} inputs are quarantined: `tandem agent quarantined` lists them"
            )
        is_open = supervisor.session is not None
        return LayerHealth(self.name, is_open, "; ".join(reasons), details)

    async def _attempt(
        self, work: Work, cancel: CancelToken, body: bytes, inputs: bytes | None
    ) -> Report:
        session = await self._session(work.deadline_ns, cancel)
        bound = self._libraries.find(work.agent, work.action, work.implementation)
        key = (work.agent, work.action) if bound is None else self._libraries.key_of(bound)
        offered = session.actions.get(key)
        if offered is None:
            return self._gone(work)
        if bound is not None:
            self._libraries.has_spoken(bound)
        try:
            call_id, future = session.call(
                offered.action_id,
                body,
                inputs=inputs,
                attempt=min(work.attempt, 0xFFFF),
                lane=work.lane,
                cpus=cpu_mask(work.cpus),
                deadline_ns=work.deadline_ns,
                idempotency_key=work.idempotency_key.encode() or None,
            )
        except LayerUnavailable:
            # The session has just ended; the next attempt waits for the restart, as any other.
            return reports.report_of(work, Completion(reports.NOT_STARTED, 0, 0, b""))
        stop = self.stop_of(session, call_id, future)
        cancel.on_cancel(stop.ask)
        self._progress.add(session, call_id, work.on_progress)
        session.works[call_id] = work
        try:
            report = reports.report_of(work, await future)
            # Gone: the bridge took the action away before this session heard of it.
            return self._gone(work) if reports.is_gone(report) else report
        except asyncio.CancelledError:
            session.cancel(call_id)
            raise
        finally:
            stop.done()
            session.works.pop(call_id, None)
            self._progress.remove(session, call_id)

    def _gone(self, work: Work) -> Report:
        bound = self._libraries.find(work.agent, work.action, work.implementation)
        why = self.missing() if bound is None else self._libraries.missing(bound)
        return reports.gone(work, why)

    async def _session(self, deadline_ns: int, cancel: CancelToken) -> Session:
        supervisor = self._supervisor
        if supervisor is None:
            raise LayerUnavailable(f"C layer: {self._away}")
        if supervisor.session is not None:
            return supervisor.session
        limit_s = self._limits.restart_wait_s
        if deadline_ns:
            limit_s = min(limit_s, (deadline_ns - self._clock.monotonic_ns()) / 1e9)
        return await supervisor.session_within(limit_s, cancel)

    async def _until_hosts_have_spoken(self) -> None:
        """Wait, within the connect timeout, until each host has announced an agent or failed.

        A run that is submitted right after the start would not find their agents otherwise.
        """
        if self._hosts is None:
            return
        before = {action.agent for action in self.actions()}
        give_up_ns = self._clock.monotonic_ns() + int(self._limits.connect_timeout_s * 1e9)
        while self._clock.monotonic_ns() < give_up_ns:
            failed = sum(1 for host in self._hosts.describe().values() if host["reason"])
            spoken = len({action.agent for action in self.actions()} - before)
            if spoken + failed >= len(self._plugins):
                return
            await pause(HOST_LOOK_S, self._clock)

    def _start_hosts(self) -> None:
        """Start a host for each plug-in; they wait for the bridge by being restarted."""
        if self._plugins and (self._files or find_native_files()).usable:
            self._hosts = self._make_hosts(self._plugins)
            self._hosts.start()

    def _make_hosts(self, plugins: tuple[str, ...] = ()) -> PluginHosts:
        """Make what looks after hosts.

        Raises: LayerUnavailable where there are no native files.
        """
        files = self._files or find_native_files()
        if not files.usable:
            raise LayerUnavailable(files.reason)
        command = HostCommand(
            files.bridge_path,
            self._socket_path,
            child_environment(self._environ),
            (
                "--grace-ms", str(self._limits.host_grace_ms),
                "--memory-max", str(self._limits.host_memory_bytes),
            ),
        )  # fmt: skip
        return PluginHosts(
            command,
            plugins,
            clock=self._clock,
            spawn=self._spawn,
            restarts=self._limits.supervisor.restarts,
        )

    def _way_to_a_bridge(self) -> Open:
        """Decide, once, how to get a session: over a named socket, or by a bridge of our own."""
        files = self._files or find_native_files()
        if not files.usable:
            raise LayerUnavailable(files.reason)
        name = f"orchestrator-{self._id}"
        timeout_s = self._limits.connect_timeout_s
        if self._socket:

            async def connect() -> tuple[None, _ext.Client]:
                return None, await connect_client(
                    self._socket, name, timeout_s=timeout_s, spin_ns=self.spin_ns
                )

            return connect

        runtime_dir = make_runtime_dir(self._environ)
        sweep_runtime_dir(runtime_dir, now_s=self._clock.wall_ns() / 1e9)
        path = bridge_socket_path(runtime_dir, self._id)
        self._socket_path = str(path)
        command = BridgeCommand(
            bridge_path=files.bridge_path,
            socket_path=str(path),
            environment=child_environment(self._environ),
            options=self._options,
            spin_ns=self.spin_ns,
        )

        async def launch() -> tuple[BridgeProcess, _ext.Client]:
            return await launch_bridge(
                command, name=name, spawn=self._spawn, clock=self._clock, timeout_s=timeout_s
            )

        return launch

    def _refuse_in_child(self) -> None:
        if os.getpid() != self._pid:
            raise Forked("the C layer belongs to the parent process; make a new orchestrator")
