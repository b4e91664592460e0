"""Output files: parts of events beside the journal, each under the hash of its bytes.

``<journal>.outputs/ab/ab12…`` is a file whose SHA-256 is its name, so the same bytes are there
once, and a changed one is noticed. A file gets its name after it is whole and synced, and its
folder is synced before the record that names it is written. What no record names (its writer was
killed in between, or its runs are gone) is removed by whoever holds the journal's write lock: see
``docs/decisions/outputs-in-files.md`` for why no writer can lose a file to that.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tandem_orchestrator.journal.journal import OutputLost
from tandem_orchestrator.journal.parts import DIGEST_BYTES, Part

GRACE_S = 60.0
"""Seconds for which a file that nobody names is left alone: its record may be on its way. That it
is there when the record is written depends on the lock, not on this."""
_NEW = ".new"
_NEW_TRIES = 3
_COMPARE_BYTES = 2**20
_numbers = itertools.count()


def output_folder(journal: Path) -> Path:
    """Give the folder that holds the large outputs of a journal file."""
    return journal.with_name(journal.name + ".outputs")


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file that is there."""

    path: Path
    digest: bytes | None
    """None where it has no name yet: somebody writes it, or died meanwhile."""
    body_bytes: int
    age_s: float
    """Since it was written, or last found by somebody who needed it."""


class OutputFiles:
    """The files of one journal. Any thread, any process; each call stands alone.

    Args:
        folder: Made, for this user alone, with the first file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path_of(self, digest: bytes) -> Path:
        """Give where the file with this digest is, or would be."""
        name = digest.hex()
        return self.folder / name[:2] / name

    def keep(self, parts: Iterable[Part]) -> None:
        """Have each part in a file, synced with its folder; one that is there is compared.

        Raises: OSError, as on a full disk; nothing half-written has a name then.
        """
        for part in parts:
            path = self.path_of(part.digest)
            self._make_folders(path.parent)
            if self._holds(path, part.body):
                _sync_folder(path.parent)  # whoever gave it its name may not have come to that yet
            else:
                self._write(path, part.body)

    def lacks(self, parts: Iterable[Part]) -> list[Part]:
        """Give those that have no file at this moment."""
        return [part for part in parts if not self._is_there(part)]

    def _is_there(self, part: Part) -> bool:
        try:
            about = self.path_of(part.digest).lstat()
        except FileNotFoundError:
            return False
        return about.st_size == len(part.body)

    def _make_folders(self, shard: Path) -> None:
        for folder in (self.folder, shard):
            if not folder.is_dir():
                folder.mkdir(mode=0o700, exist_ok=True)
            if _is_empty(folder):  # once there is something in it, somebody has synced its name
                _sync_folder(folder.parent)

    def _holds(self, path: Path, body: bytes) -> bool:
        """Tell whether a whole file is there; it counts as new from now on."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            os.utime(descriptor)
            view, at = memoryview(body), 0
            while piece := file.read(_COMPARE_BYTES):
                if piece != view[at : at + len(piece)]:
                    return False  # damaged: it is written anew
                at += len(piece)
            os.fsync(descriptor)
        return at == len(body)

    def _write(self, path: Path, body: bytes) -> None:
        for tries in itertools.count(1):
            fresh = path.with_name(f"{path.name}.{os.getpid()}-{next(_numbers)}{_NEW}")
            try:
                _write_synced(fresh, body)
                fresh.replace(path)
            except FileNotFoundError:
                # Taken for a dead writer's, since this process stood still for longer than that.
                if tries == _NEW_TRIES:
                    raise
                continue
            except BaseException:
                fresh.unlink(missing_ok=True)
                raise
            _sync_folder(path.parent)
            return

    def read(self, digest: bytes, body_bytes: int) -> bytes:
        """Read a file whose bytes are what its name says.

        Raises: OutputLost naming it if it is missing, damaged or unreadable.
        """
        path = self.path_of(digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            with os.fdopen(descriptor, "rb") as file:
                # One more than it should have: nobody makes us read more of a wrong one.
                body = file.read(body_bytes + 1)
        except OSError as error:
            what = "is missing" if error.errno == errno.ENOENT else f"cannot be read: {error}"
            raise OutputLost(path, digest, what) from error
        if len(body) != body_bytes or hashlib.sha256(body).digest() != digest:
            raise OutputLost(path, digest, "was changed or damaged since it was written")
        return body

    def files(self) -> Iterator[OutputFile]:
        """Find all files; none where there is no folder. Raises: OSError."""
        now_s = time.time()
        for shard in _entries(self.folder):
            if not shard.is_dir(follow_symlinks=False):
                continue
            for entry in _entries(Path(shard.path)):
                try:
                    about = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                digest = _digest_of(entry.name)
                if digest is None and not entry.name.endswith(_NEW):
                    continue  # none of ours
                age_s = max(now_s - about.st_mtime, 0.0)
                yield OutputFile(Path(entry.path), digest, about.st_size, age_s)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_empty(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is None


def _digest_of(name: str) -> bytes | None:
    if len(name) != 2 * DIGEST_BYTES:
        return None
    try:
        return bytes.fromhex(name)
    except ValueError:
        return None


def _write_synced(path: Path, body: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
