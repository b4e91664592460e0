"""From a program file to a session: start a bridge and connect as soon as it listens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import LayerUnavailable
from tandem_orchestrator.layers.native.process import BridgeProcess, Spawn
from tandem_orchestrator.layers.native.runtime_dir import clear_bridge_dir
from tandem_orchestrator.layers.native.session import SPIN_NS, connect_client
from tandem_orchestrator.layers.native.waiting import settled_within

if TYPE_CHECKING:
    from tandem_orchestrator._native import _ext

FAILED_START_GRACE_S = 0.2
"""Seconds a bridge that never answered gets to leave before it is killed."""


@dataclass(frozen=True, slots=True)
class BridgeCommand:
    """How one bridge is started."""

    bridge_path: str
    """Absolute path of ``agent_bridge``."""
    socket_path: str
    """Where it listens, alone in its directory: one bridge holds a directory."""
    environment: Mapping[str, str]
    """Its whole environment."""
    options: tuple[str, ...] = ()
    """Further arguments, as ``--buffer-size 16777216``."""
    spin_ns: int = SPIN_NS
    """How long sessions with it look before they rely on the doorbell."""

    def argv(self, lifeline_fd: int, ready_fd: int) -> list[str]:
        """Make the arguments for a bridge that inherits the two descriptors."""
        return [
            self.bridge_path,
            "--socket",
            self.socket_path,
            "--spawned-by-fd",
            str(lifeline_fd),
            "--ready-fd",
            str(ready_fd),
            *self.options,
        ]


async def launch_bridge(
    command: BridgeCommand, *, name: str, spawn: Spawn, clock: Clock, timeout_s: float
) -> tuple[BridgeProcess, _ext.Client]:
    """Start a bridge and open the first session with it.

    Raises: LayerUnavailable with the bridge's last words; nothing is left running then.
    """
    process = BridgeProcess.start(command.argv, env=command.environment, spawn=spawn)
    directory = Path(command.socket_path).parent
    process.died.add_done_callback(lambda _: clear_bridge_dir(directory))
    try:
        return process, await _first_session(command, process, name, clock, timeout_s)
    except BaseException:
        await process.stop(FAILED_START_GRACE_S, clock)
        raise


async def _first_session(
    command: BridgeCommand, process: BridgeProcess, name: str, clock: Clock, timeout_s: float
) -> _ext.Client:
    begun_ns = clock.monotonic_ns()
    if not await settled_within(process.ready, timeout_s, clock):
        raise LayerUnavailable(f"{command.bridge_path}: not ready after {timeout_s:g} s")
    if not process.ready.result():
        # It closed the pipe, so it is on its way out; its reason comes with its end.
        await settled_within(process.died, FAILED_START_GRACE_S, clock)
        ending = process.died.result() if process.died.done() else "closed its ready pipe"
        words = process.last_words()
        raise LayerUnavailable(f"{command.bridge_path}: {ending}" + (f": {words}" if words else ""))
    left_s = max(timeout_s - (clock.monotonic_ns() - begun_ns) / 1e9, 0.001)
    return await connect_client(
        command.socket_path, name, timeout_s=left_s, spin_ns=command.spin_ns
    )
