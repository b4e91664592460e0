"""Leases: a locked file per owner says that the owner lives, and stops saying so when it dies.

The lock is ``flock``: the kernel drops it with the last descriptor, however the process ends, so
no heart-beat and no clock is involved. The file gets its name only once it is locked, so that
whoever finds an unlocked file has found a dead owner. Works on local file systems.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from pathlib import Path

from tandem_orchestrator.errors import JournalError

_SUFFIX = ".lease"
_NEW_SUFFIX = ".new"
_NEW_AGE_S = 60.0
"""A file that is this old and has no name yet belongs to somebody who died before the lock."""
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")


def lease_folder(journal: Path) -> Path:
    """Give the folder that holds the leases of a journal file."""
    return journal.with_name(journal.name + ".leases")


def is_held(folder: Path, owner: str) -> bool:
    """Tell whether ``owner`` lives. No such file, or an unlocked one: it is dead."""
    if not _ID.fullmatch(owner):
        return False
    return _is_locked(folder / (owner + _SUFFIX))


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Lease:
    """One owner's lock, held from ``take`` to ``give_back`` or to the end of the process."""

    def __init__(self, folder: Path, owner: str) -> None:
        if not _ID.fullmatch(owner):
            raise JournalError(
                f"owner {owner!r}: 1 to 64 letters, digits, '.', '_', '-' are expected"
            )
        self._path = folder / (owner + _SUFFIX)
        self._descriptor: int | None = None

    def take(self) -> None:
        """Lock the owner's file, and clear away those of dead owners.

        Raises: JournalError if the owner holds its lease already; OSError from the file system.
        """
        folder = self._path.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        new = self._path.with_suffix(_NEW_SUFFIX)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(new, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._path.exists():
                raise BlockingIOError
            new.rename(self._path)
        except BlockingIOError as error:
            os.close(descriptor)
            raise JournalError(
                f"owner {self._path.stem} has its lease already; an id is for one opening"
            ) from error
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        try:
            _sweep(folder)
        except OSError:
            self.give_back()  # whoever is refused holds nothing
            raise

    def give_back(self) -> None:
        """Unlock and remove the file. Safe to repeat."""
        if self._descriptor is not None:
            with contextlib.suppress(FileNotFoundError):  # a sweep may not, a person may
                self._path.unlink()
            self.forget()

    def forget(self) -> None:
        """Close our descriptor and no more: in a forked child the lock stays the parent's."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _sweep(folder: Path) -> None:
    for path in folder.iterdir():
        try:
            is_old = time.time() - path.stat().st_mtime > _NEW_AGE_S
            dead = path.suffix == _SUFFIX or (path.suffix == _NEW_SUFFIX and is_old)
            if dead and not _is_locked(path):
                path.unlink()
        except FileNotFoundError:
            continue  # another sweep was quicker
