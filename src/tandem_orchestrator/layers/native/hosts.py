"""Keep a host process running for each plug-in or library, and restart what dies.

A host is ``agent_bridge host FILE.so``: it loads one file and connects to the bridge as an
ordinary agent. A crash costs the attempt it had; the bridge says so. This room only starts hosts
again, as the restart policy says, and ends them with the layer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.native.process import BridgeProcess, Spawn
from tandem_orchestrator.layers.native.restarts import RestartLimits, RestartPolicy
from tandem_orchestrator.layers.native.waiting import pause, settled_within

_log = logging.getLogger(__name__)

SPEAK_S = 1.0
"""Seconds after its start within which a host has announced its agents."""
STOP_GRACE_S = 1.0
"""Seconds a host gets to leave after SIGTERM before it is killed."""


@dataclass(frozen=True, slots=True)
class HostCommand:
    """How the hosts of one bridge are started."""

    bridge_path: str
    """Absolute path of ``agent_bridge``."""
    socket_path: str
    """Where the bridge listens."""
    environment: Mapping[str, str]
    """Their whole environment."""
    options: tuple[str, ...] = ()
    """Further arguments, as ``--memory-max 268435456``."""

    def argv(self, file: str, lifeline: int, more: Sequence[str] = ()) -> list[str]:
        """Make the arguments for the host of one file, with ``more`` of its own."""
        return [
            self.bridge_path, "host", file, "--socket", self.socket_path,
            "--lifeline", str(lifeline), *self.options, *more,
        ]  # fmt: skip


@dataclass(frozen=True, slots=True)
class HostedFile:
    """What one host loads."""

    named: str
    """A path, or what a descriptor is called in messages."""
    arguments: tuple[str, ...] = ()
    """Of this host alone."""
    fds: tuple[int, ...] = ()
    """Descriptors that it inherits."""


class PluginHosts:
    """Look after one host for each plug-in, from ``start`` to ``close``.

    Args:
        command: How hosts are started.
        plugins: Paths of shared objects; each one is trusted with its own host process.
        clock: For waits and for counting deaths.
        spawn: How a program is started.
        restarts: How patient to be with one that dies.
    """

    def __init__(
        self,
        command: HostCommand,
        plugins: tuple[str, ...],
        *,
        clock: Clock,
        spawn: Spawn,
        restarts: RestartLimits | None = None,
    ) -> None:
        self._command = command
        self._files = {plugin: HostedFile(plugin) for plugin in plugins}
        self._clock = clock
        self._spawn = spawn
        self._restarts = restarts or RestartLimits()
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._running: dict[str, BridgeProcess] = {}
        self._reasons: dict[str, str] = {}
        self._policies: dict[str, RestartPolicy] = {}
        self._started_ns: dict[str, int] = {}

    def start(self) -> None:
        """Start all hosts on the running loop."""
        for plugin in self._files:
            self._look_after(plugin)

    def add(self, label: str, file: HostedFile) -> None:
        """Start one more host, on the running loop; ``label`` is its name in health."""
        self._files[label] = file
        self._look_after(label)

    def end(self, label: str) -> None:
        """End one host within its grace, in the background: nobody needs it any more."""
        self._keepers.pop(label).cancel()
        self._keepers[label] = asyncio.create_task(self._bury(label), name=f"tandem-end {label}")

    def _look_after(self, label: str) -> None:
        self._keepers[label] = asyncio.create_task(self._keep(label), name=f"tandem-host {label}")

    async def _bury(self, label: str) -> None:
        process = self._running.get(label)
        if process is not None:
            process.terminate()
            if not await settled_within(process.died, STOP_GRACE_S, self._clock):
                await process.stop(0.0, self._clock)
        for known in (self._running, self._files, self._policies, self._reasons, self._keepers):
            known.pop(label, None)

    def note_steady(self, label: str) -> None:
        """Know that a host has answered: what kills it from time to time is its input."""
        if label in self._policies:
            self._policies[label].note_steady()

    def last_words(self, label: str) -> str:
        """Say why a host that is down ended; empty while it runs, or before its first end."""
        return "" if label in self._running else self._reasons.get(label, "")

    async def close(self) -> None:
        """End all hosts within their grace; may be repeated."""
        keepers, self._keepers = list(self._keepers.values()), {}
        for keeper in keepers:
            keeper.cancel()
        if keepers:
            await asyncio.wait(keepers)
        running, self._running = list(self._running.values()), {}
        for process in running:
            process.terminate()
        for process in running:
            if not await settled_within(process.died, STOP_GRACE_S, self._clock):
                await process.stop(0.0, self._clock)

    @property
    def are_restarting(self) -> bool:
        """Whether one of them is down, or came up so lately that it may not have spoken."""
        now_ns = self._clock.monotonic_ns()
        return any(
            plugin not in self._running or now_ns - self._started_ns[plugin] < SPEAK_S * 1e9
            for plugin in self._files
        )

    @property
    def given_up(self) -> bool:
        """Whether those that are down will not be started within seconds: their breakers are open."""
        down = [plugin for plugin in self._files if plugin not in self._running]
        return bool(down) and all(self._policies[plugin].breaker_open for plugin in down)

    @property
    def reason(self) -> str:
        """Why some are down, as one line; empty when all run."""
        return "; ".join(
            f"plug-in {plugin} is down after {policy.deaths_total} deaths, "
            + (
                f"the next start in up to {self._restarts.cooldown_s:g} s: "
                if policy.breaker_open
                else "restarting: "
            )
            + self._reasons.get(plugin, "")
            for plugin, policy in self._policies.items()
            if plugin not in self._running
        )

    # Any: figures and texts for people.
    def describe(self) -> dict[str, Any]:
        """Describe each host without waiting: its process, or why it last ended."""
        return {
            plugin: {
                "pid": self._running[plugin].pid if plugin in self._running else None,
                "state": "running" if plugin in self._running else "restarting",
                "deaths": self._policies[plugin].deaths_total if plugin in self._policies else 0,
                "breaker_open": plugin in self._policies and self._policies[plugin].breaker_open,
                "reason": self._reasons.get(plugin, ""),
            }
            for plugin in self._files
        }

    async def _keep(self, plugin: str) -> None:
        file = self._files[plugin]
        policy = self._policies[plugin] = RestartPolicy(self._restarts)
        while True:
            try:
                process = BridgeProcess.start(
                    lambda lifeline, _ready: self._command.argv(
                        file.named, lifeline, file.arguments
                    ),
                    more_fds=file.fds,
                    env=self._command.environment,
                    spawn=self._spawn,
                )
            except LayerUnavailable as error:
                self._reasons[plugin] = str(error)
            else:
                self._started_ns[plugin] = self._clock.monotonic_ns()
                self._running[plugin] = process
                await self._watch(process, policy)
                del self._running[plugin]
                words = process.last_words()
                self._reasons[plugin] = process.died.result() + (f": {words}" if words else "")
            _log.warning("host of %s: %s", plugin, self._reasons[plugin])
            decision = policy.note_death(self._clock.monotonic_ns() / 1e9)
            await pause(decision.delay_s, self._clock)

    async def _watch(self, process: BridgeProcess, policy: RestartPolicy) -> None:
        """Return at its death; once it was up for a while, forget earlier ones."""
        if not await settled_within(process.died, self._restarts.window_s, self._clock):
            policy.note_steady()
            await asyncio.shield(process.died)
