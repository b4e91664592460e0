"""Damage in the write-ahead log, which SQLite takes for its end.

Each frame of the log has a checksum over all frames before it, and a reader stops at the first one
that is wrong: after a crash that is right, since the last commit may be torn. But a bit that flips
in an older commit makes all commits after it unread, without a word. They are still in the file,
with the log's salts, and a torn write leaves one such commit at most: two are damage.

Source: "The WAL file format", sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import apsw

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">4I")
_FRAME_HEAD_BYTES = 24
_MAGIC = 0x377F0682
COMMITS_TORN_MAX = 1
"""Commits that a crash may leave behind the end of the log: the one that was being written."""


def unread_commits(connection: apsw.Connection, path: Path) -> int:
    """Count the commits in the log that its readers do not reach.

    Other processes may write meanwhile. Costs as much as there is behind the end of the log.
    """
    try:
        log = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        while True:
            header = os.pread(log, _HEADER.size, 0)
            if len(header) < _HEADER.size or not any(header):
                return 0
            if not _is_sound(header):
                return COMMITS_TORN_MAX + 1  # 32 bytes are never torn: nothing after them is read
            commits = _commits_after(log, header, _frames_read(connection))
            # What others have committed meanwhile counts as read, where the log is still the same.
            if os.pread(log, _HEADER.size, 0) == header:
                end = _frames_read(connection)
                return sum(frame > end for frame in commits)
    finally:
        os.close(log)


def _frames_read(connection: apsw.Connection) -> int:
    frames, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
    return frames


def _commits_after(log: int, header: bytes, end: int) -> list[int]:
    _, _, page_bytes, _, *salts, _, _ = _HEADER.unpack(header)
    stride, size = page_bytes + _FRAME_HEAD_BYTES, os.fstat(log).st_size
    found = []
    for frame in range(end + 1, (size - _HEADER.size) // stride + 1):
        head = os.pread(log, _FRAME.size, _HEADER.size + (frame - 1) * stride)
        _, pages_after_commit, *own = _FRAME.unpack(head)
        if pages_after_commit and own == salts:
            found.append(frame)
    return found


def _is_sound(header: bytes) -> bool:
    words = _HEADER.unpack(header)
    if words[0] not in (_MAGIC, _MAGIC + 1):
        return False
    order = ">6I" if words[0] & 1 else "<6I"
    first = second = 0
    one_by_one = iter(struct.unpack(order, header[:24]))
    for one, two in zip(one_by_one, one_by_one, strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + two + first) & 0xFFFFFFFF
    return (first, second) == words[6:]
