"""Read one source file of a scanned tree: bounded, without following links or waiting."""

from __future__ import annotations

import io
import os
import stat
import tokenize

SOURCE_BYTES_MAX = 4 * 1024 * 1024
"""Larger files are reported and not parsed: they are generated or data."""

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


class Unreadable(Exception):
    """One file cannot be analysed; the argument is a sentence that says why."""


def read_source(root: bytes, path: bytes) -> bytes:
    """Give a file's bytes.

    Args:
        root: The scanned directory.
        path: Relative to it; one that leads out of it is refused.

    Raises: Unreadable.
    """
    parts = path.split(b"/")
    if path.startswith(b"/") or b".." in parts or b"\0" in path:
        raise Unreadable("the path leads out of the scanned directory")
    try:
        descriptor = _open_beneath(root, parts)
    except OSError as error:
        raise Unreadable(f"cannot be opened: {error.strerror}") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Unreadable("is no longer a regular file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > SOURCE_BYTES_MAX:
            raise Unreadable(
                f"has {status.st_size} bytes, more than {SOURCE_BYTES_MAX}: not parsed"
            )
        try:
            data = file.read(SOURCE_BYTES_MAX + 1)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
    if len(data) > SOURCE_BYTES_MAX:
        raise Unreadable(f"grew beyond {SOURCE_BYTES_MAX} bytes while it was read: not parsed")
    return data


def _open_beneath(root: bytes, parts: list[bytes]) -> int:
    """Open a file component by component, so that no link on the way is followed."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FLAGS | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FLAGS, dir_fd=folder)
    finally:
        os.close(folder)


def decode_python(data: bytes) -> str:
    """Decode Python source as PEP 263 says: a byte order mark, a declaration, or UTF-8.

    Raises: Unreadable if the encoding is unknown or the bytes are not in it.
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise Unreadable(f"cannot be decoded: {' '.join(str(error).split())}") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
