"""Where the native files are, or one clear line about why they are not.

The native layer is optional (no compiler, not Linux, installed from pure sources), so looking for
it never raises: a user who lacks it gets a degraded layer with a reason, not an import error.
"""

from __future__ import annotations

import importlib
import importlib.resources
import os
import sys
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = "tandem_orchestrator._native"


@dataclass(frozen=True, slots=True)
class NativeFiles:
    """What was found of the native layer."""

    bridge_path: str
    """Absolute path of ``agent_bridge``; empty when it is missing."""
    reason: str
    """Why the layer cannot be used, in one line; empty when it can."""

    @property
    def usable(self) -> bool:
        """Whether both the extension and the bridge are there."""
        return not self.reason


def find_native_files(
    *, package: str = _PACKAGE, platform: str = sys.platform, bits: int = sys.maxsize.bit_length()
) -> NativeFiles:
    """Look for the extension and the bridge; never raises.

    Args:
        package: The package that holds them; another one in tests.
        platform: ``sys.platform`` of the machine asked about.
        bits: Bits of ``sys.maxsize``; the wire is 64-bit only (63 here).
    """
    if platform != "linux":
        return NativeFiles("", f"the C layer needs Linux; this is {platform}")
    if bits != 63:
        return NativeFiles("", f"the C layer needs a 64-bit Python; this one has {bits + 1} bits")
    bridge_path, reason = _find_bridge(package)
    if not reason:
        reason = _extension_fault(package)
    return NativeFiles(bridge_path if not reason else "", reason)


def _find_bridge(package: str) -> tuple[str, str]:
    try:
        entry = importlib.resources.files(package).joinpath("bin").joinpath("agent_bridge")
    except ModuleNotFoundError as error:
        return "", f"the native package is missing ({error})"
    if not isinstance(entry, os.PathLike):
        return "", f"agent_bridge lies inside an archive ({entry}); a program needs a real file"
    path = Path(entry).resolve()
    try:
        is_there = path.is_file()
    except OSError as error:  # A folder above it that this user may not look into.
        return "", f"{path} cannot be looked at: {error.strerror}"
    if not is_there:
        return "", f"installed without the C layer: no program {path}"
    if not os.access(path, os.X_OK):
        return "", f"{path} is not executable"
    return str(path), ""


def _extension_fault(package: str) -> str:
    name = f"{package}._ext"
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return f"installed without the C layer: no extension {name} for Python {version}"
    except ImportError as error:
        # A broken or foreign library: the loader's sentence is the only clue there is.
        return f"the extension {name} does not load: {error}".replace("\n", " ")
    return ""
