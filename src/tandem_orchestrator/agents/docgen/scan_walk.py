"""Visit every entry of a tree once, by directory descriptors, however deep it is.

No path longer than one name is ever given to the kernel, so trees beyond PATH_MAX are walked
like any other; the stack is a list, so depth costs no recursion; at most `OPEN_DIRS_MAX`
directories are open, the shallowest being closed first and found again through "..", whose
device and inode must then be the old ones. Symbolic links are counted, never followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

from tandem_orchestrator.agents.docgen.scan_file import (
    FileFacts,
    Unscannable,
    check_regular,
    error_name,
    odd_kind,
    read_file,
)
from tandem_orchestrator.agents.docgen.scan_ignore import (
    IGNORE_BYTES_MAX,
    IGNORE_NAME,
    IgnoreRules,
    read_rules,
)
from tandem_orchestrator.agents.docgen.scan_request import ScanRequest

OPEN_DIRS_MAX = 64
"""Directories open at the same time."""
POLL_ENTRIES = 64
"""Entries visited between two looks at the cancel flag, at most."""
POLL_BYTES = 1 << 20
"""Bytes read between two looks, at most (and one read)."""

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IGNORE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class ScanLimit(RuntimeError):
    """The tree has more entries than ``max_files`` allows."""


@dataclass(slots=True)
class _Directory:
    """One directory on the way from the root to where the walk is."""

    fd: int
    device: int
    inode: int
    path_bytes: int
    rules: IgnoreRules | None
    pending: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Walk:
    """One walk over one tree; run it once."""

    request: ScanRequest
    """What to visit."""
    poll: Callable[[int], None]
    """Called with the number of entries seen so far; may raise to stop."""
    files: list[tuple[bytes, FileFacts]] = field(default_factory=list)
    """Found: path below the root, and facts; in no order."""
    errors: list[tuple[bytes, str]] = field(default_factory=list)
    """Found: path below the root, and one of ``ERRORS``; in no order."""
    directories: int = 0
    """Directories listed, the root included."""
    symlinks: int = 0
    """Symbolic links met and not ignored."""
    ignored: int = 0
    """Entries left out by ignore rules; a directory counts once."""
    _entries: int = 0
    _bytes_unpolled: int = 0
    _prefix: bytearray = field(default_factory=bytearray)
    _stack: list[_Directory] = field(default_factory=list)
    _first_open: int = 0

    def run(self) -> None:
        """Visit everything.

        Raises: OSError if the root cannot be opened; ScanLimit; whatever ``poll`` raises.
        """
        root_fd = os.open(self.request.root, _DIR_FLAGS & ~os.O_NOFOLLOW)
        try:
            self._push(root_fd, None)
            while self._stack:
                self._advance()
        finally:
            for directory in self._stack:
                if directory.fd >= 0:
                    os.close(directory.fd)

    def _advance(self) -> None:
        """Enter the next subdirectory of the deepest directory, or leave it."""
        here = self._stack[-1]
        del self._prefix[here.path_bytes :]
        if not here.pending:
            self._pop()
            return
        name = here.pending.pop()
        self._prefix += name
        path = bytes(self._prefix)
        if here.fd < 0:  # it was moved away while we were below it
            self._report(path, "changed")
            return
        try:
            fd = os.open(name, _DIR_FLAGS, dir_fd=here.fd)
        except OSError as error:
            self._report(path, error_name(error))
            return
        self._prefix += b"/"
        self._push(fd, here.rules)

    def _push(self, fd: int, rules: IgnoreRules | None) -> None:
        """Take over ``fd``, visit its entries, and make it the deepest directory."""
        directory = _Directory(fd, 0, 0, len(self._prefix), rules)
        self._stack.append(directory)
        if len(self._stack) - self._first_open > OPEN_DIRS_MAX:
            shallowest = self._stack[self._first_open]
            if shallowest.fd >= 0:
                os.close(shallowest.fd)
                shallowest.fd = -1
            self._first_open += 1
        try:
            found = os.fstat(fd)
            directory.device, directory.inode = found.st_dev, found.st_ino
            self._list(directory)
        except OSError as error:
            self._report(bytes(self._prefix[:-1]) or b".", error_name(error))

    def _pop(self) -> None:
        """Leave the deepest directory; open the one above again if it was closed."""
        done = self._stack.pop()
        top = len(self._stack) - 1
        if 0 <= top < self._first_open:
            self._first_open = top
            if done.fd >= 0:
                self._stack[top].fd = _reopen_parent(done.fd, self._stack[top])
        if done.fd >= 0:
            os.close(done.fd)

    def _list(self, directory: _Directory) -> None:
        base = bytes(self._prefix)
        self.directories += 1
        self._note_entry()
        if self.request.ignore:
            directory.rules = self._read_ignore_file(directory.fd, base, directory.rules)
        with os.scandir(directory.fd) as entries:
            for entry in entries:
                self._visit(directory, base, entry)

    def _visit(self, directory: _Directory, base: bytes, entry: os.DirEntry[str]) -> None:
        # scandir of a descriptor decodes names; fsencode is its exact inverse.
        name = os.fsencode(entry.name)
        request = self.request
        if name == b".git" or (name[:1] == b"." and not request.hidden):
            return
        self._note_entry()
        path = base + name
        try:
            is_dir = entry.is_dir(follow_symlinks=False)
            is_link = not is_dir and entry.is_symlink()
            if not is_dir and not is_link and not self._has_extension(name):
                return
            rules = directory.rules
            if rules is not None and rules.ignores(path, name, is_dir=is_dir):
                self.ignored += 1
            elif is_dir:
                directory.pending.append(name)
            elif is_link:
                self.symlinks += 1
            else:
                self._add_file(path, self._facts(directory.fd, name, entry))
        except Unscannable as error:
            self._report(path, error.error)
        except OSError as error:
            self._report(path, error_name(error))

    def _has_extension(self, name: bytes) -> bool:
        endings = self.request.extensions
        if endings is None:
            return True
        return any(name.endswith(ending) and len(name) > len(ending) for ending in endings)

    def _facts(self, dir_fd: int, name: bytes, entry: os.DirEntry[str]) -> FileFacts:
        request = self.request
        if not entry.is_file(follow_symlinks=False):
            raise Unscannable(odd_kind(entry.stat(follow_symlinks=False).st_mode))
        if not request.reads:
            found = entry.stat(follow_symlinks=False)
            check_regular(found, request.max_file_bytes)
            return FileFacts(found.st_size, None, None)
        return read_file(
            dir_fd,
            name,
            lines=request.lines,
            sha256=request.hash,
            bytes_max=request.max_file_bytes,
            poll=self._note_bytes,
        )

    def _read_ignore_file(
        self, dir_fd: int, base: bytes, outer: IgnoreRules | None
    ) -> IgnoreRules | None:
        """Return the rules that hold in this directory."""
        try:
            found = os.stat(IGNORE_NAME, dir_fd=dir_fd, follow_symlinks=False)
            if not stat.S_ISREG(found.st_mode):
                return outer  # git does not follow a link here either
            fd = os.open(IGNORE_NAME, _IGNORE_FLAGS, dir_fd=dir_fd)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                self._report(base + IGNORE_NAME, "ignore_unreadable")
            return outer
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return outer
            used = 0 if outer is None else outer.chain_bytes
            data = _read_at_most(fd, IGNORE_BYTES_MAX - used + 1)
        except OSError:
            self._report(base + IGNORE_NAME, "ignore_unreadable")
            return outer
        finally:
            os.close(fd)
        if used + len(data) > IGNORE_BYTES_MAX:
            self._report(base + IGNORE_NAME, "ignore_too_large")
            return outer
        rules = read_rules(data)
        return IgnoreRules(rules, len(base), outer, used + len(data)) if rules else outer

    def _note_entry(self) -> None:
        self._entries += 1
        if self._entries % POLL_ENTRIES == 0:
            self._look()

    def _note_bytes(self, size_bytes: int) -> None:
        self._bytes_unpolled += size_bytes
        if self._bytes_unpolled >= POLL_BYTES:
            self._look()

    def _look(self) -> None:
        self._bytes_unpolled = 0
        self.poll(self._entries)

    def _add_file(self, path: bytes, facts: FileFacts) -> None:
        self.files.append((path, facts))
        self._check_limit()

    def _report(self, path: bytes, error: str) -> None:
        self.errors.append((path, error))
        self._check_limit()

    def _check_limit(self) -> None:
        if len(self.files) + len(self.errors) > self.request.max_files:
            raise ScanLimit(f"more than max_files={self.request.max_files} files and errors")


def _reopen_parent(fd: int, parent: _Directory) -> int:
    """Open ".." of ``fd``; return -1 unless it is still ``parent``."""
    try:
        again = os.open(b"..", _DIR_FLAGS, dir_fd=fd)
    except OSError:
        return -1
    found = os.fstat(again)
    if (found.st_dev, found.st_ino) != (parent.device, parent.inode):
        os.close(again)
        return -1
    return again


def _read_at_most(fd: int, bytes_max: int) -> bytes:
    """Read to the end or to ``bytes_max`` bytes, whichever comes first."""
    chunks: list[bytes] = []
    left = bytes_max
    while left and (chunk := os.read(fd, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)
