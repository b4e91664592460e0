"""Check the payload of ``docgen.scan_codebase`` and give it a type.

Keys are checked in the order of the payload, and the first fault is raised; the C layer does
the same with the same words, so that a wrong payload fails alike in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FILES_MAX_DEFAULT = 1_000_000
FILES_MAX_LIMIT = 10_000_000
EXTENSIONS_MAX = 256
EXTENSION_BYTES_MAX = 255
SHOWN_BYTES_MAX = 64
SHOWN_PATH_BYTES_MAX = 512

_KEYS = (
    "extensions",
    "hash",
    "hidden",
    "ignore",
    "lines",
    "max_file_bytes",
    "max_files",
    "path",
    "path_raw",
)


@dataclass(frozen=True, slots=True)
class ScanRequest:
    """One checked request."""

    path: str
    """Absolute path of the root, as given (what is shown, if ``path_raw`` is set)."""
    path_raw: bytes | None = None
    """The root's bytes, for a path that is not UTF-8; wins over ``path``."""
    extensions: tuple[bytes, ...] | None = None
    """Endings of the names to list, each with its dot; None lists all."""
    hash: bool = True
    """Give each file's SHA-256."""
    lines: bool = True
    """Count each file's lines. With ``hash`` false too, no file is opened."""
    ignore: bool = True
    """Honour the tree's .gitignore files."""
    hidden: bool = True
    """Visit names that begin with a dot (``.git`` is never visited)."""
    max_files: int = FILES_MAX_DEFAULT
    """Listed files and errors together; one more fails the scan."""
    max_file_bytes: int | None = None
    """Larger files are reported as ``too_large`` and not read; None is no limit."""

    @property
    def root(self) -> bytes:
        """The path to open."""
        return self.path.encode() if self.path_raw is None else self.path_raw

    @property
    def reads(self) -> bool:
        """Whether files are opened at all."""
        return self.hash or self.lines


def read_request(payload: object) -> ScanRequest:
    """Check ``payload`` (a dict with the fields of `ScanRequest`) and convert it.

    Raises:
        TypeError: It, or a value in it, has the wrong type.
        ValueError: An unknown key, a missing ``path``, or a value out of its range.
    """
    if not isinstance(payload, Mapping):
        raise TypeError("payload: must be a dict")
    fields: dict[str, object] = {}
    for key, value in payload.items():
        if key not in _KEYS:
            raise ValueError(f"payload: unknown key '{shown(key)}', must be one of {_KEY_LIST}")
        fields[key] = _READERS[key](f"payload.{key}", value)
    if "path" not in fields:
        raise ValueError("payload.path: is missing, must be an absolute path")
    return ScanRequest(**fields)  # type: ignore[arg-type]  # each reader returns its field's type


_KEY_LIST = ", ".join(_KEYS)


def shown(text: object, bytes_max: int = SHOWN_BYTES_MAX) -> str:
    """Return ``text`` fit for one line of an error: no control bytes, cut at ``bytes_max``."""
    raw = str(text).encode("utf-8", "replace")
    cut = raw[:bytes_max].decode("utf-8", "ignore")
    clean = "".join("?" if char < " " or char == "\x7f" else char for char in cut)
    return clean + ("..." if len(raw) > bytes_max else "")


def _read_bool(name: str, value: object) -> bool:
    if type(value) is not bool:
        raise TypeError(f"{name}: must be a bool")
    return value


def _read_path(name: str, value: object) -> str:
    if type(value) is not str:
        raise TypeError(f"{name}: must be a str")
    if "\0" in value:
        raise ValueError(f"{name}: must not hold a NUL")
    if not value.startswith("/"):
        # Layers are processes with working directories of their own: a relative path could
        # mean two different trees.
        raise ValueError(f"{name}='{shown(value)}': must be an absolute path")
    return value


def _read_path_raw(name: str, value: object) -> bytes:
    if type(value) is not bytes:
        raise TypeError(f"{name}: must be bytes")
    if b"\0" in value:
        raise ValueError(f"{name}: must not hold a NUL")
    if not value.startswith(b"/"):
        raise ValueError(f"{name}: must be an absolute path")
    return value


def _read_extensions(name: str, value: object) -> tuple[bytes, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise TypeError(f"{name}: must be a list of str")
    if not 1 <= len(value) <= EXTENSIONS_MAX:
        raise ValueError(f"{name}: must have 1 to {EXTENSIONS_MAX} members")
    endings = []
    for index, ending in enumerate(value):
        if type(ending) is not str:
            raise TypeError(f"{name}[{index}]: must be a str")
        raw = ending.encode()
        proper = raw.startswith(b".") and 2 <= len(raw) <= EXTENSION_BYTES_MAX
        if not proper or b"/" in raw or b"\0" in raw:
            raise ValueError(
                f"{name}[{index}]='{shown(ending)}': must be a dot and 1 to "
                f"{EXTENSION_BYTES_MAX - 1} bytes without '/'"
            )
        endings.append(raw)
    return tuple(endings)


def _read_max_files(name: str, value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{name}: must be an int")
    if not 1 <= value <= FILES_MAX_LIMIT:
        raise ValueError(f"{name}={value}: must be 1 to {FILES_MAX_LIMIT}")
    return value


def _read_max_file_bytes(name: str, value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int:
        raise TypeError(f"{name}: must be an int or null")
    if value < 0:
        raise ValueError(f"{name}={value}: must be at least 0")
    return value


_READERS = {
    "extensions": _read_extensions,
    "hash": _read_bool,
    "hidden": _read_bool,
    "ignore": _read_bool,
    "lines": _read_bool,
    "max_file_bytes": _read_max_file_bytes,
    "max_files": _read_max_files,
    "path": _read_path,
    "path_raw": _read_path_raw,
}
