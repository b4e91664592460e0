"""A disk that fails, fills up or stands still on demand, under a real SQLite journal.

It is an SQLite VFS on top of the usual one. Give its name to ``SqliteJournal(path, vfs=…)``.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from types import TracebackType
from typing import Any

import apsw

_numbers = itertools.count(1)
_STALL_MAX_S = 30.0
OPERATIONS = ("write", "sync", "read", "open", "truncate", "size", "lock", "delete")
"""What can fail. (The index of the log is memory, and is not asked for through here.)"""


class FaultyDisk:
    """Make writes and fsyncs of a journal fail from a given moment on.

    >>> with FaultyDisk() as disk:
    ...     journal = SqliteJournal(path, vfs=disk.name)
    ...     disk.fail("sync")
    """

    def __init__(self) -> None:
        self.name = f"tandem-faulty-{next(_numbers)}"
        """For ``vfs=``."""
        self.met: Counter[str] = Counter()
        """How often each of ``OPERATIONS`` was asked for so far."""
        self._operation = ""
        self._is_full = False
        self._left = 0
        self._is_once = False
        self.failures = 0
        """Faults since ``fail``."""
        self._moving = threading.Event()
        self._moving.set()
        self.reached = threading.Event()
        """Set when an fsync has come while the disk stood still."""
        self._vfs = _Vfs(self)

    def fail(
        self, operation: str, *, full: bool = False, after: int = 0, once: bool = False
    ) -> None:
        """Fail one of ``OPERATIONS`` after ``after`` more that succeed, until ``heal``.

        Args:
            full: Fail as a full disk does (ENOSPC), else as a broken one (EIO).
            once: Heal with the first failure.
        """
        if operation not in OPERATIONS:
            raise ValueError(f"operation={operation!r}: one of {', '.join(OPERATIONS)}")
        self._operation, self._is_full, self._left = operation, full, after
        self._is_once = once
        self.failures = 0

    def heal(self) -> None:
        """Work again."""
        self._operation = ""

    def stall(self) -> None:
        """Let the next fsyncs wait until ``go``; ``reached`` tells when one does."""
        self.reached.clear()
        self._moving.clear()

    def go(self) -> None:
        """Let fsyncs through again."""
        self._moving.set()

    def meet(self, operation: str) -> None:
        """Called by the files: raise where a fault is due, wait where the disk stands still."""
        self.met[operation] += 1
        if operation == "sync" and not self._moving.is_set():
            self.reached.set()
            self._moving.wait(_STALL_MAX_S)
        if operation != self._operation:
            return
        if self._left > 0:
            self._left -= 1
            return
        self.failures += 1
        if self._is_once:
            self.heal()
        raise apsw.FullError("disk full") if self._is_full else apsw.IOError("input/output error")

    def __enter__(self) -> FaultyDisk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.go()
        self.heal()
        self._vfs.unregister()


class _Vfs(apsw.VFS):
    def __init__(self, disk: FaultyDisk) -> None:
        super().__init__(disk.name, "")
        self._disk = disk

    # Any: apsw's own names for file names and flags.
    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        self._disk.meet("open")
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        self._disk.meet("delete")
        super().xDelete(filename, syncdir)


class _File(apsw.VFSFile):
    def __init__(self, disk: FaultyDisk, name: Any, flags: Any) -> None:
        super().__init__("", name, flags)
        self._disk = disk

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.meet("write")
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's name
        self._disk.meet("read")
        return super().xRead(amount, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.meet("truncate")
        super().xTruncate(newsize)

    def xFileSize(self) -> int:  # noqa: N802 - SQLite's name
        self._disk.meet("size")
        return super().xFileSize()

    def xLock(self, level: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.meet("lock")
        super().xLock(level)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.meet("sync")
        super().xSync(flags)
