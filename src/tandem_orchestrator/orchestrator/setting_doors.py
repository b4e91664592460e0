"""``tune_for_workload``, as an orchestrator offers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import ConfigError
from tandem_orchestrator.orchestrator.machine import SessionMachine
from tandem_orchestrator.orchestrator.parts import Parts
from tandem_orchestrator.orchestrator.tuning import Tuning, changes_for
from tandem_orchestrator.settings import Config


class SettingDoors(ABC):
    """The part of ``TandemOrchestrator`` that changes several settings at once."""

    config: Config
    _clock: Clock
    _parts: Parts | None

    @abstractmethod
    def _here(self) -> None:
        """Refuse a call from a forked child."""

    # Any: wishes are a user's own dict.
    def tune_for_workload(self, workload: Mapping[str, Any]) -> Tuning:
        """Change the settings to suit a kind of work; ``print`` what it gives to see how.

        Works at any time. Each setting counts from the next run or the next session, as its row in
        the table of settings says; those of the next session are warned of while one is open.

        Args:
            workload: ``workload_type`` (``balanced, high_throughput, low_latency, batch,
                low_memory``), ``optimize_for`` (``latency, throughput, memory``) and ``hardware``
                (``prefer_p_cores, e_core_threshold, cpu_affinity, numa_aware, use_huge_pages,
                realtime_scheduling, lock_memory``); each may be left out.

        Returns: the changes, each with its reason; ``undo()`` takes them back.

        Raises: ConfigError with a fault for each wish that is unknown; nothing is changed then.
        """
        self._here()
        if not isinstance(workload, Mapping):
            raise ConfigError(f"workload: {type(workload).__name__}, expected a dict of wishes")
        settings, parts = self.config.settings, self._parts
        machine = SessionMachine(settings.hardware, self._clock) if parts is None else parts.machine
        changes = changes_for(workload, settings, machine.topology.threads_max)
        self.config.assign({path: change.new for path, change in changes.items()}, "tuning")
        return Tuning(changes, self.config)
