"""SPEC's two health checks, one for each layer."""

from __future__ import annotations

from collections.abc import Callable

from tandem_orchestrator.layers import LayerHealth
from tandem_orchestrator.layers.native import BridgeProbe, probe_bridge
from tandem_orchestrator.layers.python import PythonLayer


class PythonOrchestrator:
    """SPEC's ``orchestrator.python_orchestrator``: the Python layer, seen from outside."""

    def __init__(self, layer: Callable[[], PythonLayer | None]) -> None:
        self._layer = layer

    async def health_check(self) -> LayerHealth:
        """Describe the Python layer; falsy when it is not well. Works before ``initialize``."""
        layer = self._layer()
        if layer is None:
            return LayerHealth("python", True, "not initialised yet")
        return layer.health()


class BinaryBridge:
    """SPEC's ``orchestrator.binary_bridge``: the C layer, seen from outside."""

    def __init__(self, socket: Callable[[], str]) -> None:
        self._socket = socket

    def test_connection(self, timeout: float = 1.0) -> BridgeProbe:
        """Make one ``system.noop`` round trip on a session of its own; blocks, never raises.

        Starts a bridge if none runs, and ends it again. Works before ``initialize``.

        Args:
            timeout: Seconds for everything; above 0.

        Returns: An object that is falsy when the C layer does not answer, with the ``reason``.
        """
        return probe_bridge(timeout, socket=self._socket())
