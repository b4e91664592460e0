"""Lists of CPUs as Linux writes them: ``0-3,8``."""

from __future__ import annotations

import re
from collections.abc import Iterable

CPUS_MAX = 4096
"""CPUs that a topology holds; higher numbers are left out, and said to be."""
_ENTRY = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?\Z")
_BLANKS = " \t\n\r"


def parse_cpu_list(text: str) -> frozenset[int]:
    """Read a list such as ``0-3,8``; blanks around it are ignored, an empty one is no CPU.

    Numbers from ``CPUS_MAX`` up are left out; ``has_high_cpus`` says whether there were any.

    Raises: ValueError where an entry is neither ``N`` nor ``N-M`` with N at most M.

    Source: Linux, Documentation/admin-guide/kernel-parameters.rst, "cpu lists".
    """
    return frozenset(
        cpu for low, high in _ranges(text) for cpu in range(low, min(high, CPUS_MAX - 1) + 1)
    )


def has_high_cpus(text: str) -> bool:
    """Say whether a list names CPUs from ``CPUS_MAX`` up. Raises: as ``parse_cpu_list``."""
    return any(high >= CPUS_MAX for _, high in _ranges(text))


def _ranges(text: str) -> list[tuple[int, int]]:
    stripped = text.strip(_BLANKS)
    found = []
    for entry in stripped.split(",") if stripped else ():
        match = _ENTRY.match(entry)
        low = int(match[1]) if match else 1
        high = int(match[2] or match[1]) if match else 0
        if low > high:
            raise ValueError(f"cpu list {text[:80]!r}: {entry[:40]!r} is neither N nor N-M")
        found.append((low, high))
    return found


def show_cpu_list(cpus: Iterable[int]) -> str:
    """Write CPUs in the shortest such list; ``""`` for none."""
    parts: list[str] = []
    first = last = -2
    for cpu in sorted(set(cpus)):
        if cpu != last + 1:
            if first >= 0:
                parts.append(_range(first, last))
            first = cpu
        last = cpu
    if first >= 0:
        parts.append(_range(first, last))
    return ",".join(parts)


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
