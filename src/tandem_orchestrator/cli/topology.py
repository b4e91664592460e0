"""``tandem topology``: the machine drawn: cores by kind, what they share, what is ours."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tandem_orchestrator import HardwareAffinity, Settings
from tandem_orchestrator.cli.exits import Exit, UsageError
from tandem_orchestrator.cli.output import print_json, print_text
from tandem_orchestrator.layers.native import read_topology
from tandem_orchestrator.layers.native.topology import other_machine
from tandem_orchestrator.model.cpu_lists import show_cpu_list
from tandem_orchestrator.model.topology import Cpu, Topology
from tandem_orchestrator.plan.place import place

WIDTH = 80
"""Characters of a line: also where the terminal is wider, so that drawings can be compared."""


def topology(settings: Settings, sysfs: Path | None, *, limit: int, as_json: bool) -> Exit:
    """Draw this machine, or the one whose ``/sys`` was copied to ``sysfs``.

    Args:
        settings: Their ``hardware`` says what the wishes mean.
        sysfs: A folder like ``/sys``; None: this machine, and what is allowed to this process.
        limit: At most so many CPUs (JSON) or lines of cores (drawing).
        as_json: For programs.
    """
    if sysfs is not None and not (sysfs / "devices" / "system" / "cpu").is_dir():
        raise UsageError(f"--sysfs {sysfs}: holds no devices/system/cpu")
    found = read_topology(None if sysfs is None else other_machine(sysfs))
    if as_json:
        print_json(_as_data(found, settings, limit))
    else:
        print_text("\n".join(_drawn(found, settings, limit)))
    return Exit.DONE


# Any: JSON.
def _as_data(found: Topology, settings: Settings, limit: int) -> dict[str, Any]:
    wishes = {}
    for wish in HardwareAffinity:
        placement = place(wish, found, settings.hardware)
        wishes[str(wish)] = {
            "cpus": sorted(placement.cpus),
            "bound": placement.bound,
            "widened": placement.widened,
            "threads_max": placement.threads_max,
            "reason": placement.reason,
        }
    return {
        "cpus_total": len(found.cpus),
        "cores_total": _cores(found.cpus),
        "cpus": [_cpu(cpu, found) for cpu in found.cpus[:limit]],
        "allowed": sorted(found.allowed),
        "offline": sorted(found.offline),
        "quota_millicpus": found.quota_millicpus,
        "threads_max": found.threads_max,
        "told_by": found.told_by,
        "notes": list(found.notes),
        "wishes": wishes,
    }


def _cpu(cpu: Cpu, found: Topology) -> dict[str, Any]:
    return {
        "cpu": cpu.number,
        "core": cpu.core,
        "package": cpu.package,
        "node": cpu.node,
        "kind": str(cpu.kind),
        "favoured": cpu.favoured,
        "allowed": cpu.number in found.allowed,
        "perf": cpu.perf or None,
        "max_khz": cpu.max_khz or None,
        "l1d_kib": cpu.l1d_kib or None,
        "l2_kib": cpu.l2_kib or None,
        "l2": None if cpu.l2 < 0 else cpu.l2,
        "l3_kib": cpu.l3_kib or None,
        "l3": None if cpu.l3 < 0 else cpu.l3,
    }


def _cores(cpus: Iterable[Cpu]) -> int:
    return len({cpu.core for cpu in cpus})


def _drawn(found: Topology, settings: Settings, limit: int) -> Iterator[str]:
    nodes, packages = {c.node for c in found.cpus}, {c.package for c in found.cpus}
    counted = (_count(len(found.cpus), "CPU"), _count(_cores(found.cpus), "core"))
    places = (_count(len(packages), "package"), _count(len(nodes), "NUMA node"))
    yield f"{counted[0]} on {counted[1]}, {places[0]}, {places[1]}"
    lines = list(_places(found))
    yield from lines[:limit]
    if len(lines) > limit:
        yield f"... and {len(lines) - limit} more lines; --limit shows more"
    yield ""
    yield "[ ] one L2 cache   + threads of one core   * favoured   ( ) not allowed to us"
    yield ""
    threads = _count(found.threads_max, "thread")
    allowed = "all" if len(found.allowed) == len(found.cpus) else show_cpu_list(found.allowed)
    quota = ""
    if found.quota_millicpus is not None:
        quota = f"; a quota of {found.quota_millicpus / 1000:g} CPUs"
    alike = "none: all P-cores are alike"
    yield from _told("allowed", f"{allowed}{quota}; {threads} can run at once")
    yield from _told("favoured", show_cpu_list(found.favoured) or alike)
    yield from _told("offline", show_cpu_list(found.offline) or "none")
    told = "nothing: one kind of core" if found.told_by == "nothing" else found.told_by
    yield from _told("told by", told)
    for note in found.notes:
        yield from _told("note", note)
    yield ""
    for wish in HardwareAffinity:
        placement = place(wish, found, settings.hardware)
        yield from _told(str(wish), f"{show_cpu_list(placement.cpus)} ({placement.reason})")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _told(name: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"{name:<14}",
        subsequent_indent=" " * 14,
        break_on_hyphens=False,
    )


def _places(found: Topology) -> Iterator[str]:
    """Draw each node and L3 cache, and in it a line or more for each kind of core."""
    places: dict[tuple[int, int, int], list[Cpu]] = {}
    for cpu in found.cpus:
        places.setdefault((cpu.package, cpu.node, cpu.l3), []).append(cpu)
    # Within a node those without L3 come last.
    for (package, node, l3), cpus in sorted(places.items(), key=lambda p: (*p[0][:2], p[0][2] < 0)):
        size = f"L3 {_size(cpus[0].l3_kib)}" if l3 >= 0 else "no L3"
        shared = f", shared by {show_cpu_list(c.number for c in cpus)}" if l3 >= 0 else ""
        yield ""
        yield f"package {package}, node {node}, {size}{shared}"
        for kind in found.kinds:
            ours = [cpu for cpu in cpus if cpu.kind is kind]
            if ours:
                sizes = sorted({_size(cpu.l2_kib) for cpu in ours})
                each = f"  L2 {' or '.join(sizes)}" if any(cpu.l2_kib for cpu in ours) else ""
                yield f"  {kind.shown}s: {_cores(ours)}{each}"
                # What is one L2 stays together: its blanks are hard until the line is cut.
                text = " ".join(_module(group, found) for group in _by(ours, "l2"))
                for line in textwrap.wrap(text, WIDTH - 4, break_on_hyphens=False):
                    yield "    " + line.replace("\0", " ")


def _size(kib: int) -> str:
    if not kib:
        return "of unknown size"
    return f"{kib / 1024:g} MiB" if kib >= 1024 else f"{kib} KiB"


def _by(cpus: Iterable[Cpu], field: str) -> list[list[Cpu]]:
    """Group CPUs by what they share; where it is not known, by core."""
    groups: dict[int, list[Cpu]] = {}
    for cpu in cpus:
        shared = getattr(cpu, field)
        groups.setdefault(shared if shared >= 0 else -1 - cpu.core, []).append(cpu)
    return list(groups.values())


def _module(cpus: list[Cpu], found: Topology) -> str:
    cores = []
    for core in _by(cpus, "core"):
        threads = [str(c.number) if c.number in found.allowed else f"({c.number})" for c in core]
        cores.append(("*" if core[0].favoured else "") + "+".join(threads))
    return "[" + "\0".join(cores) + "]"
