"""Open one file of a tree without ever waiting, and read its lines and SHA-256.

A name may change its meaning between the listing and the opening. So nothing is opened that
the listing did not call a regular file, the opening neither follows links nor blocks, and
what was opened is asked again what it is.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

READ_BYTES = 1 << 20
"""Bytes read at a time."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC

_ODD_KINDS = {
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFBLK: "block_device",
    stat.S_IFCHR: "char_device",
}
_ERRNO_NAMES = {
    errno.EACCES: "no_permission",
    errno.EPERM: "no_permission",
    errno.ENOENT: "vanished",
    errno.ESTALE: "vanished",
    errno.ELOOP: "changed",  # O_NOFOLLOW: it has become a symbolic link
    errno.ENOTDIR: "changed",  # O_DIRECTORY: it has become something else
    errno.ENXIO: "changed",  # it has become a socket
}

ERRORS = (
    "block_device",
    "changed",
    "char_device",
    "fifo",
    "ignore_too_large",
    "ignore_unreadable",
    "io_error",
    "no_permission",
    "socket",
    "too_large",
    "vanished",
)
"""Every name an entry of ``errors`` can bear."""


class Unscannable(Exception):
    """One entry cannot be listed; ``error`` is one of `ERRORS`."""

    def __init__(self, error: str) -> None:
        """Remember the name."""
        super().__init__(error)
        self.error = error


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a scan says about one file."""

    size_bytes: int
    """What ``stat`` said before and after reading."""
    lines: int | None
    """Newlines, plus one for a last line without; None if not asked."""
    sha256: str | None
    """64 hexadecimal digits; None if not asked."""


def error_name(error: OSError) -> str:
    """Return the name, out of `ERRORS`, of a failed system call."""
    return _ERRNO_NAMES.get(error.errno or 0, "io_error")


def odd_kind(mode: int) -> str:
    """Return the name, out of `ERRORS`, of something that is not a file, directory or link."""
    return _ODD_KINDS.get(stat.S_IFMT(mode), "changed")


def check_regular(found: os.stat_result, bytes_max: int | None) -> None:
    """Raise Unscannable unless ``found`` is a regular file of at most ``bytes_max`` bytes."""
    if not stat.S_ISREG(found.st_mode):
        raise Unscannable(odd_kind(found.st_mode))
    if bytes_max is not None and found.st_size > bytes_max:
        raise Unscannable("too_large")


def read_file(
    dir_fd: int,
    name: bytes,
    *,
    lines: bool,
    sha256: bool,
    bytes_max: int | None,
    poll: Callable[[int], None],
) -> FileFacts:
    """Read one file in constant memory.

    Args:
        dir_fd: The directory that holds it.
        name: Its name there.
        lines: Count lines.
        sha256: Digest the content.
        bytes_max: Refuse to read more than this; None is no limit.
        poll: Told the bytes of every read; may raise to stop.

    Raises: Unscannable if it is not a regular file, too large, not readable, gone, or changed
        while it was read (its size, its time of modification, or fewer bytes than promised).
    """
    try:
        fd = os.open(name, _FLAGS, dir_fd=dir_fd)
    except OSError as error:
        raise Unscannable(error_name(error)) from error
    try:
        return _read_open_file(fd, lines=lines, sha256=sha256, bytes_max=bytes_max, poll=poll)
    except OSError as error:
        raise Unscannable(error_name(error)) from error
    finally:
        os.close(fd)


def _read_open_file(
    fd: int, *, lines: bool, sha256: bool, bytes_max: int | None, poll: Callable[[int], None]
) -> FileFacts:
    before = os.fstat(fd)
    check_regular(before, bytes_max)
    digest = hashlib.sha256(usedforsecurity=False) if sha256 else None
    left, newlines, last = before.st_size, 0, b"\n"
    while left:
        chunk = os.read(fd, min(left, READ_BYTES))
        if not chunk:
            raise Unscannable("changed")
        if lines:
            newlines += chunk.count(b"\n")
            last = chunk[-1:]
        if digest is not None:
            digest.update(chunk)
        left -= len(chunk)
        poll(len(chunk))
    after = os.fstat(fd)
    if after.st_nlink == 0:
        raise Unscannable("vanished")
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise Unscannable("changed")
    return FileFacts(
        before.st_size,
        newlines + (last != b"\n") if lines else None,
        digest.hexdigest() if digest is not None else None,
    )
