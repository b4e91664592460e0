"""Documents: command sets as plain data, from files and to the journal.

A document has the fields of ``CommandSet`` and ``CommandStep`` by name; enumerations are words in
any case, references ``{"$ref": "step#/path"}``, callables names (``callables.py``). It can be YAML
(a strict subset), JSON or TOML, all with the same limits (``file_limits.py``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any

from tandem_orchestrator.errors import Fault, InvalidCommandSet
from tandem_orchestrator.model.callables import name_of
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.excerpts import excerpt, word
from tandem_orchestrator.model.file_limits import FILE_BYTES_MAX, FILE_STEPS_MAX, refuse
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.model.snapshot import NESTING_MAX, snapshot

FORMATS = {".yaml": "yaml", ".yml": "yaml", ".json": "json", ".toml": "toml"}
"""File name endings and what they mean."""

LOCAL_KEY = "$local"
"""``{"$local": "steps[0].validation_fn"}`` stands for a callable that has no name."""

_SET_FIELDS = {each.name: each for each in fields(CommandSet)}
_STEP_FIELDS = {each.name: each for each in fields(CommandStep)}


@dataclass(frozen=True, slots=True)
class Document:
    """A command set as plain data."""

    body: dict[str, Any]
    """Values only; fields that have their default are left out."""
    resumable: bool
    """False if a callable has no name, so that another process could not go on with the run."""
    callables: dict[str, Callable[..., Any]] = field(default_factory=dict)
    """The callables without a name, by their path in the document."""


def load(
    source: str | bytes | os.PathLike[str],
    format: str | None = None,
    *,
    steps_max: int = FILE_STEPS_MAX,
) -> CommandSet:
    """Read a command set from a file or a text.

    Args:
        source: A path (``pathlib.Path``), or the text itself; a str is always text.
        format: ``yaml``, ``json`` or ``toml``. None: by the file's ending; a text is JSON if it
            starts with ``{``, else YAML.
        steps_max: Steps allowed, nested ones counted.

    Raises: InvalidCommandSet with every fault and its path.
    """
    return _clean(*read(source, format, steps_max=steps_max))


def read(
    source: str | bytes | os.PathLike[str],
    format: str | None = None,
    *,
    steps_max: int = FILE_STEPS_MAX,
) -> tuple[CommandSet, list[Fault]]:
    """Read as ``load`` does, and give the faults instead of raising them.

    Returns: The command set, in which a field that was wrong has its default, and every fault: for
        whoever finds more of them (unknown agents, cycles, …) and reports all at once.

    Raises: InvalidCommandSet only where there is nothing to go on with: no file, no syntax, or a
        limit.
    """
    if isinstance(source, os.PathLike):
        path = Path(source)
        kind = format or FORMATS.get(path.suffix.lower())
        if kind is None:
            refuse(f"{path}: expected a name ending in {', '.join(FORMATS)}")
        body = _read(path)
    else:
        body, kind = (
            source.encode(errors="surrogatepass") if isinstance(source, str) else source,
            format,
        )
    if len(body) > FILE_BYTES_MAX:
        refuse(f"more than {FILE_BYTES_MAX} bytes")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        refuse(f"not UTF-8 at byte {error.start}")
    document, faults = _parser(kind or ("json" if text.lstrip()[:1] == "{" else "yaml"))(text)
    return _checked(document, faults, None, steps_max)


def from_document(
    document: Mapping[str, Any],
    *,
    callables: Mapping[str, Callable[..., Any]] | None = None,
    steps_max: int = FILE_STEPS_MAX,
) -> CommandSet:
    """Make a command set from plain data.

    Args:
        document: As a file's content, or a ``Document``'s body.
        callables: What stands behind ``$local``, from ``Document.callables``.
        steps_max: Steps allowed, nested ones counted.

    Raises: InvalidCommandSet with every fault and its path.
    """
    return _clean(*_checked(document, [], callables, steps_max))


def to_document(
    command_set: CommandSet, registered: Mapping[str, Callable[..., Any]] | None = None
) -> Document:
    """Turn a command set (a snapshot without faults) into plain data.

    Args:
        command_set: What ``snapshot`` gave.
        registered: Callables that the program registered, by name.
    """
    nameless: dict[str, Callable[..., Any]] = {}
    body = _plain(command_set, _SET_FIELDS, "", registered, nameless)
    return Document(body, not nameless, nameless)


# --- reading ---------------------------------------------------------------------------------


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        fault = Fault("bad_type", "", f"{path}: {error.strerror}", str(path))
        raise InvalidCommandSet(faults=(fault,)) from error


def _parser(format: str) -> Callable[[str], tuple[Any, list[Fault]]]:
    match format:
        case "yaml":
            from tandem_orchestrator.model.yaml_subset import parse_yaml

            return parse_yaml
        case "json":
            from tandem_orchestrator.model.json_text import parse_json

            return parse_json
        case "toml":
            from tandem_orchestrator.model.toml_text import parse_toml

            return parse_toml
        case _:
            raise ValueError(f"format={format!r}: expected yaml, json or toml")


def _checked(
    document: Any,
    faults: list[Fault],
    callables: Mapping[str, Callable[..., Any]] | None,
    steps_max: int,
) -> tuple[CommandSet, list[Fault]]:
    reader = _Reader(callables or {})
    raw = reader.command_set(document, "", 0)
    clean, more = snapshot(raw, steps_max=steps_max)
    return clean, [*faults, *reader.faults, *more]


def _clean(command_set: CommandSet, faults: list[Fault]) -> CommandSet:
    if faults:
        raise InvalidCommandSet(faults=tuple(faults))
    return command_set


class _Reader:
    """Turn maps into command sets and steps; their fields are checked by ``snapshot``."""

    def __init__(self, callables: Mapping[str, Callable[..., Any]]) -> None:
        self.faults: list[Fault] = []
        self._callables = callables

    def command_set(self, body: Any, path: str, depth: int) -> CommandSet:
        given = self._fields(body, _SET_FIELDS, path, "a command set")
        steps = given.get("steps")
        if isinstance(steps, list | tuple):
            dot = f"{path}." if path else ""
            given["steps"] = [
                self._step(step, f"{dot}steps[{i}]", depth) for i, step in enumerate(steps)
            ]
        return CommandSet(**given)

    def _step(self, body: Any, path: str, depth: int) -> CommandStep:
        given = self._fields(body, _STEP_FIELDS, path, "a step")
        nested = given.get("command_set")
        # Deeper ones stay as they are: snapshot says that they nest too deep.
        if nested is not None and depth < NESTING_MAX:
            given["command_set"] = self.command_set(nested, f"{path}.command_set", depth + 1)
        return CommandStep(**given)

    def _fields(
        self, body: Any, known: Mapping[str, object], path: str, what: str
    ) -> dict[str, Any]:
        if not isinstance(body, Mapping):
            shown = "nothing" if body is None else type(body).__name__
            self.faults.append(Fault("bad_type", path, f"{shown}, expected {what}: a map", body))
            return {}
        given = {}
        for key, value in body.items():
            name = key if isinstance(key, str) else excerpt(key)
            at = f"{path}.{name}" if path else name
            if key not in known:
                names = nearest(word(key), known)
                message = f"unknown key {excerpt(key)} in {what}"
                self.faults.append(Fault("bad_type", at, message, key, names))
                continue
            given[key] = self._local(value, at) if key in _CALLABLE_FIELDS else value
        return given

    def _local(self, value: Any, at: str) -> Any:
        if not isinstance(value, Mapping) or value.keys() != {LOCAL_KEY}:
            return value
        found = self._callables.get(value[LOCAL_KEY])
        if found is None:
            message = "a callable without a name, which only the process that had it can run"
            self.faults.append(Fault("not_serialisable", at, message, value))
        return found


_CALLABLE_FIELDS = frozenset({"python_handler", "validation_fn"})


# --- writing ---------------------------------------------------------------------------------


def _plain(
    owner: CommandSet | CommandStep,
    known: Mapping[str, Any],
    path: str,
    registered: Mapping[str, Callable[..., Any]] | None,
    nameless: dict[str, Callable[..., Any]],
) -> dict[str, Any]:
    body = {}
    for name, each in known.items():
        value = getattr(owner, name)
        default = each.default if each.default is not MISSING else _EMPTY.get(name, MISSING)
        if value is default or (name != "id" and value == default):
            continue
        at = f"{path}.{name}" if path else name
        if name == "steps":
            value = [
                _plain(step, _STEP_FIELDS, f"{at}[{i}]", registered, nameless)
                for i, step in enumerate(value)
            ]
        elif name == "command_set":
            value = _plain(value, _SET_FIELDS, at, registered, nameless)
        elif name in _CALLABLE_FIELDS and not isinstance(value, str):
            named = name_of(value, registered)
            if named is None:
                nameless[at] = value
                value = {LOCAL_KEY: at}
            else:
                value = named
        elif isinstance(value, Priority):
            value = str(value)
        elif isinstance(value, Enum):
            value = value.value
        elif isinstance(value, Ref):
            value = value.to_value()
        elif name == "mode":
            value = str(value)
        body[name] = value
    return body


_EMPTY: dict[str, Any] = {
    "payload": {}, "steps": [], "dependencies": {}, "retry_policy": {}, "requires_libraries": [],
}  # fmt: skip
