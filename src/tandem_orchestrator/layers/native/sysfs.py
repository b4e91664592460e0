"""Small kernel files, read with bounds: what is missing, odd or too long is None, never an error.

A sysfs tree may be a container's copy, half of it masked; each fact is asked for alone, and the
caller has a fallback for each. ``native/src/topology/sysfs.c`` keeps the same rules.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from tandem_orchestrator.model.cpu_lists import has_high_cpus, parse_cpu_list

TEXT_BYTES_MAX = 65_536
"""Longer files are taken as unreadable; a list of every second of 4,096 CPUs has 10,000 bytes."""
ENTRIES_MAX = 65_536
"""Names looked at in one folder."""
_NUMBER = re.compile(r"-?[0-9]{1,18}\Z")
BLANKS = " \t\n\r"
"""What may stand around a value."""


def read_text(path: Path) -> str | None:
    """Read a regular file of at most ``TEXT_BYTES_MAX`` bytes without a zero, or give None."""
    try:
        # Non-blocking: a fifo in a made-up tree must not hold us.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        data = b""
        while chunk := os.read(fd, TEXT_BYTES_MAX + 1 - len(data)):
            data += chunk
    except OSError:
        return None
    finally:
        os.close(fd)
    if len(data) > TEXT_BYTES_MAX or b"\0" in data:
        return None
    return os.fsdecode(data)


def read_number(path: Path) -> int | None:
    """Read one whole number of at most 18 digits, or give None."""
    text = (read_text(path) or "").strip(BLANKS)
    return int(text) if _NUMBER.match(text) else None


def read_measure(path: Path) -> int:
    """Read a number in [1, 10⁹], or give 0: not known."""
    number = read_number(path)
    return number if number is not None and 1 <= number <= 1_000_000_000 else 0


def read_cpus(path: Path) -> frozenset[int] | None:
    """Read a list of CPUs, or give None where it is missing or malformed."""
    text = read_text(path)
    if text is None:
        return None
    try:
        return parse_cpu_list(text)
    except ValueError:
        return None


def names_high_cpus(path: Path) -> bool:
    """Say whether a list of CPUs names some that a topology does not hold."""
    try:
        return has_high_cpus(read_text(path) or "")
    except ValueError:
        return False


def read_kib(path: Path) -> int:
    """Read a size such as ``48K``, ``2M`` or ``1G`` in KiB, or give 0: not known."""
    text = (read_text(path) or "").strip(BLANKS)
    factor = {"K": 1, "M": 1024, "G": 1024 * 1024}.get(text[-1:], 0)
    if not factor or not re.match(r"[0-9]{1,9}\Z", text[:-1]):
        return 0
    size = int(text[:-1]) * factor
    return size if size <= 1_000_000_000 else 0


def numbered(folder: Path, prefix: str, *, below: int) -> list[int]:
    """List the N in [0, below) for which ``folder`` has an entry ``prefixN``, ascending."""
    found = set()
    try:
        with os.scandir(folder) as entries:
            for _, entry in zip(range(ENTRIES_MAX), entries, strict=False):
                digits = entry.name.removeprefix(prefix)
                if digits != entry.name and re.match(r"(0|[1-9][0-9]{0,8})\Z", digits):
                    found.add(int(digits))
    except OSError:
        return []
    return sorted(number for number in found if number < below)
