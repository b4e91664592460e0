"""The machine as the planner sees it: CPUs by kind of core, what they share, what is allowed.

Each CPU carries the lowest number among the CPUs it shares a core, an L2 or an L3 cache with, so
that equal numbers mean shared, here and in the C layer's table alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from tandem_orchestrator.model.cpu_lists import show_cpu_list


class CoreClass(str, Enum):
    """A kind of core."""

    P_CORE = "p_core"
    """Performance; on a machine with one kind of core, all of them."""
    E_CORE = "e_core"
    """Efficiency."""
    LP_E_CORE = "lp_e_core"
    """Low-power efficiency: without a share of the last-level cache that the others have."""

    def __str__(self) -> str:
        return self.value

    @property
    def shown(self) -> str:
        """The name for people: ``P-core``, ``E-core``, ``LP-E-core``."""
        return {"p_core": "P-core", "e_core": "E-core", "lp_e_core": "LP-E-core"}[self.value]


@dataclass(frozen=True, slots=True)
class Cpu:
    """One logical CPU that is online."""

    number: int
    core: int
    """Lowest online CPU on the same core: SMT siblings have this in common."""
    package: int = 0
    node: int = 0
    """NUMA node."""
    kind: CoreClass = CoreClass.P_CORE
    favoured: bool = False
    """A performance core that is faster than others on this machine."""
    perf: int = 0
    """Highest performance as ACPI CPPC grades it, no unit; 0: not known."""
    max_khz: int = 0
    """Highest clock; 0: not known."""
    l1d_kib: int = 0
    """Size of the first-level data cache; 0: not known or none."""
    l2_kib: int = 0
    l2: int = -1
    """Lowest online CPU that shares the L2 cache; -1: not known or none."""
    l3_kib: int = 0
    l3: int = -1
    """Lowest online CPU that shares the L3 cache; -1: not known or none."""


@dataclass(frozen=True, slots=True)
class Topology:
    """What the machine has, and how much of it is ours."""

    cpus: tuple[Cpu, ...]
    """The online CPUs by number; at least one, at most ``CPUS_MAX``."""
    allowed: frozenset[int]
    """Those that affinity mask and cpuset leave to this process; never empty."""
    offline: frozenset[int] = frozenset()
    """CPUs that are present and switched off."""
    quota_millicpus: int | None = None
    """Processor time per unit of time that the control group grants, in thousandths of a CPU."""
    told_by: str = "nothing"
    """What told the kinds of core apart: ``cpu_core and cpu_atom``, ``CPUID leaf 0x1A``,
    ``cpu_capacity``, ``acpi_cppc/highest_perf``, ``cpuinfo_max_freq``; ``nothing``: one kind."""
    notes: tuple[str, ...] = ()
    """What could not be read or believed, one line each."""

    def __post_init__(self) -> None:
        if not self.allowed or not self.allowed <= {cpu.number for cpu in self.cpus}:
            allowed = show_cpu_list(self.allowed)
            raise ValueError(f"allowed={allowed!r}: must be one or more of the online CPUs")

    def of_kind(self, *kinds: CoreClass) -> frozenset[int]:
        """Give the online CPUs of these kinds, allowed or not."""
        return frozenset(cpu.number for cpu in self.cpus if cpu.kind in kinds)

    @property
    def favoured(self) -> frozenset[int]:
        """The CPUs of favoured performance cores; empty where all are alike."""
        return frozenset(cpu.number for cpu in self.cpus if cpu.favoured)

    @property
    def kinds(self) -> tuple[CoreClass, ...]:
        """The kinds of core that are online, fastest first."""
        here = {cpu.kind for cpu in self.cpus}
        return tuple(kind for kind in CoreClass if kind in here)

    @property
    def threads_max(self) -> int:
        """How many threads can run at once here: the allowed CPUs, cut by the quota."""
        return self.threads_of(self.allowed)

    def threads_of(self, cpus: Iterable[int]) -> int:
        """Say how many threads can run at once on these CPUs under the quota; at least 1."""
        total = len(self.allowed & frozenset(cpus))
        if self.quota_millicpus is not None:
            total = min(total, -(-self.quota_millicpus // 1000))
        return max(1, total)

    def __str__(self) -> str:
        parts = [f"{kind.shown} {show_cpu_list(self.of_kind(kind))}" for kind in self.kinds]
        return "; ".join(parts)
