"""Where values come from: the environment, a file, a caller's dict; each read with its faults."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tandem_orchestrator.errors import ConfigError, Fault
from tandem_orchestrator.settings.keys import FALSE_WORDS, TRUE_WORDS, Key, shown
from tandem_orchestrator.settings.sections import SECTIONS

FILE_NAME = "tandem_config.json"
"""What the configuration file is called where it is looked for."""
FILE_BYTES_MAX = 2**20
"""A configuration file of over 1 MiB is refused."""

KEYS: dict[str, Key] = {
    each.path: each for owner in SECTIONS.values() for each in owner.keys.values()
}
"""Every key by ``section.name``."""

VARIABLES: dict[str, Key] = {each.env: each for each in KEYS.values() if each.env} | {
    each.variable: each for each in KEYS.values()
}
"""Every environment variable; where both forms of one are set, the short one wins."""

_OTHER_VARIABLES = ("TANDEM_CONFIG", "TANDEM_SIMD", "TANDEM_TOKEN")


@dataclass
class Source:
    """The values that one place gave."""

    name: str
    """For people, as ``file /etc/x.json`` or ``argument``."""
    values: dict[str, Any] = field(default_factory=dict)
    """By ``section.name``, checked."""
    origins: dict[str, str] = field(default_factory=dict)
    """By ``section.name``, where it differs from the source's own name."""
    faults: list[Fault] = field(default_factory=list)
    folder: Path | None = None
    """What relative paths in it are relative to."""


def from_environment(environ: Mapping[str, str]) -> Source:
    """Read every ``TANDEM_…`` variable that names a setting.

    A variable that only looks like one of ours is left alone, unless it is one or two letters
    away from it: that is a slip, and is a fault.
    """
    source = Source("environment")
    for name, text in environ.items():
        if not name.startswith("TANDEM_") or name in _OTHER_VARIABLES:
            continue
        spec = VARIABLES.get(name)
        if spec is None:
            near = get_close_matches(name, VARIABLES, n=3, cutoff=0.6 if "__" in name else 0.9)
            if near or "__" in name:
                message = f"{name}={shown(text)}: no setting has this variable"
                source.faults.append(Fault("bad_type", name, message, text, tuple(near)))
            continue
        if not spec.from_environment:
            message = f"{name}: {spec.path} cannot be set from the environment"
            source.faults.append(Fault("bad_type", name, message, text))
            continue
        if spec.path in source.values and name != spec.env:
            continue  # the short form, read before, wins
        try:
            source.values[spec.path] = _read(spec, name, text)
        except ValueError as error:
            message = f"{name}={shown(text)}, {error}"
            source.faults.append(Fault("bad_type", name, message, text))
        source.origins[spec.path] = f"environment {name}"
    return source


def _read(spec: Key, name: str, text: str) -> Any:
    if name != "TANDEM_DEBUG":
        return spec.read(text)
    words = dict.fromkeys(TRUE_WORDS, "DEBUG") | dict.fromkeys(FALSE_WORDS, spec.default)
    return spec.read(words.get(text.strip().lower(), text))


def from_mapping(given: Mapping[Any, Any], name: str) -> Source:
    """Read a dict shaped like SPEC's configuration file; every key may be left out."""
    source = Source(name)
    for section, body in given.items():
        if section not in SECTIONS:
            message = f"unknown section {shown(section)}, expected {', '.join(SECTIONS)}"
            source.faults.append(_unknown(str(section), message, section, SECTIONS))
            continue
        if not isinstance(body, Mapping):
            message = f"{shown(body)}, expected an object with settings"
            source.faults.append(Fault("bad_type", section, message, body))
            continue
        for key, value in body.items():
            spec = SECTIONS[section].keys.get(key)
            path = f"{section}.{key}"
            if spec is None:
                message = f"unknown setting {shown(key)}"
                source.faults.append(_unknown(path, message, key, SECTIONS[section].keys))
                continue
            try:
                source.values[path] = spec.accept(value)
            except ValueError as error:
                source.faults.append(Fault("bad_type", path, f"{shown(value)}, {error}", value))
    return source


def from_texts(given: Mapping[str, str], name: str) -> Source:
    """Read ``{"section.key": "text"}``, as the command line's ``--set`` gives it."""
    source = Source(name)
    for path, text in given.items():
        spec = KEYS.get(path)
        if spec is None:
            message = f"unknown setting {shown(path)}"
            source.faults.append(_unknown(path, message, path, KEYS))
            continue
        try:
            source.values[path] = spec.read(text)
        except ValueError as error:
            source.faults.append(Fault("bad_type", path, f"{shown(text)}, {error}", text))
    return source


def _unknown(path: str, message: str, value: object, among: Mapping[str, object]) -> Fault:
    near = get_close_matches(shown(value), among, n=3, cutoff=0.5)
    if not near and "." not in str(value):
        near = [k.path for k in KEYS.values() if k.name == value][:3]
    return Fault("bad_type", path, message, value, tuple(near))


# --- files -----------------------------------------------------------------------------------


def config_paths(environ: Mapping[str, str], cwd: Path) -> Iterator[tuple[Path, bool]]:
    """List where the configuration file is looked for, each with whether it must be there."""
    if named := environ.get("TANDEM_CONFIG"):
        yield cwd / expand(named, environ), True
        return
    yield cwd / FILE_NAME, False
    yield base_folder(environ, "XDG_CONFIG_HOME", ".config") / "tandem" / FILE_NAME, False


def base_folder(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    """Give an XDG base folder; a relative one is ignored, as the specification asks.

    Source: XDG Base Directory Specification 0.8.
    """
    named = environ.get(variable, "")
    return Path(named) if named.startswith("/") else home(environ) / fallback


def state_folder(environ: Mapping[str, str]) -> Path:
    """Give the folder for what outlives a program: the journal, where nothing else is said."""
    return base_folder(environ, "XDG_STATE_HOME", ".local/state") / "tandem"


def home(environ: Mapping[str, str]) -> Path:
    """Give the user's folder: ``$HOME``, else what the system's user table says."""
    named = environ.get("HOME", "")
    if named.startswith("/"):
        return Path(named)
    import pwd

    try:
        return Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError:
        return Path("/")


def expand(text: str, environ: Mapping[str, str]) -> Path:
    """Replace a leading ``~/`` by the user's folder."""
    return home(environ) / text[2:] if text.startswith("~/") else Path(text)


def from_file(path: Path, *, required: bool) -> Source | None:
    """Read a configuration file (JSON, or TOML by its suffix); None if it need not be there.

    Whoever can write the file, or replace it in its folder, decides what is in it: where that may
    be somebody else than this user or root, keys that decide about trust are faults.

    Raises: ConfigError if it is missing though required, unreadable, too large, or does not parse.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        if required:
            raise ConfigError(f"configuration file {path}: not there") from None
        return None
    except OSError as error:
        raise ConfigError(f"configuration file {path}: {error.strerror}") from error
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"configuration file {path}: not a regular file")
        try:
            body = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            raise ConfigError(f"configuration file {path}: {error.strerror}") from error
    if len(body) > FILE_BYTES_MAX:
        raise ConfigError(f"configuration file {path}: over {FILE_BYTES_MAX} bytes")
    source = from_mapping(_parse(path, body), f"file {path}")
    source.folder = path.parent
    why = _writers(status) or _writers(_stat_folder(path.parent), folder=True)
    if why:
        for key in [key for key in source.values if KEYS[key].guarded]:
            message = f"cannot be set from {path}, which {why}; take that right away (chmod go-w)"
            source.faults.append(Fault("bad_type", key, message, source.values.pop(key)))
    return source


def _stat_folder(folder: Path) -> os.stat_result:
    try:
        return folder.stat()
    except OSError as error:
        raise ConfigError(f"configuration folder {folder}: {error.strerror}") from error


def _writers(status: os.stat_result, *, folder: bool = False) -> str | None:
    """Say who else may write, or None. In a sticky folder others cannot replace our files."""
    what = "lies in a folder that " if folder else ""
    mode = status.st_mode
    if folder and mode & stat.S_ISVTX:
        return None
    if status.st_uid not in (0, os.geteuid()):
        return f"{what}belongs to user {status.st_uid}"
    if mode & 0o022:
        return f"{what}{'its group' if mode & 0o020 else 'everyone'} may write"
    return None


def _parse(path: Path, body: bytes) -> Mapping[str, Any]:
    try:
        text = body.decode("utf-8-sig")
        if path.suffix == ".toml":
            import tomllib

            document: Any = tomllib.loads(text)
        else:
            import json

            document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"configuration file {path}: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"configuration file {path}: expected an object with sections")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"key {shown(twice)} is there twice")
    return found


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
