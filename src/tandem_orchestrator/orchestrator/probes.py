"""SPEC's two doors of single layers: a health check and ``send_message`` each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tandem_orchestrator.layers import LayerHealth
from tandem_orchestrator.layers.native import BridgeProbe, Quarantine, Suspect, probe_bridge
from tandem_orchestrator.layers.python import PythonLayer
from tandem_orchestrator.orchestrator.messages import Messages


class PythonOrchestrator:
    """SPEC's ``orchestrator.python_orchestrator``: the Python layer, seen from outside."""

    def __init__(self, layer: Callable[[], PythonLayer | None], messages: Messages) -> None:
        self._layer, self._messages = layer, messages

    async def health_check(self) -> LayerHealth:
        """Describe the Python layer; falsy when it is not well. Works before ``initialize``."""
        layer = self._layer()
        if layer is None:
            return LayerHealth("python", True, "not initialised yet")
        return layer.health()

    # Any: payloads and outputs are any plain values.
    async def send_message(self, message: Mapping[str, Any]) -> Any:
        """Send ``{"agent", "action", "payload"}`` to the action's Python implementation.

        Raises: as ``TandemOrchestrator.send`` and its Future.
        """
        return await self._messages.send_message(message)


class BinaryBridge:
    """SPEC's ``orchestrator.binary_bridge``: the C layer, seen from outside."""

    def __init__(
        self,
        socket: Callable[[], str],
        messages: Messages,
        quarantine: Callable[[], Quarantine],
    ) -> None:
        self._socket, self._messages, self._quarantine = socket, messages, quarantine

    def test_connection(self, timeout: float = 1.0) -> BridgeProbe:
        """Make one ``system.noop`` round trip on a session of its own; blocks, never raises.

        Starts a bridge if none runs, and ends it again. Works before ``initialize``.

        Args:
            timeout: Seconds for everything; above 0.

        Returns: An object that is falsy when the C layer does not answer, with the ``reason``.
        """
        return probe_bridge(timeout, socket=self._socket())

    def quarantined(self) -> tuple[Suspect, ...]:
        """List the inputs that are refused since they keep crashing the host of their plug-in."""
        return self._quarantine().held()

    def release(self, digest: str) -> int:
        """Let a quarantined input start again.

        Args:
            digest: As the refusal names it; its first eight digits or more.

        Returns: How many inputs were released.

        Raises: ValueError for fewer digits.
        """
        return self._quarantine().release(digest)

    # Any: payloads and outputs are any plain values.
    def send_message(self, message: Mapping[str, Any] | bytes) -> Any:
        """Send ``{"agent", "action", "payload"}`` to the action's C implementation; blocks.

        Given as strict MessagePack ``bytes``, the answer is such bytes, too.

        Raises: as ``TandemOrchestrator.call_sync``.
        """
        return self._messages.bridge_message(message)
