"""A shared object, kept as it was when it was named: a sealed copy, its digest and its exports.

The path is resolved once and opened without following a link; what is hashed, looked through and
later loaded by a host is the copy, which nobody can change any more. A library that is built again
counts from the next start of the program.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
import re
import stat
import weakref
from dataclasses import dataclass
from pathlib import Path

from tandem_orchestrator.errors import TwinError
from tandem_orchestrator.layers.libraries.elf import BadElf, ExportedNames
from tandem_orchestrator.layers.libraries.signature import (
    BadSignature,
    Signature,
    parse_signature,
)
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.effects import Effects

BYTES_MAX = 256 * 2**20
"""Of one library."""
_PIECE_BYTES = 1 << 20
_MFD_EXEC = 0x10
"""From Linux 6.3 on; ``os`` does not name it before Python 3.13."""

_C_TYPES = {
    "int": "i32", "int32_t": "i32", "unsigned": "u32", "uint32_t": "u32",
    "long": "i64", "int64_t": "i64", "ssize_t": "i64", "size_t": "u64", "uint64_t": "u64",
    "float": "f32", "double": "f64", "_Bool": "bool",
}  # fmt: skip
"""What people write who have the header open, and what a signature calls it."""
_C_POINTERS = {
    "char": "str", "uint8_t": "bytes", "int": "buf<i32>", "int32_t": "buf<i32>",
    "float": "buf<f32>", "double": "buf<f64>",
}  # fmt: skip


class Library:
    """A sealed copy of a shared object; made by ``open_library``.

    Attributes:
        path: Where it came from, resolved.
        sha256: Digest of the copy, 64 hex digits.
        fd: The copy; -1 where the system has no memfd (then it has no C layer either).
        functions, others: What it exports.
    """

    def __init__(self, path: Path, sha256: str, fd: int, exports: ExportedNames) -> None:
        self.path, self.sha256, self.fd = path, sha256, fd
        self.functions = frozenset(exports.functions)
        self.others = frozenset(exports.others)
        if fd >= 0:
            weakref.finalize(self, os.close, fd)

    def __repr__(self) -> str:
        return f"<library {self.path} {self.sha256[:12]}>"


@dataclass(frozen=True, slots=True)
class LibraryTwin:
    """One function of a library as an implementation of an action."""

    name: str
    """Of the implementation: ``c``, or any other."""
    library: Library
    symbol: str
    signature: Signature | None
    """None: the function is ``td_status fn(td_call *)``."""

    @property
    def source(self) -> str:
        """Say for people where it comes from."""
        return f"{self.library.path}:{self.symbol} sha256:{self.library.sha256[:12]}"


@dataclass(frozen=True, slots=True)
class BoundTwin:
    """A function of a library, and whose implementation it is."""

    agent: str
    action: str
    effects: Effects
    """Of the action."""
    version: str
    """Of the action."""
    twin: LibraryTwin


# By digest: symbols of one library share its copy, and later its host.
_open: weakref.WeakValueDictionary[tuple[Path, str], Library] = weakref.WeakValueDictionary()


def open_library(named: str | os.PathLike[str], folder: str) -> Library:
    """Copy a shared object and read what it exports.

    Args:
        named: Its path, relative to ``folder``.
        folder: Where the calling file lies.

    Raises: TwinError, naming the file and what is wrong with it.
    """
    path = Path(folder, os.fspath(named))
    try:
        path = Path(os.path.realpath(path, strict=True))
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TwinError(f"library {str(path)!r}: {reason}") from error
    try:
        about = os.fstat(source)
        if not stat.S_ISREG(about.st_mode) or not 0 < about.st_size <= BYTES_MAX:
            raise TwinError(f"library {str(path)!r}: must be a file of at most 256 MiB")
        return _taken_in(path, source)
    except OSError as error:
        raise TwinError(f"library {str(path)!r}: {error.strerror}") from error
    finally:
        os.close(source)


def make_twin(
    name: str, library: Library, symbol: object, signature: object, label: str
) -> LibraryTwin:
    """Check a symbol and a signature against a library.

    Args:
        label: ``agent.action``, for messages.

    Raises: TwinError.
    """
    if not isinstance(symbol, str) or not symbol:
        raise TwinError(f"{label}: symbol={symbol!r}, expected the name of a function")
    if symbol in library.others and symbol not in library.functions:
        raise TwinError(f"{label}: {symbol!r} in {library.path} is data, expected a function")
    if symbol not in library.functions:
        near = ", ".join(nearest(symbol, library.functions))
        hint = f"; it has: {near}" if near else "; a static or hidden function is not exported"
        raise TwinError(f"{label}: {library.path} exports no function {symbol!r}{hint}")
    if signature is None:
        return LibraryTwin(name, library, symbol, None)
    if not isinstance(signature, str):
        raise TwinError(f"{label}: signature={signature!r}, expected text as 'f64(f64 w, f64 h)'")
    try:
        return LibraryTwin(name, library, symbol, parse_signature(signature))
    except BadSignature as error:
        meant = _meant(signature, int(str(error).partition(":")[0]))
        raise TwinError(f"{label}: signature {signature!r}: at {error}{meant}") from error


def _meant(signature: str, at: int) -> str:
    """Name the word of ours for a type that is written as in C."""
    found = re.match(r"(?:const\s+)?(\w+)\s*(\*?)", signature[at:], re.ASCII)
    if found is None:
        return ""
    ours = _C_POINTERS.get(found[1], "buf<T>") if found[2] else _C_TYPES.get(found[1])
    return f"; for C's {found[0].strip()!r} say {ours}" if ours else ""


def _taken_in(path: Path, source: int) -> Library:
    copy = _sealed_copy_of(source)
    try:
        with mmap.mmap(source if copy < 0 else copy, 0, prot=mmap.PROT_READ) as data:
            digest = hashlib.sha256(data).hexdigest()
            known = _open.get((path, digest))
            if known is not None:
                _close(copy)
                return known
            exports = ExportedNames(data)
    except BadElf as error:
        _close(copy)
        raise TwinError(f"library {str(path)!r}: {error}") from error
    except BaseException:
        _close(copy)
        raise
    _open[path, digest] = library = Library(path, digest, copy, exports)
    return library


def _close(copy: int) -> None:
    if copy >= 0:
        os.close(copy)


def _sealed_copy_of(source: int) -> int:
    """Copy a file into a memfd that nobody can change; -1 where there are none."""
    if not hasattr(os, "memfd_create"):
        return -1
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        copy = os.memfd_create("tandem-library", flags | _MFD_EXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:  # before Linux 6.3
            raise
        copy = os.memfd_create("tandem-library", flags)
    try:
        total = 0
        while piece := os.read(source, _PIECE_BYTES):
            total += len(piece)
            if total > BYTES_MAX:
                raise OSError(errno.EFBIG, "it grew beyond 256 MiB while it was read")
            view = memoryview(piece)
            while view:
                view = view[os.write(copy, view) :]
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, seals)
    except BaseException:
        os.close(copy)
        raise
    return copy
