"""Which CPUs a wish means on this machine: a pure decision that says why in one line.

A wish never fails. Where the kind of core is absent, or not allowed to this process, the next one
in ``WIDENING`` is taken, and the reason says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tandem_orchestrator.model.cpu_lists import parse_cpu_list, show_cpu_list
from tandem_orchestrator.model.levels import HardwareAffinity
from tandem_orchestrator.model.topology import CoreClass, Topology
from tandem_orchestrator.settings import Hardware

_Wish = HardwareAffinity

WIDENING: dict[HardwareAffinity, tuple[HardwareAffinity, ...]] = {
    _Wish.AUTO: (_Wish.P_CORE, _Wish.E_CORE, _Wish.LP_E_CORE),
    _Wish.P_CORE_ULTRA: (_Wish.P_CORE_ULTRA, _Wish.P_CORE, _Wish.E_CORE, _Wish.LP_E_CORE),
    _Wish.P_CORE: (_Wish.P_CORE, _Wish.E_CORE, _Wish.LP_E_CORE),
    _Wish.E_CORE: (_Wish.E_CORE, _Wish.LP_E_CORE, _Wish.P_CORE),
    _Wish.LP_E_CORE: (_Wish.LP_E_CORE, _Wish.E_CORE, _Wish.P_CORE),
}
"""What is tried for each wish, in order; the first that leaves a CPU is taken."""

_SHOWN = {
    _Wish.P_CORE_ULTRA: "favoured P-cores",
    _Wish.P_CORE: "P-cores",
    _Wish.E_CORE: "E-cores",
    _Wish.LP_E_CORE: "LP-E-cores",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where something should run."""

    cpus: frozenset[int]
    """Never empty, and all allowed to this process."""
    reason: str
    """One line: what was wished, what was taken, and why if it is not the same."""
    bound: bool = True
    """False: set no mask and leave it to the kernel."""
    widened: bool = False
    """Whether the wish itself could not be met."""
    threads_max: int = 1
    """How many threads can run at once on these CPUs under the control group's quota."""


@dataclass(frozen=True, slots=True)
class Machine:
    """All that placing needs to know."""

    topology: Topology
    hardware: Hardware
    load: float = 0.0
    """Share of the allowed P-cores' time in use, 0 to 1."""

    @property
    def base(self) -> Placement:
        """Where the layers run what wishes nothing, while the load is low."""
        return place(HardwareAffinity.AUTO, self.topology, self.hardware)

    def cpus_and_reason(self, wish: HardwareAffinity) -> tuple[str, str]:
        """Give what a planned step carries: its CPUs where they are not the base, and why."""
        placement = place(wish, self.topology, self.hardware, self.load)
        wished = wish is not HardwareAffinity.AUTO
        # Agents in processes of their own are not on the base, so a wish for it must be told, too.
        apart = placement.cpus != (self.topology.allowed if wished else self.base.cpus)
        cpus = show_cpu_list(placement.cpus) if placement.bound and apart else ""
        return cpus, placement.reason if cpus or wished else ""


def place(
    wish: HardwareAffinity, topology: Topology, settings: Hardware, load: float = 0.0
) -> Placement:
    """Decide which CPUs a wish means.

    Args:
        wish: The command set's ``hardware_affinity``.
        topology: The machine, and what is allowed to us.
        settings: ``cpu_affinity`` "none" binds nothing; a list overrides every wish; "auto" goes
            by the wish. ``prefer_p_cores`` and ``e_core_threshold`` say what no wish means.
        load: Share of the allowed P-cores' time in use, 0 to 1 (more counts as 1).

    Raises: ValueError if ``load`` is negative or not a number.
    """
    if math.isnan(load) or load < 0:
        raise ValueError(f"load={load}: must be 0 or above")
    if settings.cpu_affinity == "none":
        reason = "hardware.cpu_affinity is none: left to the kernel"
        return _placement(topology, topology.allowed, reason, bound=False)
    if settings.cpu_affinity != "auto":
        return _listed(settings.cpu_affinity, topology)
    if wish is HardwareAffinity.AUTO:
        placement = _unwished(topology, settings, load)
    else:
        placement = _wished(wish, topology)
    return _on_home_node(placement, topology) if settings.numa_aware else placement


def home_node(topology: Topology) -> int | None:
    """Give the node to stay on: the one with most of the allowed P-cores, then of all allowed CPUs.

    Returns: its number; None where all allowed CPUs are on one node.
    """
    allowed = [cpu for cpu in topology.cpus if cpu.number in topology.allowed]
    nodes = sorted({cpu.node for cpu in allowed})
    if len(nodes) == 1:
        return None

    def size(node: int) -> tuple[int, int]:
        mine = [cpu for cpu in allowed if cpu.node == node]
        return sum(cpu.kind is CoreClass.P_CORE for cpu in mine), len(mine)

    return max(nodes, key=size)


def _on_home_node(placement: Placement, topology: Topology) -> Placement:
    """Leave out the CPUs of other nodes; where none would be left, their memory is far instead."""
    home = home_node(topology)
    if home is None:
        return placement
    near = placement.cpus & frozenset(cpu.number for cpu in topology.cpus if cpu.node == home)
    if not near:
        reason = f"{placement.reason}; none of them on node {home} (hardware.numa_aware)"
        return replace(placement, reason=reason)
    reason = f"{placement.reason}; of these those on node {home} (hardware.numa_aware)"
    return _placement(topology, near, reason, widened=placement.widened)


def _listed(text: str, topology: Topology) -> Placement:
    """Take the configured CPUs, whatever is wished."""
    asked = parse_cpu_list(text)
    cpus = asked & topology.allowed
    told = f"hardware.cpu_affinity is {text}"
    if not cpus:
        reason = f"{told}, none of them allowed here: all allowed CPUs instead"
        return _placement(topology, topology.allowed, reason, widened=True)
    if missing := asked - cpus:
        told += f"; {show_cpu_list(missing)} not allowed or not online here"
    return _placement(topology, cpus, told, widened=bool(missing))


def _unwished(topology: Topology, settings: Hardware, load: float) -> Placement:
    if len(topology.kinds) == 1:
        return _placement(topology, topology.allowed, "one kind of core: all allowed CPUs")
    if not settings.prefer_p_cores:
        reason = "no wish, and hardware.prefer_p_cores is off: all allowed CPUs"
        return _placement(topology, topology.allowed, reason)
    first = _wished(HardwareAffinity.AUTO, topology)
    if first.widened or load <= settings.e_core_threshold:
        return first
    # LP-E-cores stay out: they clock lowest and share no cache with the others.
    more = topology.of_kind(CoreClass.E_CORE) & topology.allowed
    told = f"the P-cores' load of {load:.2f} is above {settings.e_core_threshold:g}"
    if not more:
        return _placement(topology, first.cpus, f"no wish: P-cores; {told}, but no E-core is here")
    return _placement(topology, first.cpus | more, f"no wish: P-cores and E-cores, as {told}")


def _wished(wish: HardwareAffinity, topology: Topology) -> Placement:
    order = WIDENING[wish]
    for taken in order:
        cpus = _cpus_of(taken, topology) & topology.allowed
        if cpus:
            break
    else:  # every CPU is of some kind and one is allowed
        raise AssertionError(f"no CPU is allowed: {topology.allowed}")
    told = "no wish" if wish is HardwareAffinity.AUTO else f"wish {wish}"
    reason = f"{told}: {_SHOWN[taken]}"
    if taken is not order[0]:
        absent = not _cpus_of(order[0], topology)
        why = "there are none on this machine" if absent else "none is allowed to us"
        reason = f"{told}: {_SHOWN[taken]} instead of {_SHOWN[order[0]]}, {why}"
    return _placement(topology, cpus, reason, widened=taken is not order[0])


def _cpus_of(kind: HardwareAffinity, topology: Topology) -> frozenset[int]:
    if kind is HardwareAffinity.P_CORE_ULTRA:
        return topology.favoured
    return topology.of_kind(CoreClass(kind.value))


def _placement(
    topology: Topology,
    cpus: frozenset[int],
    reason: str,
    *,
    bound: bool = True,
    widened: bool = False,
) -> Placement:
    return Placement(cpus, reason, bound, widened, topology.threads_of(cpus))
