"""The bridge's counters, read from the page that it shows; no round trip (protocol/statistics.md)."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from typing import Any

WORDS = (
    "frames_in", "frames_out", "bytes_in", "bytes_out", "calls", "completions", "failures",
    "refusals", "waited", "doorbells_rung", "doorbells_taken", "rescues", "logs", "logs_dropped",
    "sessions", "agents", "queued", "relayed",
)  # fmt: skip
"""Names of a block's words, by index."""
VERSION = 1
WORDS_MAX, BUCKETS = 32, 64
PAGE_BYTES_MAX = 64 * 1024
"""A larger page is none of ours."""

_HEAD = struct.Struct("<8sIIIIQQQ")
_BLOCK = struct.Struct(f"<{WORDS_MAX + BUCKETS}Q")
_F_GET_SEALS, _SEAL_SHRINK = 1034, 0x0002


class StatisticsPage:
    """One bridge's page, mapped for reading.

    Args:
        fd: As the client gives it; it may be closed afterwards.

    Raises: ValueError if it is no page that this version can read.
    """

    def __init__(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        # Without the seal its owner could cut it short, and a look would kill this process.
        if (
            not fcntl.fcntl(fd, _F_GET_SEALS) & _SEAL_SHRINK
            or not _HEAD.size < size < PAGE_BYTES_MAX
        ):
            raise ValueError(f"statistics: {size} bytes, expected a sealed page")
        self._map = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ)
        magic, version, self._head, self._blocks, self._block, *_ = _HEAD.unpack_from(self._map)
        if magic != b"TANDEMST" or version != VERSION:
            raise ValueError(f"statistics: {magic!r} version {version}, expected {VERSION}")
        if self._block < _BLOCK.size or self._head + self._blocks * self._block > size:
            raise ValueError(f"statistics: {self._blocks} blocks do not fit into {size} bytes")

    def close(self) -> None:
        """Give the mapping back, and the descriptor that it holds; nothing is read after that."""
        self._map.close()

    # Any: numbers, and a list of them.
    def read(self) -> dict[str, Any]:
        """Give every counter by name, ``run_time_ns`` and ``updated_ns``.

        Returns: Counts since the bridge's start; ``sessions``, ``agents``, ``queued`` and
            ``relayed`` are of now. ``run_time_ns`` lists how many calls ran for 2**i ns or more,
            below 2**(i + 1), up to the last one that is not 0.
        """
        sums = [0] * (WORDS_MAX + BUCKETS)
        for block in range(self._blocks):
            row = _BLOCK.unpack_from(self._map, self._head + block * self._block)
            sums = [left + right for left, right in zip(sums, row, strict=True)]
        buckets = sums[WORDS_MAX:]
        while buckets and not buckets[-1]:
            buckets.pop()
        return {
            **dict(zip(WORDS, sums, strict=False)),
            "run_time_ns": buckets,
            "updated_ns": _HEAD.unpack_from(self._map)[-1],
        }
