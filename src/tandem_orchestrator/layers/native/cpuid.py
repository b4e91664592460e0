"""What the processor says about itself, where the kernel is silent: x86 CPUID leaves.

Leaf 0x1A names the kind of core, 0x1F (else 0x0B) the ids that siblings have in common, 4 the
caches. A reader is a function, so that tests answer from a table; the real one reads
``/dev/cpu/N/cpuid``, which needs root and the kernel's cpuid module: the C layer, which can run
the instruction itself, needs neither.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, CPUID; cpuid(4).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Registers = tuple[int, int, int, int]
"""eax, ebx, ecx, edx."""
CpuidReader = Callable[[int, int, int], Registers | None]
"""(cpu, leaf, subleaf) to registers; None where it cannot be asked."""

KIND_CORE = 0x40
KIND_ATOM = 0x20
_LEVELS_MAX = 8
"""Subleaves looked at, of any leaf."""
_TYPE_SMT = 1
_TYPE_INSTRUCTION = 2


@dataclass(frozen=True, slots=True)
class CpuidCache:
    """One data or unified cache of a CPU."""

    level: int
    kib: int
    shift: int
    """CPUs whose APIC ids are equal after a shift by so many bits share it."""


def device_reader(folder: Path = Path("/dev/cpu")) -> CpuidReader:
    """Give a reader of the kernel's CPUID devices; it answers None where they cannot be read."""

    def read(cpu: int, leaf: int, subleaf: int) -> Registers | None:
        try:
            fd = os.open(folder / str(cpu) / "cpuid", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            answer = os.pread(fd, 16, subleaf << 32 | leaf)
        except OSError:
            return None
        finally:
            os.close(fd)
        return struct.unpack("<4I", answer) if len(answer) == 16 else None

    return read


def _ask(read: CpuidReader, cpu: int, leaf: int, subleaf: int) -> Registers | None:
    """Ask for a leaf that the processor has."""
    highest = read(cpu, 0, 0)
    return read(cpu, leaf, subleaf) if highest is not None and highest[0] >= leaf else None


def core_kind(read: CpuidReader, cpu: int) -> int:
    """Give ``KIND_CORE``, ``KIND_ATOM``, or 0 where the processor does not say."""
    answer = _ask(read, cpu, 0x1A, 0)
    kind = answer[0] >> 24 if answer else 0
    return kind if kind in (KIND_CORE, KIND_ATOM) else 0


def apic_and_smt_shift(read: CpuidReader, cpu: int) -> tuple[int, int] | None:
    """Give the APIC id, and by how many bits to shift it for the core's id; None: not said."""
    for leaf in (0x1F, 0x0B):
        for subleaf in range(_LEVELS_MAX):
            answer = _ask(read, cpu, leaf, subleaf)
            if answer is None or answer[2] >> 8 & 0xFF == 0:
                break
            if answer[2] >> 8 & 0xFF == _TYPE_SMT:
                return answer[3], answer[0] & 0x1F
    return None


def caches(read: CpuidReader, cpu: int) -> list[CpuidCache]:
    """Give the data and unified caches of levels 1 to 3 by leaf 4; empty where it is silent."""
    found = []
    for subleaf in range(_LEVELS_MAX):
        answer = _ask(read, cpu, 4, subleaf)
        if answer is None or answer[0] & 0x1F == 0:
            break
        eax, ebx, ecx, _ = answer
        level = eax >> 5 & 7
        if eax & 0x1F != _TYPE_INSTRUCTION and 1 <= level <= 3:
            ways, parts, line = (ebx >> 22) + 1, (ebx >> 12 & 0x3FF) + 1, (ebx & 0xFFF) + 1
            kib = min(ways * parts * line * (ecx + 1) // 1024, 1_000_000_000)
            found.append(CpuidCache(level, kib, (eax >> 14 & 0xFFF).bit_length()))
    return found
