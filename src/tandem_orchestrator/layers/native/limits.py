"""How long the C layer waits for what."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem_orchestrator.layers.native.supervisor import SupervisorLimits


@dataclass(frozen=True, slots=True)
class NativeLimits:
    """How long the layer waits for what."""

    connect_timeout_s: float = 5.0
    """Seconds from a start of the bridge to its first answer."""
    restart_wait_s: float = 3.0
    """Seconds an attempt waits for a restart before it is reported NOT_STARTED."""
    busy_wait_s: float = 5.0
    """Seconds an attempt waits for room before it is reported NOT_STARTED."""
    busy_pause_s: float = 0.002
    """First pause while the bridge is full; doubled up to 50 ms."""
    cancel_grace_s: float = 5.0
    """Seconds an action gets to obey a cancel before its attempt is ABANDONED."""
    host_grace_ms: int = 500
    """Milliseconds a plug-in's action gets after cancel or deadline before its host is killed."""
    host_memory_bytes: int = 4 * 2**30
    """Address space that a plug-in may add to its host; 0: no limit."""
    supervisor: SupervisorLimits = field(default_factory=SupervisorLimits)
