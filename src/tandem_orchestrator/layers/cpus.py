"""A thread that moves to the CPUs its next attempt wishes for, and back.

The C layer's threads do the same (``native/src/worker/cpus.c``). It is a wish: where the system
refuses, the thread goes on where it is.
"""

from __future__ import annotations

import os
from functools import lru_cache

from tandem_orchestrator.model.cpu_lists import parse_cpu_list

MASK_CPUS_MAX = 1024
"""CPUs that fit into the mask of a frame; a wish for higher ones alone is none."""


class ThreadCpus:
    """Where one thread runs; made by that thread, and used by it alone.

    Args:
        base: Where it runs when nothing is wished, as ``0-3,8``; empty: where it was made.
    """

    def __init__(self, base: str = "") -> None:
        self._can_move = hasattr(os, "sched_setaffinity")
        self._own = os.sched_getaffinity(0) if self._can_move else set[int]()
        self._base = base
        self._now = ""
        self.refused = 0
        """Wishes that the system did not grant."""

    def follow(self, cpus: str) -> None:
        """Move to these CPUs, given as ``0-3,8``; empty: to the base."""
        wanted = cpus or self._base
        if wanted == self._now or not self._can_move:
            return
        try:
            # On Linux 0 means the calling thread, not its process.
            os.sched_setaffinity(0, parse_cpu_list(wanted) if wanted else self._own)
        except (OSError, ValueError):
            self.refused += 1
            os.sched_setaffinity(0, self._own)
            wanted = ""
        self._now = wanted


@lru_cache(maxsize=256)
def cpu_mask(cpus: str) -> bytes | None:
    """Write a list of CPUs as a frame carries it: a bit each, CPU 0 first; None for no wish.

    Raises: ValueError if ``cpus`` is no list of CPUs.
    """
    bits = sum(1 << cpu for cpu in parse_cpu_list(cpus) if cpu < MASK_CPUS_MAX)
    if not bits:
        return None
    eights = -(-bits.bit_length() // 64)
    return bits.to_bytes(8 * eights, "little")
