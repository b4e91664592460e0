"""A disk that many programs share: each sees it through its own file system, and dies in it.

Files are real (in memory, where the machine has such a place), SQLite is the real one; between the
two stands an SQLite VFS that counts operations. At an operation that the seed picked a program is
killed, the power fails for all, or the disk says that it is broken or full. What a disk holds after
a power cut is ``testing.journal_power``'s business.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
from sim_loop import PROGRAM, Program

from tandem_orchestrator.journal.asking import Job
from tandem_orchestrator.journal.sqlite.writer import Append, Writer
from tandem_orchestrator.testing.journal_power import Operation, images

COMMIT_NS_MAX = 4_000_000
"""A writer's turn begins up to so many virtual nanoseconds after it was wanted."""


class SimDisk:
    """The one disk; ``recorded`` says whether its power can fail."""

    def __init__(self, folder: Path, rng: random.Random, *, recorded: bool) -> None:
        self.folder, self.rng = folder, rng
        self.operations: list[Operation] | None = [] if recorded else None
        self.count = 0
        self.at: dict[int, Callable[[], None]] = {}
        """Called at the operation of this number, before it is done."""
        self.full, self.broken = False, ""
        """Whether there is no room; which operation fails."""

    def meet(self, kind: str, program: Program) -> None:
        """Count one operation; raise where it fails."""
        if program.is_dead:
            raise apsw.IOError("the program is dead")
        self.count += 1
        happens = self.at.pop(self.count, None)
        if happens is not None:
            happens()
            if program.is_dead:
                raise apsw.IOError("the program has just died")
        if self.full and kind == "write":
            raise apsw.FullError("disk full")
        if self.broken == kind:
            raise apsw.IOError("input/output error")

    def note(self, operation: Operation) -> None:
        """Write down what was done."""
        if self.operations is not None:
            self.operations.append(operation)

    def lose_power(self) -> None:
        """Put what a power cut leaves in the place of what was there. No program may be alive."""
        assert self.operations is not None
        ((_, files),) = images(self.operations, [len(self.operations)], self.rng)
        for path in self.folder.iterdir():
            if path.is_file():
                path.unlink()
        self.operations.clear()
        for name, data in sorted(files.items()):
            descriptor = os.open(self.folder / name, os.O_WRONLY | os.O_CREAT, 0o600)
            os.write(descriptor, data)
            os.close(descriptor)
            self.operations += [Operation("write", name, 0, data), Operation("sync", name)]


class SimVfs(apsw.VFS):
    """The disk as one program sees it."""

    def __init__(self, disk: SimDisk, program: Program) -> None:
        self.name = f"sim-{os.getpid()}-{id(program)}-{program.name}"
        self.disk, self.program = disk, program
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        self.disk.meet("open", self.program)
        return _File(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        self.disk.meet("delete", self.program)
        super().xDelete(filename, syncdir)
        self.disk.note(Operation("delete", Path(filename).name))


class _File(apsw.VFSFile):
    def __init__(self, vfs: SimVfs, name: Any, flags: Any) -> None:
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk, self._program, self._name = vfs.disk, vfs.program, Path(path or "temp").name

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.meet("write", self._program)
        super().xWrite(data, offset)
        if self._disk.operations is not None:
            self._disk.note(Operation("write", self._name, offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.meet("truncate", self._program)
        super().xTruncate(newsize)
        self._disk.note(Operation("truncate", self._name, newsize))

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        self._disk.meet("sync", self._program)
        super().xSync(flags)
        self._disk.note(Operation("sync", self._name))


class SimWriter(Writer):
    """The journal's writer without its thread: each turn is a callback of its program."""

    is_early = False
    """A planted bug: whether it acknowledges before it writes."""

    def start(self) -> None:
        """Open the connection in the first turn, as the thread would."""
        self._loop = __import__("asyncio").get_running_loop()
        self._program = PROGRAM.get()
        self._is_due = self._is_closed = False
        self._is_open = False
        self._kick()

    def put(self, item: Append | Job) -> None:
        """Queue an item for a later turn."""
        super().put(item)
        self._kick()

    def stop(self, wait_s: float) -> bool:
        """Do all that is queued now."""
        self._queue.put(None)
        while not self._is_closed:
            self._turn()
        return True

    def _kick(self) -> None:
        if not self._is_due and not self._is_closed:
            self._is_due = True
            delay_ns = self._loop.rng.randrange(COMMIT_NS_MAX)  # type: ignore[attr-defined]
            self._loop.call_later(delay_ns / 1e9, self._turn)

    def _turn(self) -> None:
        self._is_due = False
        if self._is_closed or self._program.is_dead:
            self._is_closed = True
            return
        if not self._is_open:
            self._is_open = True
            self._open()
        if not self._pending and self._queue.empty():
            return
        item = self._next()
        if item is None:
            self._is_closed = True
            self._close()
            return
        self._serve_one(item)
        if self._pending or not self._queue.empty():
            self._kick()

    def _linger(self, batch: list[Append]) -> None:
        """Gather what is there: the turn itself came late."""
        self._gather(batch, wait_until=0.0)

    def _commit(self, first: Append) -> None:
        if self.is_early and self.failure is None and first.durability != "async":
            self._settled([(first.ticket, None)])
            later = self._loop.rng.randrange(400_000_000)  # type: ignore[attr-defined]
            self._loop.call_later(later / 1e9, super()._commit, first)
            return
        super()._commit(first)
