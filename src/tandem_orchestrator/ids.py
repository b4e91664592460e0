"""Ids that sort by the time they were made, from a source that is passed in."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: no i, l, o, u; sorts like the number."""


_FETCHED_BYTES = 1_000
"""Random bytes fetched from the system at one time."""
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)


def _base32(number: int, chars: int) -> str:
    return "".join(_PAIRS[(number >> shift) & 1023] for shift in range((chars - 2) * 5, -1, -10))


class _Randomness:
    """Random bits of the system, fetched for many ids at once: each fetch lets other threads in."""

    def __init__(self) -> None:
        self._pid, self._rest = 0, b""

    def bits(self, count: int) -> int:
        """Give an int of ``count`` bits; a forked child never gives those of its parent."""
        size = (count + 7) // 8
        if len(self._rest) < size or os.getpid() != self._pid:
            self._pid, self._rest = os.getpid(), os.urandom(_FETCHED_BYTES)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return int.from_bytes(taken, "big") >> (size * 8 - count)


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
        self._random_bits = random_bits or _Randomness().bits
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
