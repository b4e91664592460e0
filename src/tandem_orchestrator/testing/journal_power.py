"""A disk whose power fails: what is on it afterwards, at any moment of a real journal's life.

It is an SQLite VFS that lets everything through and writes down each operation. From that list an
*image* is made for any moment: what was synced by then is there, and of what was written since,
each write is kept, dropped, or torn at sectors, whatever the order (as a disk with a cache does,
after Zheng et al., "Torturing Databases for Fun and Profit", OSDI 2014).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

_numbers = itertools.count(1)
SECTOR_BYTES = 512
"""What a disk writes whole or not at all; half of what SQLite takes for granted on new ones."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that was asked of the disk."""

    kind: str
    """``write | truncate | sync | delete``."""
    name: str
    """The file's name, without its folder."""
    offset: int = 0
    """Of a write; the new size of a truncation. Bytes."""
    data: bytes = field(default=b"", repr=False)


class RecordingDisk:
    """Write down what a journal asks of its disk.

    >>> with RecordingDisk() as disk:
    ...     journal = SqliteJournal(path, vfs=disk.name)
    ...     acknowledged_at = len(disk.operations)
    """

    def __init__(self) -> None:
        self.name = f"tandem-recording-{next(_numbers)}"
        """For ``vfs=``."""
        self.operations: list[Operation] = []
        """In order; its length is a moment."""
        self._vfs = _Vfs(self)

    def __enter__(self) -> RecordingDisk:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._vfs.unregister()


def images(
    operations: Sequence[Operation], moments: Sequence[int], rng: random.Random
) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Make one image for each moment, in the order of time: (moment, file name to its bytes).

    Args:
        moments: Counts of operations that the power lasted for; more than once is fine.
    """
    synced: dict[str, bytearray] = {}
    pending: dict[str, list[Operation]] = {}
    done = 0
    for moment in sorted(moments):
        for operation in operations[done:moment]:
            _take(operation, synced, pending)
        done = moment
        yield moment, _after_the_cut(synced, pending, rng)


def _take(
    operation: Operation, synced: dict[str, bytearray], pending: dict[str, list[Operation]]
) -> None:
    name = operation.name
    if operation.kind == "sync":
        kept = synced.setdefault(name, bytearray())
        for earlier in pending.pop(name, ()):
            _apply(kept, earlier)
    elif operation.kind == "delete":
        # Of a log whose pages are all in the file, and synced there: that it comes back is
        # the case of a cut a moment earlier.
        synced.pop(name, None)
        pending.pop(name, None)
    else:
        pending.setdefault(name, []).append(operation)


def _apply(to: bytearray, operation: Operation) -> None:
    if operation.kind == "truncate":
        if len(to) > operation.offset:
            del to[operation.offset :]
        return
    end = operation.offset + len(operation.data)
    if len(to) < end:
        to.extend(bytes(end - len(to)))
    to[operation.offset : end] = operation.data


def _after_the_cut(
    synced: dict[str, bytearray], pending: dict[str, list[Operation]], rng: random.Random
) -> dict[str, bytes]:
    kept_of = rng.choice((0.0, 0.5, 0.9, 1.0))
    torn_of = rng.choice((0.0, 0.3, 1.0))
    found = {name: bytearray(data) for name, data in synced.items()}
    for name, operations in pending.items():
        if name not in found:
            if rng.random() < 0.2:
                continue  # not even its name is there
            found[name] = bytearray()
        for operation in operations:
            if rng.random() >= kept_of:
                continue
            if operation.kind == "write" and rng.random() < torn_of:
                for piece in _torn(operation, rng):
                    _apply(found[name], piece)
            else:
                _apply(found[name], operation)
    return {name: bytes(data) for name, data in found.items()}


def _torn(operation: Operation, rng: random.Random) -> Iterator[Operation]:
    """Give the sectors of a write that reached the disk."""
    at, end = operation.offset, operation.offset + len(operation.data)
    while at < end:
        until = min(end, (at // SECTOR_BYTES + 1) * SECTOR_BYTES)
        if rng.random() < 0.5:
            first = at - operation.offset
            data = operation.data[first : first + until - at]
            yield Operation("write", operation.name, at, data)
        at = until


class _Vfs(apsw.VFS):
    def __init__(self, disk: RecordingDisk) -> None:
        super().__init__(disk.name, "")
        self._disk = disk

    # Any: apsw's own names for file names and flags.
    def xOpen(self, name: Any, flags: Any) -> apsw.VFSFile:  # noqa: N802 - SQLite's name
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802 - SQLite's name
        super().xDelete(filename, syncdir)
        self._disk.operations.append(Operation("delete", Path(filename).name))


class _File(apsw.VFSFile):
    def __init__(self, disk: RecordingDisk, name: Any, flags: Any) -> None:
        super().__init__("", name, flags)
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk, self._name = disk, Path(path or "temporary").name

    def _note(self, kind: str, offset: int = 0, data: bytes = b"") -> None:
        self._disk.operations.append(Operation(kind, self._name, offset, data))

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        self._note("write", offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802 - SQLite's name
        self._note("truncate", newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802 - SQLite's name
        super().xSync(flags)
        self._note("sync")
