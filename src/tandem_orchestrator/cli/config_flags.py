"""``tandem config --cflags | --libs | --bridge``: what it takes to build and serve an agent in C."""

from __future__ import annotations

import importlib.resources
import os
import shlex
from pathlib import Path

from tandem_orchestrator import LayerUnavailable
from tandem_orchestrator.cli.exits import Exit

_PACKAGE = "tandem_orchestrator._native"


def config_flags(
    *, cflags: bool, libs: bool, bridge: bool = False, package: str = _PACKAGE
) -> Exit:
    """Print the flags on one line, quoted for a shell.

    Args:
        cflags: The folder of the headers.
        libs: ``libtandem_agent`` and what it needs; plug-ins do without.
        bridge: The program ``agent_bridge``, to start one by hand.
        package: The package that holds the native files; another one in tests.

    Raises: LayerUnavailable when the native files are not installed.
    """
    flags: list[str] = []
    if cflags:
        header = _file(package, "include", "tandem", "agent.h")
        flags.append(f"-I{header.parent.parent}")
    if libs:
        flags += [str(_file(package, "lib", "libtandem_agent.a")), "-pthread"]
    if bridge:
        flags.append(str(_file(package, "bin", "agent_bridge")))
    print(shlex.join(flags))
    return Exit.DONE


def _file(package: str, *parts: str) -> Path:
    """Resolve one file; each by itself, since editable installs keep them in several folders."""
    try:
        entry = importlib.resources.files(package)
        for part in parts:
            entry = entry.joinpath(part)
    except ModuleNotFoundError as error:
        raise LayerUnavailable(f"installed without the C layer: {error}") from error
    if not isinstance(entry, os.PathLike):
        raise LayerUnavailable(f"{entry} lies inside an archive; a compiler needs a real file")
    path = Path(entry)
    if not path.is_file():
        raise LayerUnavailable(f"installed without the C layer: no file {path}")
    return path
