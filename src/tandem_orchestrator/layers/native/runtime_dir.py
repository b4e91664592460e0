"""The directory of sockets: private, ours, and checked every time.

Whoever can write here can offer a false bridge, and whoever can read here can connect to ours, so
owner and mode are conditions, not wishes. What is wrong is refused, never repaired: a directory
with a foreign owner or a wide mode was not made by us.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tandem_orchestrator.errors import LayerUnavailable

SOCKET_PATH_BYTES_MAX = 107
"""Longest socket path: ``sun_path`` holds 108 bytes with the final zero (unix(7))."""


def make_runtime_dir(
    environ: Mapping[str, str] = os.environ, *, temporary: str | None = None
) -> Path:
    """Make (or check) the directory that holds this user's sockets.

    ``$XDG_RUNTIME_DIR/tandem`` where that variable names a directory of ours, else
    ``tandem-<uid>`` in the temporary directory.

    Args:
        environ: The environment to read.
        temporary: The temporary directory; the system's by default.

    Returns: An absolute path, owned by the effective user, mode 0700.

    Raises: LayerUnavailable when it cannot be made, or is not private.
    """
    base = environ.get("XDG_RUNTIME_DIR", "")
    if base and Path(base).is_absolute() and _is_ours(base):
        return _make_private(Path(base) / "tandem")
    return _make_private(Path(temporary or tempfile.gettempdir()) / f"tandem-{os.geteuid()}")


def socket_path(directory: Path, name: str) -> Path:
    """Name a socket in the runtime directory.

    Raises: LayerUnavailable when the path is longer than a socket address can be.
    """
    path = directory / name
    path_bytes = len(os.fsencode(path))
    if path_bytes > SOCKET_PATH_BYTES_MAX:
        raise LayerUnavailable(
            f"socket path {path}: {path_bytes} bytes, at most {SOCKET_PATH_BYTES_MAX};"
            " set XDG_RUNTIME_DIR to a shorter one"
        )
    return path


def _is_ours(path: str) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _make_private(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass  # checked below, whoever made it
    except OSError as error:
        raise LayerUnavailable(f"runtime directory {path}: cannot be made: {error}") from error
    try:
        found = os.lstat(path)  # lstat: a link to somebody's directory is not ours
    except OSError as error:
        raise LayerUnavailable(f"runtime directory {path}: {error}") from error
    if not stat.S_ISDIR(found.st_mode):
        raise LayerUnavailable(f"runtime directory {path}: is not a directory")
    if found.st_uid != os.geteuid():
        raise LayerUnavailable(
            f"runtime directory {path}: owned by uid {found.st_uid}, must be {os.geteuid()}"
        )
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077 or mode & 0o700 != 0o700:
        raise LayerUnavailable(f"runtime directory {path}: mode {mode:04o}, must be 0700")
    return path
