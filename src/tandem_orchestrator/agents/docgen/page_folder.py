"""Write pages into a folder without ever touching what is not ours.

A manifest names every page that was written, with the digests it may have. A page is replaced or
removed only if it still has one of them: one that someone edited is kept, and a file that was
never ours stops the writing before it begins. The manifest is written first, with old and new
digests, so that a writing that was cut off at any point can be taken up by the next one. Each page
is written aside and renamed, so that readers see an old or a new one, never half of one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST_NAME = ".tandem-docs.json"
TEMPORARY_NAME = ".tandem-docs.tmp"
MANIFEST_BYTES_MAX = 64 * 1024 * 1024
SHOWN_MAX = 5


_BEHIND_A_LINK, _NOT_A_FILE, _UNREADABLE = "behind a link", "not a file", "unreadable"
_ODD = (_BEHIND_A_LINK, _NOT_A_FILE, _UNREADABLE)
"""What stands in place of a digest, for what is never replaced or removed."""


class OutputConflict(RuntimeError):
    """The folder holds something that is not ours to replace; nothing was changed."""


class OutputBusy(RuntimeError):
    """Another generation is writing to the same folder; nothing was changed."""


@dataclass(slots=True)
class Written:
    """What a writing did, in numbers of pages."""

    written: int = 0
    unchanged: int = 0
    removed: int = 0
    kept: list[str] = field(default_factory=list)
    """Pages that someone edited and that were left as they are."""


def write_pages(folder: Path, pages: Mapping[str, str], *, overwrite: bool = False) -> Written:
    """Make the pages of a folder be these.

    Args:
        folder: Made if it is not there.
        pages: Relative path (letters, digits, ``._-`` and at most one ``/``) to text.
        overwrite: Replace pages that someone edited, too.

    Raises:
        OutputConflict: It is no folder, or has a foreign file where a page must go.
        OutputBusy: See there.
        OSError: It cannot be written.
    """
    _make_folder(folder)
    with _locked(folder):
        return _write_locked(folder, pages, overwrite)


def _write_locked(folder: Path, pages: Mapping[str, str], overwrite: bool) -> Written:
    old = _read_manifest(folder)
    bodies = {name: text.encode() for name, text in pages.items()}
    new = {name: hashlib.sha256(body).hexdigest() for name, body in bodies.items()}
    present = {name: _digest(folder / name) for name in sorted({*old, *new})}
    foreign = [
        name
        for name in sorted(new)
        if present[name] in _ODD or (name not in old and present[name] not in (None, new[name]))
    ]
    if foreign:
        more = f" and {len(foreign) - SHOWN_MAX} more" if len(foreign) > SHOWN_MAX else ""
        raise OutputConflict(
            f"output='{folder}': {', '.join(foreign[:SHOWN_MAX])}{more} would be overwritten and "
            "were not written by docgen; move them away or choose another folder"
        )
    for inner in sorted({name.rpartition("/")[0] for name in new} - {""}):
        _make_folder(folder / inner)

    result = Written()
    kept = [
        name
        for name in sorted(old)
        if not overwrite and present[name] not in (None, new.get(name), *old[name])
    ]
    result.kept = [name for name in kept if name in new]
    held = {name: [*old.get(name, []), digest] for name, digest in new.items()}
    held.update({name: digests for name, digests in old.items() if name not in new})
    temporary = folder / TEMPORARY_NAME
    _remove_own_tree(temporary)
    temporary.mkdir(mode=0o755)
    try:
        _write_manifest(folder, temporary, {name: sorted(set(held[name])) for name in held})
        for name, body in bodies.items():
            if present[name] == new[name]:
                result.unchanged += 1
            elif name not in kept:
                _replace(folder / name, temporary, body)
                result.written += 1
        for name in sorted(old.keys() - new.keys()):
            if name not in kept and present[name] not in (None, *_ODD):
                (folder / name).unlink(missing_ok=True)
                result.removed += 1
        _write_manifest(
            folder,
            temporary,
            # An edited page keeps the digest it had, so that it is still known as edited.
            {n: old[n] if n in kept else [d] for n, d in new.items()},
        )
    finally:
        _remove_own_tree(temporary)
    return result


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise OutputConflict(f"output='{folder}': is not a directory") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OutputBusy(f"output='{folder}': another generation is writing there") from error
        yield
    finally:
        os.close(descriptor)


def _read_manifest(folder: Path) -> dict[str, list[str]]:
    path = folder / MANIFEST_NAME
    try:
        status = path.lstat()
    except FileNotFoundError:
        return {}
    wrong = OutputConflict(f"output='{folder}': {MANIFEST_NAME} was not written by docgen")
    if not stat.S_ISREG(status.st_mode) or status.st_size > MANIFEST_BYTES_MAX:
        raise wrong
    try:
        pages = json.loads(path.read_bytes())["pages"]
        checked = {
            _checked_name(name): [str(d) for d in digests] for name, digests in pages.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise wrong from error
    return checked


def _checked_name(name: str) -> str:
    """Refuse a page name that could lead out of the folder."""
    parts = name.split("/")
    if len(parts) > 2 or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"page {name!r}")
    return name


def _write_manifest(folder: Path, temporary: Path, pages: Mapping[str, list[str]]) -> None:
    text = json.dumps({"made_by": "tandem docgen", "pages": pages}, indent=1, sort_keys=True)
    _replace(folder / MANIFEST_NAME, temporary, text.encode() + b"\n")


def _digest(path: Path) -> str | None:
    """Give a page's digest; None if there is none, one of ``_ODD`` if it cannot be a page."""
    if path.parent.is_symlink():
        return _BEHIND_A_LINK
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:  # a link, a socket, no permission: whatever it is, it is not a page of ours
        return _UNREADABLE
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return _NOT_A_FILE
    with os.fdopen(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _replace(target: Path, temporary: Path, body: bytes) -> None:
    aside = temporary / "page"
    aside.write_bytes(body)
    aside.replace(target)


def _remove_own_tree(temporary: Path) -> None:
    if temporary.is_symlink() or temporary.is_file():
        temporary.unlink()
    elif temporary.exists():
        shutil.rmtree(temporary)
