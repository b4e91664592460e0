"""What the control group leaves to this process: CPUs (cpuset) and processor time (quota).

Both hierarchies are read at their usual places. A container may see its own group as the root, or
a path that only the host has: the nearest ancestor that exists counts. Quotas hold at every level,
so the smallest one does; ``native/src/topology/limits.c`` keeps the same rules.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/cpusets.rst, sched-bwc.rst.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from tandem_orchestrator.layers.native.sysfs import read_cpus, read_number, read_text

DEPTH_MAX = 64
"""Levels of groups looked at; a deeper path is taken as the root's."""
PATH_BYTES_MAX = 1024
"""Likewise."""
MILLICPUS_MAX = 1_000_000_000
"""A larger quota bounds nothing."""


@dataclass(frozen=True, slots=True)
class CpuLimits:
    """What the control group allows."""

    cpus: frozenset[int] | None
    """The cpuset; None where there is none."""
    quota_millicpus: int | None
    """The smallest quota of all levels; None where there is none."""


_CPU_MAX = re.compile(r"[ \t\n\r]*([0-9]{1,18})[ \t]+([0-9]{1,18})[ \t\n\r]*\Z")


def read_limits(proc: Path | None, cgroup: Path) -> CpuLimits:
    """Read the limits of this process.

    Args:
        proc: Where /proc is; ``self/cgroup`` in it names the groups. None, or without it: the root group.
        cgroup: Where /sys/fs/cgroup is.
    """
    groups = _groups((read_text(proc / "self" / "cgroup") if proc else None) or "")
    unified = cgroup / "unified" if (cgroup / "unified").is_dir() else cgroup
    v2 = _levels(unified, groups.get("", "/"))
    cpuset = _levels(cgroup / "cpuset", groups.get("cpuset", "/"))
    cpu = _levels(cgroup / "cpu", groups.get("cpu", "/"))
    quotas = [*map(_quota_v2, v2), *map(_quota_v1, cpu)]
    return CpuLimits(
        cpus=_first_cpus(v2, ("cpuset.cpus.effective",))
        or _first_cpus(cpuset, ("cpuset.effective_cpus", "cpuset.cpus")),
        quota_millicpus=min((quota for quota in quotas if quota is not None), default=None),
    )


def _groups(text: str) -> dict[str, str]:
    """Give the path of each controller's group; under ``""`` that of the unified hierarchy."""
    found: dict[str, str] = {}
    for line in text.split("\n"):
        parts = line.split(":", 2)
        if len(parts) == 3 and parts[2].startswith("/"):
            for controller in parts[1].split(","):
                found.setdefault(controller, parts[2])
    return found


def _levels(root: Path, group: str) -> list[Path]:
    """Give the group's folder and those above it, up to the root, lowest first."""
    names = [name for name in group.split("/") if name not in ("", ".")]
    if ".." in names or len(names) > DEPTH_MAX or len(os.fsencode(group)) > PATH_BYTES_MAX:
        names = []  # outside of what this namespace shows
    return [root.joinpath(*names[:depth]) for depth in range(len(names), -1, -1)]


def _first_cpus(levels: list[Path], names: tuple[str, ...]) -> frozenset[int] | None:
    for level in levels:
        for name in names:
            if cpus := read_cpus(level / name):
                return cpus
    return None


def _quota_v2(level: Path) -> int | None:
    match = _CPU_MAX.match(read_text(level / "cpu.max") or "")  # else "max 100000", or nothing
    return _millicpus(int(match[1]), int(match[2])) if match else None


def _quota_v1(level: Path) -> int | None:
    quota = read_number(level / "cpu.cfs_quota_us")
    period = read_number(level / "cpu.cfs_period_us")
    return None if quota is None or period is None else _millicpus(quota, period)


def _millicpus(quota_us: int, period_us: int) -> int | None:
    if quota_us <= 0 or not 0 < period_us <= MILLICPUS_MAX or quota_us > 10**15:
        return None
    millicpus = max(1, quota_us * 1000 // period_us)
    return millicpus if millicpus <= MILLICPUS_MAX else None
