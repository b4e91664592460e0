"""What the program ``agent_bridge`` says of the processor: short questions, asked once each.

It can run the CPUID instruction on each CPU, which Python cannot; the decoding is ``cpuid.py``'s.
"""

from __future__ import annotations

import os
import subprocess
from functools import lru_cache

from tandem_orchestrator.layers.native.binary import find_native_files
from tandem_orchestrator.layers.native.cpuid import CpuidReader, Registers
from tandem_orchestrator.layers.native.environment import child_environment

ANSWER_S = 2.0
"""Seconds for an answer; then there is none."""


def simd_line() -> str:
    """Say which instructions the bridge uses, as ``simd: sse4.2 avx2; crc32c: sse4.2``; or ``""``."""
    return next((line for line in _say("--version").splitlines() if line.startswith("simd:")), "")


def bridge_reader() -> CpuidReader:
    """Give a reader that asks the bridge at its first question; answers None where there is none."""

    def read(cpu: int, leaf: int, subleaf: int) -> Registers | None:
        return _told().get((cpu, leaf, subleaf))

    return read


def cpuid_table(text: str) -> dict[tuple[int, int, int], Registers]:
    """Read lines of seven hexadecimal numbers: cpu, leaf, subleaf, eax, ebx, ecx, edx. Pure."""
    found = {}
    for line in text.splitlines():
        try:
            cpu, leaf, subleaf, eax, ebx, ecx, edx = (int(word, 16) for word in line.split())
        except ValueError:
            continue
        found[cpu, leaf, subleaf] = (eax, ebx, ecx, edx)
    return found


@lru_cache(maxsize=1)
def _told() -> dict[tuple[int, int, int], Registers]:
    return cpuid_table(_say("--cpuid"))


def _say(question: str) -> str:
    files = find_native_files()
    if not files.usable:
        return ""
    try:
        done = subprocess.run(
            [files.bridge_path, question],
            check=False,
            env=child_environment(os.environ),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=ANSWER_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("ascii", "replace") if done.returncode == 0 else ""
