"""How busy some CPUs are, from the kernel's own count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

STAT = Path("/proc/stat")
"""The kernel's count of ticks, by CPU."""
LOOK_NS = 250_000_000
"""Least time between two looks; in between the last answer stands."""
STAT_BYTES_MAX = 4 * 2**20
"""What is read of it at most."""


class CpuLoad:
    """Say which share of some CPUs' time was in use lately.

    Args:
        cpus: Which CPUs.
        monotonic_ns: The time.
        path: Where the kernel's count is.
    """

    def __init__(
        self, cpus: frozenset[int], monotonic_ns: Callable[[], int], path: Path = STAT
    ) -> None:
        self._cpus, self._monotonic_ns, self._path = cpus, monotonic_ns, path
        self._looked_ns = -LOOK_NS
        self._before = (0, 0)
        self._load = 0.0

    def read(self) -> float:
        """Give the share, 0 to 1, since the look before the last; 0.0 before there are two."""
        now_ns = self._monotonic_ns()
        if now_ns - self._looked_ns < LOOK_NS:
            return self._load
        self._looked_ns = now_ns
        try:
            with self._path.open("rb") as file:
                text = file.read(STAT_BYTES_MAX).decode("ascii", "replace")
        except OSError:
            return self._load  # masked, as some containers do: the load stays unknown, at 0
        busy, total = busy_and_total(text, self._cpus)
        gone = total - self._before[1]
        if self._before != (0, 0) and gone > 0:
            self._load = min(1.0, max(0.0, (busy - self._before[0]) / gone))
        self._before = (busy, total)
        return self._load


def busy_and_total(text: str, cpus: frozenset[int]) -> tuple[int, int]:
    """Add up the ticks in use, and all ticks, of some CPUs. Pure.

    Source: proc(5), /proc/stat: user nice system idle iowait irq softirq steal; guest time is in
    user already.
    """
    busy = total = 0
    for line in text.splitlines():
        name, *rest = line.split()
        if not name.startswith("cpu") or not name[3:].isdigit() or int(name[3:]) not in cpus:
            continue
        ticks = [int(field) for field in rest[:8] if field.isdigit()]
        if len(ticks) >= 5:
            total += sum(ticks)
            busy += sum(ticks) - ticks[3] - ticks[4]
    return busy, total
