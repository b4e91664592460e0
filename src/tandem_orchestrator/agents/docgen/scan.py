"""The action ``docgen.scan_codebase`` in Python: list a tree with sizes, lines and digests.

The rules are in ``docs/scan.md``; the C twin is ``native/agents/docgen_scan.c``. Both give
the same bytes on the same tree: nothing here depends on time, locale or the order in which
a file system lists its entries.
"""

from __future__ import annotations

from typing import Protocol

from tandem_orchestrator.agents.docgen.scan_file import FileFacts
from tandem_orchestrator.agents.docgen.scan_request import (
    SHOWN_PATH_BYTES_MAX,
    ScanRequest,
    read_request,
    shown,
)
from tandem_orchestrator.agents.docgen.scan_walk import Walk

_Entry = dict[str, str | int | bytes]


class ScanContext(Protocol):
    """What a scan needs of the context of its step."""

    def cancelled(self) -> bool:
        """Tell whether to stop."""

    def progress(self, done: int, total: int) -> None:
        """Hear how many entries were seen; ``total`` is 0 until the end is known."""


class ScanCancelled(RuntimeError):
    """The scan was asked to stop, and did."""


def scan_codebase(payload: object, ctx: ScanContext | None = None) -> dict[str, object]:
    """List the files of a tree, sorted by the bytes of their paths.

    Blocks; run it in a thread. Memory grows with the number of files, not with their sizes.

    Args:
        payload: A dict with the fields of `ScanRequest`; only ``path`` is required.
        ctx: Asked ``cancelled()`` every 64 entries and every MiB; told ``progress``.

    Returns: ``{"errors": [{path, error}], "files": [{bytes, lines, path, sha256}], "root",
        "totals": {bytes, directories, errors, files, ignored, lines, symlinks}}``, where an
        entry has ``path_raw`` too if its path is not UTF-8, and the keys are in byte order.

    Raises:
        TypeError, ValueError: The payload is wrong.
        FileNotFoundError, NotADirectoryError, PermissionError, OSError: The root cannot be read.
        ScanLimit: More than ``max_files`` files and errors.
        ScanCancelled: ``ctx.cancelled()`` said so.
    """
    request = read_request(payload)

    def poll(entries: int) -> None:
        if ctx is not None:
            if ctx.cancelled():
                raise ScanCancelled(f"stopped after {entries} entries")
            ctx.progress(entries, 0)

    walk = Walk(request, poll)
    root = f"path='{shown(request.path, SHOWN_PATH_BYTES_MAX)}'"
    try:
        walk.run()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{root}: there is no such directory") from error
    except NotADirectoryError as error:
        raise NotADirectoryError(f"{root}: is not a directory") from error
    except PermissionError as error:
        raise PermissionError(f"{root}: no permission to read it") from error
    except OSError as error:
        raise OSError(f"{root}: {error.strerror}") from error
    return _output(request, walk)


def _output(request: ScanRequest, walk: Walk) -> dict[str, object]:
    walk.files.sort(key=lambda found: found[0])
    walk.errors.sort()
    totals = {
        "bytes": sum(facts.size_bytes for _, facts in walk.files),
        "directories": walk.directories,
        "errors": len(walk.errors),
        "files": len(walk.files),
        "ignored": walk.ignored,
    }
    if request.lines:
        totals["lines"] = sum(facts.lines or 0 for _, facts in walk.files)
    totals["symlinks"] = walk.symlinks
    output: dict[str, object] = {
        "errors": [{"error": error, **_shown_path(path)} for path, error in walk.errors],
        "files": [_file_entry(path, facts) for path, facts in walk.files],
        "root": request.path,
    }
    if request.path_raw is not None:
        output["root_raw"] = request.path_raw
    output["totals"] = totals
    return output


def _file_entry(path: bytes, facts: FileFacts) -> _Entry:
    entry: _Entry = {"bytes": facts.size_bytes}
    if facts.lines is not None:
        entry["lines"] = facts.lines
    entry.update(_shown_path(path))
    if facts.sha256 is not None:
        entry["sha256"] = facts.sha256
    return entry


def _shown_path(path: bytes) -> _Entry:
    """Return ``path`` as text and, where that loses something, its bytes."""
    try:
        return {"path": path.decode()}
    except UnicodeDecodeError:
        return {"path": path.decode("utf-8", "replace"), "path_raw": path}
