"""Reading the machine: sysfs first, CPUID where it is silent, then the limits set on us.

Nothing here fails: a fact that cannot be read has a documented stand-in, and what is odd is a
note. ``native/src/topology`` reads the same for the C layer; parity tests compare both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tandem_orchestrator.layers.native.bridge_words import bridge_reader
from tandem_orchestrator.layers.native.cgroup import CpuLimits, read_limits
from tandem_orchestrator.layers.native.core_kinds import (
    GRADES,
    NAMED_BY_CPUID,
    NAMED_BY_PMU,
    Named,
    favoured_of,
    tell_apart,
)
from tandem_orchestrator.layers.native.cpuid import (
    KIND_CORE,
    CpuidReader,
    apic_and_smt_shift,
    caches,
    core_kind,
    device_reader,
)
from tandem_orchestrator.layers.native.sysfs import (
    BLANKS,
    names_high_cpus,
    numbered,
    read_cpus,
    read_kib,
    read_measure,
    read_number,
    read_text,
)
from tandem_orchestrator.model.cpu_lists import CPUS_MAX
from tandem_orchestrator.model.topology import CoreClass, Cpu, Topology

CACHES_MAX = 16
"""Cache folders looked at for one CPU."""
NODES_MAX = 1024
ApicIds = Callable[[], Mapping[int, tuple[int, int]]]
"""Gives APIC id and SMT shift of each CPU."""

NOTE_NO_LIST = "sysfs lists no CPU; taken from the affinity mask"
NOTE_HIGH = f"CPUs from {CPUS_MAX} up are left out"  # as the list of online CPUs names some
NOTE_MASK = "affinity mask and online CPUs have nothing in common; the mask is ignored"
NOTE_CPUSET = "cpuset and affinity mask have nothing in common; the cpuset is ignored"


@dataclass(frozen=True, slots=True)
class TopologySources:
    """Where to read from; the defaults describe this process on this machine."""

    sysfs: Path = Path("/sys")
    proc: Path | None = Path("/proc")
    """None: the process is in the root group."""
    cgroup: Path = Path("/sys/fs/cgroup")
    cpuid: CpuidReader | None = None
    """None: CPUID cannot be asked."""
    affinity: frozenset[int] | None = None
    """The mask of the process; None: all CPUs."""


def this_machine() -> TopologySources:
    """Give the sources for this process on this machine."""
    mask = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    can_read = os.access("/dev/cpu/0/cpuid", os.R_OK)
    return TopologySources(cpuid=device_reader() if can_read else bridge_reader(), affinity=mask)


def with_sysfs(sysfs: Path) -> TopologySources:
    """Give the sources for this process where ``sysfs`` stands in for /sys: what is ours counts."""
    ours = this_machine()
    return TopologySources(sysfs, affinity=ours.affinity)


def other_machine(sysfs: Path) -> TopologySources:
    """Give the sources for a copy of another machine's /sys: no CPUID, no mask of ours."""
    return TopologySources(sysfs, proc=None, cgroup=sysfs / "fs" / "cgroup")


def read_topology(sources: TopologySources | None = None) -> Topology:
    """Read the machine; without sources, this one. Never raises for what it finds."""
    given = sources or this_machine()
    system = given.sysfs / "devices" / "system"
    notes: list[str] = []
    cpus = _online(system / "cpu", given.affinity, notes)
    # Asked only where sysfs is silent, as the answer may take a program.
    ids = cache(lambda: _apic_ids(given.cpuid, cpus))
    cores = _cores(system / "cpu", cpus, ids)
    caches_of = _caches(system / "cpu", cpus, given.cpuid, ids)
    grades = _grades(system / "cpu", cpus)
    with_l3 = frozenset(cpu for cpu in cpus if (cpu, 3) in caches_of)
    kinds, told_by = tell_apart(cpus, with_l3, _named(given, cpus), grades)
    performance = [cpu for cpu in cpus if kinds[cpu] is CoreClass.P_CORE]
    favoured = favoured_of(performance, grades)
    nodes = _nodes(system / "node")
    limits = read_limits(given.proc, given.cgroup)
    allowed = _allowed(frozenset(cpus), given.affinity, limits, notes)
    found = []
    for cpu in cpus:
        l2_kib, l2 = caches_of.get((cpu, 2), (0, -1))
        l3_kib, l3 = caches_of.get((cpu, 3), (0, -1))
        found.append(
            Cpu(
                cpu,
                cores[cpu],
                package=_package(system / "cpu", cpu),
                node=nodes.get(cpu, 0),
                kind=kinds[cpu],
                favoured=cpu in favoured,
                perf=grades["acpi_cppc/highest_perf"][cpu],
                max_khz=grades["cpuinfo_max_freq"][cpu],
                l1d_kib=caches_of.get((cpu, 1), (0, -1))[0],
                l2_kib=l2_kib,
                l2=l2,
                l3_kib=l3_kib,
                l3=l3,
            )
        )
    present = read_cpus(system / "cpu" / "present") or frozenset()
    return Topology(
        cpus=tuple(found),
        allowed=allowed,
        offline=present - frozenset(cpus),
        quota_millicpus=limits.quota_millicpus,
        told_by=told_by,
        notes=tuple(notes),
    )


def _online(folder: Path, affinity: frozenset[int] | None, notes: list[str]) -> list[int]:
    """Give the online CPUs: the list, else the folders not switched off, else the mask."""
    if names_high_cpus(folder / "online"):
        notes.append(NOTE_HIGH)
    if cpus := read_cpus(folder / "online"):
        return sorted(cpus)
    here = numbered(folder, "cpu", below=CPUS_MAX)
    if on := [cpu for cpu in here if read_number(folder / f"cpu{cpu}" / "online") != 0]:
        return on
    notes.append(NOTE_NO_LIST)
    return sorted(cpu for cpu in affinity or () if 0 <= cpu < CPUS_MAX) or [0]


def _allowed(
    online: frozenset[int], affinity: frozenset[int] | None, limits: CpuLimits, notes: list[str]
) -> frozenset[int]:
    allowed = online
    if affinity is not None:
        if allowed & affinity:
            allowed &= affinity
        else:
            notes.append(NOTE_MASK)
    if limits.cpus is not None:
        if allowed & limits.cpus:
            allowed &= limits.cpus
        else:
            notes.append(NOTE_CPUSET)
    return allowed


def _package(folder: Path, cpu: int) -> int:
    number = read_number(folder / f"cpu{cpu}" / "topology" / "physical_package_id")
    return number if number is not None and 0 <= number < 65_536 else 0


def _apic_ids(cpuid: CpuidReader | None, cpus: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Give APIC id and SMT shift of each CPU; empty unless every CPU says."""
    if cpuid is None:
        return {}
    found = {}
    for cpu in cpus:
        said = apic_and_smt_shift(cpuid, cpu)
        if said is None:
            return {}
        found[cpu] = said
    return found


def _cores(folder: Path, cpus: Sequence[int], ids: ApicIds) -> dict[int, int]:
    """Give the lowest CPU on the same core: by the siblings' list, by core id, by APIC id."""
    online = frozenset(cpus)
    cores: dict[int, int] = {}
    by_id: dict[tuple[int, ...], int] = {}
    for cpu in cpus:
        topology = folder / f"cpu{cpu}" / "topology"
        for name in ("core_cpus_list", "thread_siblings_list"):
            siblings = read_cpus(topology / name)
            if siblings and cpu in siblings:
                cores[cpu] = min(siblings & online)
                break
        if cpu in cores:
            continue
        core_id = read_number(topology / "core_id")
        if core_id is not None and core_id >= 0:
            die = read_number(topology / "die_id") or 0
            key: tuple[int, ...] = (_package(folder, cpu), die, core_id)
        elif cpu in ids():
            key = (ids()[cpu][0] >> ids()[cpu][1],)
        else:
            cores[cpu] = cpu
            continue
        cores[cpu] = by_id.setdefault(key, cpu)
    return cores


def _caches(
    folder: Path,
    cpus: Sequence[int],
    cpuid: CpuidReader | None,
    ids: ApicIds,
) -> dict[tuple[int, int], tuple[int, int]]:
    """Give (KiB, lowest CPU that shares it) by (CPU, level), by sysfs, else CPUID leaf 4."""
    online = frozenset(cpus)
    found: dict[tuple[int, int], tuple[int, int]] = {}
    for cpu in cpus:
        for index in range(CACHES_MAX):
            place = folder / f"cpu{cpu}" / "cache" / f"index{index}"
            level = read_number(place / "level")
            if level is None:
                break  # they are numbered without holes
            if level not in (1, 2, 3) or (cpu, level) in found:
                continue
            if (read_text(place / "type") or "").strip(BLANKS) == "Instruction":
                continue
            shared = read_cpus(place / "shared_cpu_list")
            lowest = min(shared & online) if shared and cpu in shared else cpu
            found[cpu, level] = (read_kib(place / "size"), lowest)
    if found or cpuid is None:
        return found
    lowest_of: dict[tuple[int, int, int], int] = {}
    for cpu in cpus:
        for cache_said in caches(cpuid, cpu):
            if (cpu, cache_said.level) in found:
                continue
            lowest = cpu
            if cpu in ids():
                key = (cache_said.level, cache_said.shift, ids()[cpu][0] >> cache_said.shift)
                lowest = lowest_of.setdefault(key, cpu)
            found[cpu, cache_said.level] = (cache_said.kib, lowest)
    return found


def _grades(folder: Path, cpus: Sequence[int]) -> dict[str, dict[int, int]]:
    files = ("cpu_capacity", "acpi_cppc/highest_perf", "cpufreq/cpuinfo_max_freq")
    return {
        name: {cpu: read_measure(folder / f"cpu{cpu}" / file) for cpu in cpus}
        for name, file in zip(GRADES, files, strict=True)
    }


def _named(given: TopologySources, cpus: Sequence[int]) -> list[Named]:
    """Read the sources that name kinds; CPUID only where the kernel's is not there."""
    pmus = [
        read_cpus(given.sysfs / "devices" / name / "cpus") or frozenset()
        for name in ("cpu_core", "cpu_atom", "cpu_lowpower")
    ]
    if frozenset(cpus) <= frozenset().union(*pmus):
        return [Named(NAMED_BY_PMU, *pmus)]
    if given.cpuid is None:
        return []
    said = {}
    for cpu in cpus:
        said[cpu] = core_kind(given.cpuid, cpu)
        if not said[cpu]:
            return []  # silent about one: silent
    big = frozenset(cpu for cpu, kind in said.items() if kind == KIND_CORE)
    return [Named(NAMED_BY_CPUID, big, frozenset(said) - big)]


def _nodes(folder: Path) -> dict[int, int]:
    """Give the NUMA node of each CPU; of several that claim one, the lowest."""
    found: dict[int, int] = {}
    for node in numbered(folder, "node", below=NODES_MAX):
        for cpu in read_cpus(folder / f"node{node}" / "cpulist") or ():
            found.setdefault(cpu, node)
    return found
