"""The tests' side of ``native/faults/failing_calls.c``: say which call fails, read what was called.

One file, mapped here and in the process under test. A *case* names a class of calls, the first one
that fails, how many fail from there, and with which ``errno``; 0 lets a write do half of its work.
"""

from __future__ import annotations

import errno
import mmap
import os
import struct
from dataclasses import dataclass
from pathlib import Path

CLASSES = (
    "write", "read", "fsync", "open", "mmap", "fork", "malloc", "ftruncate", "memfd", "socket",
    "send", "receive", "pipe", "epoll", "thread", "lock", "rename",
)  # fmt: skip
"""In the order of ``enum class``."""
ERRNOS = {
    "write": errno.ENOSPC, "read": errno.EIO, "fsync": errno.EIO, "open": errno.EMFILE,
    "mmap": errno.ENOMEM, "fork": errno.EAGAIN, "malloc": errno.ENOMEM,
    "ftruncate": errno.ENOSPC, "memfd": errno.EMFILE, "socket": errno.EMFILE,
    "send": errno.ENOBUFS, "receive": errno.ENOMEM, "pipe": errno.EMFILE, "epoll": errno.ENOSPC,
    "thread": errno.EAGAIN, "lock": errno.ENOLCK, "rename": errno.EACCES,
}  # fmt: skip
"""What a system says that has no more of it."""
FROM_THEN_ON = 1 << 62
_HEAD = struct.Struct("<8Q")
_COUNTS = struct.Struct("<32Q")
_MODULE, _SCOPE, _BYTES = _HEAD.size + _COUNTS.size, _HEAD.size + _COUNTS.size + 128, 704


@dataclass(frozen=True)
class Case:
    """One call, or all from one on, that fails."""

    kind: str
    first: int
    times: int = 1
    errno: int = -1
    """-1: as ``ERRNOS`` says; 0: half a write."""

    def __str__(self) -> str:
        number = ERRNOS[self.kind] if self.errno < 0 else self.errno
        name = errno.errorcode[number] if number else "half"
        return f"{self.kind} {self.first}{'+' if self.times > 1 else ''} {name}"


def cases_of(counts: dict[str, int], kinds: tuple[str, ...] = CLASSES) -> list[Case]:
    """List each call that a run without faults made, failing alone and from there on."""
    found = []
    for kind in kinds:
        for first in range(1, counts[kind] + 1):
            # A lock that is never to be had is waited for; one that cannot be is an error.
            never = errno.EIO if kind == "lock" else -1
            found += [Case(kind, first), Case(kind, first, FROM_THEN_ON, never)]
            if kind == "write":
                found.append(Case(kind, first, errno=0))
    return found


class Control:
    """The mapped file. ``scope``: parts of paths of modules whose calls count; none: all of them."""

    def __init__(self, path: Path, *scope: str) -> None:
        self.path = path
        path.write_bytes(bytes(_SCOPE) + ":".join(scope).encode().ljust(_BYTES - _SCOPE, b"\0"))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _BYTES)

    @classmethod
    def here(cls) -> Control:
        """Open the file of the process that calls this, which is the one under test."""
        made = cls.__new__(cls)
        made.path = Path(os.environ["TD_FAILING_CALLS"])
        with made.path.open("r+b") as file:
            made._map = mmap.mmap(file.fileno(), _BYTES)
        return made

    def environment(self, shim: Path) -> dict[str, str]:
        """Give the variables with which the process under test starts."""
        return {"LD_PRELOAD": str(shim), "TD_FAILING_CALLS": str(self.path)}

    def arm(self, case: Case | None = None) -> None:
        """Count from now on, from zero, and let the case fail."""
        self.disarm()
        case = case or Case("write", FROM_THEN_ON)
        number = ERRNOS[case.kind] if case.errno < 0 else case.errno
        self._map[_HEAD.size : _MODULE] = bytes(_COUNTS.size)
        self._put(2, CLASSES.index(case.kind), case.first, case.times, number, 0, 0)
        self._put(1, 1)

    def disarm(self) -> None:
        """Let every call through."""
        self._put(1, 0)

    @property
    def counts(self) -> dict[str, int]:
        """Calls by class since the last ``arm``."""
        numbers = _COUNTS.unpack_from(self._map, _HEAD.size)
        return dict(zip(CLASSES, numbers, strict=False))

    @property
    def failed(self) -> int:
        """How many calls were made to fail since then."""
        return int(_HEAD.unpack_from(self._map)[6])

    @property
    def pid(self) -> int:
        """The process under test; 0 before it has begun."""
        return int(_HEAD.unpack_from(self._map)[0])

    @property
    def where(self) -> str:
        """The module and offset of the last call that failed, for ``addr2line -fe``."""
        module = bytes(self._map[_MODULE:_SCOPE]).split(b"\0")[0].decode()
        return f"{module} {_HEAD.unpack_from(self._map)[7]:#x}"

    def close(self) -> None:
        """Unmap it."""
        self._map.close()

    def _put(self, at: int, *numbers: int) -> None:
        struct.pack_into(f"<{len(numbers)}Q", self._map, 8 * at, *numbers)
