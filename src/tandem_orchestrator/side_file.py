"""A small file beside the journal: checksummed, replaced as a whole, shared by several processes.

The first line is a header with the file's kind, its version and the SHA-256 of what follows. A
reader sees the file before or after a change, never half of one (written aside, then renamed).
Whoever changes it holds a lock beside it meanwhile. A file that is not what it should be is put
aside under another name and said: what is kept here is evidence that can be gathered again.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

FILE_BYTES_MAX = 64 * 2**20
"""A larger file is none of ours."""
LOCK_TRIES, LOCK_PAUSE_S = 50, 0.002
"""How often, and with which pause in seconds, the lock is asked for."""


class _Header(msgspec.Struct):
    kind: str
    version: int
    sha256: str


class SideFile(Generic[_T]):
    """One file of values of one type.

    Args:
        path: Where it is; None: nothing is kept, and reading gives nothing.
        kind: What it is, as ``tandem costs``; another kind is refused.
        type: What its body is, as msgspec knows types.
    """

    def __init__(self, path: Path | None, kind: str, type: type[_T], version: int = 1) -> None:
        self.path = path
        self._kind, self._version = kind, version
        self._decode = msgspec.json.Decoder(type).decode

    def stamp(self) -> tuple[int, int, int] | None:
        """Give what changes when the file does; None if there is none."""
        if self.path is None:
            return None
        try:
            about = self.path.stat()
        except OSError:
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size

    def read(self) -> _T | None:
        """Read the value; None if there is none. A corrupt file is renamed, and a warning says so."""
        if self.path is None:
            return None
        try:
            if self.path.stat().st_size > FILE_BYTES_MAX:
                raise ValueError(f"larger than {FILE_BYTES_MAX} bytes")
            return self._read(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            _log.warning("%s: cannot be read, so it is ignored: %s", self.path, error)
        except (ValueError, msgspec.MsgspecError) as error:
            self._put_aside(error)
        return None

    def _read(self, data: bytes) -> _T:
        head, _, body = data.partition(b"\n")
        header = msgspec.json.decode(head, type=_Header)
        if (header.kind, header.version) != (self._kind, self._version):
            raise ValueError(
                f"{header.kind} {header.version}, expected {self._kind} {self._version}"
            )
        if hashlib.sha256(body).hexdigest() != header.sha256:
            raise ValueError("its checksum is wrong")
        return self._decode(body)

    def _put_aside(self, error: Exception) -> None:
        assert self.path is not None
        aside = self.path.with_name(f"{self.path.name}.corrupt")
        with suppress(OSError):
            self.path.replace(aside)
        _log.warning("%s: ignored and put aside as %s: %s", self.path, aside.name, error)

    def write(self, value: _T) -> bool:
        """Replace the file; False, with a warning, if that cannot be."""
        if self.path is None:
            return False
        body = msgspec.json.encode(value)
        digest = hashlib.sha256(body).hexdigest()
        head = msgspec.json.encode(_Header(self._kind, self._version, digest))
        fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        try:
            fresh.unlink(missing_ok=True)
            fresh.touch(0o600)
            with fresh.open("wb") as file:
                file.write(head + b"\n" + body)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as error:
            with suppress(OSError):
                fresh.unlink()
            _log.warning("%s: cannot be written: %s", self.path, error)
            return False
        return True

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the file's lock, so that nobody else changes it between a read and a write.

        Gives False, after a warning, where it cannot be had: then nothing should be written.
        """
        lock = self._lock()
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)

    def _lock(self) -> int | None:
        if self.path is None or not self.path.parent.is_dir():
            return None
        try:
            lock = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _log.warning("%s: cannot be locked: %s", self.path, error)
            return None
        for _ in range(LOCK_TRIES):
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            time.sleep(LOCK_PAUSE_S)
        os.close(lock)
        _log.warning("%s: held by another process", self.path)
        return None
