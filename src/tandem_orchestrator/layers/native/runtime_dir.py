"""The directory of sockets: private, ours, and checked every time.

Whoever can write here can offer a false bridge, and whoever can read here can connect to ours, so
owner and mode are conditions, not wishes. What is wrong is refused, never repaired: a directory
with a foreign owner or a wide mode was not made by us.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tandem_orchestrator.errors import LayerUnavailable

LOCK_NAME = "agent_bridge.lock"
"""What a living bridge holds by flock, in the directory of its socket."""
SWEEP_AGE_S = 60.0
"""Seconds after which a directory without a living bridge is a leftover."""


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


def bridge_socket_path(runtime_dir: Path, name: str) -> Path:
    """Name the socket of one bridge, in a directory of its own that the bridge makes and holds.

    It may be longer than a socket address: both ends go through the directory's descriptor then.
    """
    return runtime_dir / name / "bridge.sock"


def clear_bridge_dir(directory: Path) -> bool:
    """Remove what a dead bridge left: its socket, its lock, its directory.

    Only under the lock that a living bridge would hold, so a false call does no harm.

    Returns: Whether the directory is gone.
    """
    lock = directory / LOCK_NAME
    with contextlib.ExitStack() as held:
        try:
            fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            held.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in directory.glob("*.sock"):
                left.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
        except BlockingIOError:
            return False  # held: its bridge lives
        except OSError:
            pass  # no lock, or not ours to open; what is not empty stays
        try:
            directory.rmdir()
        except OSError:
            return not directory.exists()
    return True


def sweep_runtime_dir(runtime_dir: Path, *, now_s: float) -> None:
    """Clear the directories of bridges that were killed together with their program.

    Args:
        runtime_dir: The directory that holds them.
        now_s: Wall clock in seconds; a directory younger than ``SWEEP_AGE_S`` may belong to a
            bridge that is just starting, and is left alone.
    """
    try:
        directories = list(runtime_dir.iterdir())
    except OSError:
        return  # what is left is swept by the next program; whoever needs the directory says why
    for directory in directories:
        with contextlib.suppress(OSError):  # gone meanwhile: somebody else swept
            found = directory.lstat()
            if stat.S_ISDIR(found.st_mode) and now_s - found.st_mtime >= SWEEP_AGE_S:
                clear_bridge_dir(directory)


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
