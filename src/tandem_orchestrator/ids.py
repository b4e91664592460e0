"""Ids that sort by the time they were made, from a source that is passed in."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: no i, l, o, u; sorts like the number."""


def _base32(number: int, chars: int) -> str:
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range((chars - 1) * 5, -1, -5))


class Ids:
    """Make ids of 26 characters: 48 bits of milliseconds, then 80 random bits.

    Ids made in one millisecond by one source still sort in the order they were made: the random
    part is then counted up, as in the ULID specification.

    Args:
        wall_ns: Source of the time in nanoseconds since the epoch.
        random_bits: Source of randomness; ``random_bits(n)`` gives an int of n bits.
    """

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        random_bits: Callable[[int], int] | None = None,
    ) -> None:
        self._wall_ns = wall_ns
        self._random_bits = random_bits or random.SystemRandom().getrandbits
        self._last_ms = -1
        self._last_tail = 0
        self._pid = os.getpid()

    def make(self) -> str:
        """Make the next id: 26 lower-case characters, unique and sortable."""
        if (pid := os.getpid()) != self._pid:
            self._pid, self._last_ms = pid, -1
        now_ms = max(self._wall_ns() // 1_000_000, self._last_ms)
        if now_ms == self._last_ms:
            self._last_tail += 1
            if self._last_tail >> 80:
                now_ms, self._last_tail = now_ms + 1, self._random_bits(79)
        else:
            self._last_tail = self._random_bits(79)
        self._last_ms = now_ms
        return _base32(now_ms, 10) + _base32(self._last_tail, 16)
