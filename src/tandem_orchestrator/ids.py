"""Ids that sort by the time they were made, from a source that is passed in."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: no i, l, o, u; sorts like the number."""


_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)


def _base32(number: int, chars: int) -> str:
    return "".join(_PAIRS[(number >> shift) & 1023] for shift in range((chars - 2) * 5, -1, -10))


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
        self._head = (-1, "")
        """What the last id began with: time and the upper bits of the tail, and their text."""
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
        tail = self._last_tail
        upper = (now_ms << 60) | (tail >> 20)
        if self._head[0] != upper:
            self._head = (upper, _base32(now_ms, 10) + _base32(tail >> 20, 12))
        return self._head[1] + _PAIRS[(tail >> 10) & 1023] + _PAIRS[tail & 1023]
