"""From a program file to a session: start a bridge and connect as soon as it listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.native.process import BridgeProcess, Spawn
from tandem_orchestrator.layers.native.session import connect_client
from tandem_orchestrator.layers.native.waiting import settled_within

if TYPE_CHECKING:
    from tandem_orchestrator._native import _ext

FIRST_LOOK_S = 0.002
"""Seconds between a start and the first try to connect; doubled up to ``LOOK_MAX_S``."""
LOOK_MAX_S = 0.02
FAILED_START_GRACE_S = 0.2
"""Seconds a bridge that never answered gets to leave before it is killed."""


@dataclass(frozen=True, slots=True)
class BridgeCommand:
    """How one bridge is started."""

    bridge_path: str
    """Absolute path of ``agent_bridge``."""
    socket_path: str
    """Where it listens; nobody else uses this name."""
    environment: Mapping[str, str]
    """Its whole environment."""
    options: tuple[str, ...] = ()
    """Further arguments, as ``--buffer-size 16777216``."""

    def argv(self, lifeline_fd: int) -> list[str]:
        """Make the arguments for a bridge that inherits ``lifeline_fd``."""
        return [
            self.bridge_path,
            "--socket",
            self.socket_path,
            "--spawned-by-fd",
            str(lifeline_fd),
            *self.options,
        ]

    def remove_leftovers(self) -> None:
        """Remove the socket of a bridge of ours that was killed; only once it is dead."""
        Path(self.socket_path).unlink(missing_ok=True)

    def is_listening(self) -> bool:
        """Whether the socket's name is there."""
        return Path(self.socket_path).exists()


async def launch_bridge(
    command: BridgeCommand, *, name: str, spawn: Spawn, clock: Clock, timeout_s: float
) -> tuple[BridgeProcess, _ext.Client]:
    """Start a bridge and open the first session with it.

    Raises: LayerUnavailable with the bridge's last words; nothing is left running then.
    """
    process = BridgeProcess.start(command.argv, env=command.environment, spawn=spawn)
    process.died.add_done_callback(lambda _: command.remove_leftovers())
    try:
        client = await _connect_when_listening(command, process, name, clock, timeout_s)
    except BaseException:
        await process.stop(FAILED_START_GRACE_S, clock)
        raise
    return process, client


async def _connect_when_listening(
    command: BridgeCommand, process: BridgeProcess, name: str, clock: Clock, timeout_s: float
) -> _ext.Client:
    deadline_ns = clock.monotonic_ns() + int(timeout_s * 1e9)
    look_s = FIRST_LOOK_S
    while True:
        if await settled_within(process.died, look_s, clock):
            words = process.last_words()
            raise LayerUnavailable(
                f"{command.bridge_path}: {process.died.result()}" + (f": {words}" if words else "")
            )
        left_s = (deadline_ns - clock.monotonic_ns()) / 1e9
        if left_s <= 0:
            raise LayerUnavailable(
                f"{command.bridge_path}: no socket {command.socket_path} after {timeout_s:g} s"
            )
        if command.is_listening():
            return await connect_client(command.socket_path, name, timeout_s=left_s)
        look_s = min(look_s * 2, LOOK_MAX_S)
