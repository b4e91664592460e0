"""The machine of one session: read once, handed to the planner, and told in health."""

from __future__ import annotations

from pathlib import Path

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.layers.native import TopologySources, read_topology
from tandem_orchestrator.layers.native.cpu_load import CpuLoad
from tandem_orchestrator.layers.native.topology import with_sysfs
from tandem_orchestrator.model.cpu_lists import show_cpu_list
from tandem_orchestrator.model.levels import HardwareAffinity
from tandem_orchestrator.model.topology import CoreClass
from tandem_orchestrator.plan.place import Machine, home_node, place
from tandem_orchestrator.settings import Hardware


class SessionMachine:
    """What a session knows of its machine.

    Args:
        hardware: The settings; they count for the whole session.
        clock: The time between two looks at the load.
        sources: Where to read; None: this machine, with ``hardware.sysfs`` in place of ``/sys``.
    """

    def __init__(
        self, hardware: Hardware, clock: Clock, sources: TopologySources | None = None
    ) -> None:
        if sources is None and hardware.sysfs is not None:
            sources = with_sysfs(Path(hardware.sysfs))
        self._hardware = hardware
        self.topology = read_topology(sources)
        self._load: CpuLoad | None = None
        if len(self.topology.kinds) > 1:
            busy = self.topology.of_kind(CoreClass.P_CORE) & self.topology.allowed
            self._load = CpuLoad(busy, clock.monotonic_ns) if busy else None

    @property
    def base_cpus(self) -> str:
        """Where the layers run what wishes nothing, as ``0-3,8``; empty: where they are."""
        base = self._machine(0.0).base
        whole = not base.bound or base.cpus == self.topology.allowed
        return "" if whole else show_cpu_list(base.cpus)

    @property
    def is_busy(self) -> bool:
        """Whether the P-cores are so busy that sets without a wish take E-cores, too."""
        return self._load is not None and self._load.read() > self._hardware.e_core_threshold

    def for_planner(self) -> Machine:
        """Give the topology and the load of this moment."""
        return self._machine(0.0 if self._load is None else self._load.read())

    def _machine(self, load: float) -> Machine:
        return Machine(self.topology, self._hardware, load)

    def notes(self) -> tuple[str, ...]:
        """Say, a line each, what is odd here, and which wishes mean something else here."""
        told = [f"topology: {note}" for note in self.topology.notes]
        if self._hardware.numa_aware:
            home = home_node(self.topology)
            kept = "one node here, nothing to keep together" if home is None else f"node {home}"
            told.append(f"hardware.numa_aware: {kept}")
        placements = {wish: place(wish, self.topology, self._hardware) for wish in HardwareAffinity}
        widened = [str(wish) for wish, placement in placements.items() if placement.widened]
        if widened:
            named = ", ".join(widened)
            told.append(
                f"cores: {named} cannot be met here; such steps take the next kind there is"
            )
        return tuple(told)
