"""What an orchestrator shows: runs, metrics, health, and events as they happen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tandem_orchestrator.engine import Engine
from tandem_orchestrator.journal import Journal, JournalHealth
from tandem_orchestrator.layers import LayerHealth
from tandem_orchestrator.orchestrator.cache import OutputCache
from tandem_orchestrator.orchestrator.messages import Messages
from tandem_orchestrator.orchestrator.parts import Parts
from tandem_orchestrator.orchestrator.watching import EventListener, ProgressListener, Watching
from tandem_orchestrator.plugins import Plugins


class ShownDoors(ABC):
    """The part of ``TandemOrchestrator`` that tells what it is doing."""

    _messages: Messages
    _watching: Watching
    _parts: Parts | None
    _plugins: Plugins
    cache: OutputCache

    @abstractmethod
    def _here(self) -> None:
        """Refuse a call from a forked child."""

    @abstractmethod
    def _usable(self) -> tuple[Engine, Journal]:
        """Refuse every call from the wrong place or at the wrong time."""

    @abstractmethod
    def _away(self) -> Mapping[str, str]:
        """Give the layers that are not there, with the reason."""

    # Any: SPEC's table of numbers.
    def get_metrics(self) -> dict[str, Any]:
        """Give the counters of this orchestrator; latencies in seconds, 0.0 before the first."""
        self._here()
        metrics = self._messages.add_to(self._watching.metrics.read())
        metrics["cache"] = self.cache.metrics()
        metrics["plugins"] = self._plugins.metrics()
        outputs = {"files": 0, "bytes": 0}
        if self._parts is not None:
            health = self._parts.journal.health()
            outputs = {"files": health.outputs_files, "bytes": health.outputs_bytes}
        metrics["journal"] = {"outputs": outputs}
        return metrics

    def layer_health(self) -> dict[str, LayerHealth]:
        """Describe each layer, without waiting."""
        self._here()
        layers = self._parts.layers if self._parts is not None else []
        health = {layer.name: layer.health() for layer in layers}
        if "c" not in health:
            health["c"] = LayerHealth("c", False, self._away().get("c", "not initialised"))
        return health

    def journal_health(self) -> JournalHealth:
        """Describe the journal, without touching the disk."""
        _, journal = self._usable()
        return journal.health()

    @asynccontextmanager
    async def listening(
        self, on_event: EventListener | None = None, on_progress: ProgressListener | None = None
    ) -> AsyncIterator[None]:
        """Call listeners on the loop for every event and every progress report, as they happen.

        ``on_event`` gets (run id, event), ``on_progress`` (run id, step id, item, done, total).
        """
        self._here()
        with self._watching.listening(on_event, on_progress):
            yield
