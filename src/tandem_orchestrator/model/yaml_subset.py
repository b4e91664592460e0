"""YAML, the part of it that has one meaning: read event by event, nothing built beyond a limit.

Left out, each a fault with its path and line: anchors and aliases (a few lines can stand for
gigabytes), tags (they name types to build), merge keys, duplicate keys, keys that are not strings,
several documents. Plain scalars are those of YAML 1.2's core schema, so ``yes``, ``no``, ``on`` and
``off`` are strings, ``0o17`` is 15 and ``1e3`` is 1000.0.

PyYAML gives the events (libyaml, in C, where it was built with it); its constructors are not used.

Source: YAML 1.2.2, section 10.3, "Core Schema".
"""

from __future__ import annotations

import re
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.file_limits import (
    FILE_DEPTH_MAX,
    FILE_NODES_MAX,
    FILE_STEPS_MAX,
    NUMBER_CHARS_MAX,
    refuse,
)

_MAY_BE_SPECIAL = frozenset("0123456789+-.~nNtTfF")
_CONSTANTS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    ".nan": float("nan"), ".NaN": float("nan"), ".NAN": float("nan"),
} | {
    sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")
}  # fmt: skip
_INTEGER = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL = re.compile(r"0o[0-7]+\Z")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")

# What a container is to a command set, so that steps are counted as they come.
_OTHER, _SET, _STEPS, _STEP = range(4)


def parse_yaml(text: str) -> tuple[Any, list[Fault]]:
    """Read one YAML document.

    Returns: The document, and the faults that did not keep the rest from being read.

    Raises: InvalidCommandSet if it is no YAML, or over a limit.
    """
    import yaml

    try:
        return _Reader(text).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        refuse(f"not YAML: {where}{error.problem or error.context}")
    except yaml.YAMLError as error:
        refuse(f"not YAML: {str(error).splitlines()[0][:200]}")


def resolve_plain(text: str) -> Any:
    """Give the value of a plain scalar under YAML 1.2's core schema.

    Raises: ValueError if it is a number too long to be one.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in _MAY_BE_SPECIAL:
        return text
    if _FLOAT.match(text):
        if len(text) > NUMBER_CHARS_MAX:
            raise ValueError(f"a number of {len(text)} characters")
        return int(text) if _INTEGER.match(text) else float(text)
    if _OCTAL.match(text) or _HEXADECIMAL.match(text):
        if len(text) > NUMBER_CHARS_MAX:
            raise ValueError(f"a number of {len(text)} characters")
        return int(text, 0)
    return text


class _Frame:
    """A container that is being filled."""

    __slots__ = ("awaits_key", "container", "is_map", "key", "role")

    def __init__(self, is_map: bool, role: int) -> None:
        self.is_map = self.awaits_key = is_map
        # Any: a list or a dict of whatever the document holds.
        self.container: Any = {} if is_map else []
        self.key: Any = None
        self.role = role


class _Reader:
    """One pass over the events of one text."""

    def __init__(self, text: str) -> None:
        import yaml

        # A loader is a parser too, and only its events are used. Without libyaml the same events
        # come from Python, about ten times slower.
        loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
        self._parser: Any = loader(text)
        self._yaml = yaml
        self._stack: list[_Frame] = []
        self._faults: list[Fault] = []
        self._nodes_total = 0
        self._steps_total = 0
        self._documents_total = 0
        self._document: Any = None

    def read(self) -> tuple[Any, list[Fault]]:
        yaml, get_event, stack = self._yaml, self._parser.get_event, self._stack
        scalar, alias = yaml.ScalarEvent, yaml.AliasEvent
        map_start, map_end = yaml.MappingStartEvent, yaml.MappingEndEvent
        list_start, list_end = yaml.SequenceStartEvent, yaml.SequenceEndEvent
        while True:
            event = get_event()
            kind = type(event)
            if kind is scalar:
                if event.anchor is not None or event.tag is not None:
                    self._fault_marks(event)
                frame = stack[-1] if stack else None
                if frame is not None and frame.awaits_key:
                    self._take_key(frame, event)
                else:
                    self._put(self._scalar(event))
            elif kind is map_start or kind is list_start:
                self._open(event, is_map=kind is map_start)
            elif kind is map_end or kind is list_end:
                self._put(stack.pop().container, counted=True)
            elif kind is alias:
                self._fault(event, f"alias '*{event.anchor}': anchors and aliases are left out")
                if stack and stack[-1].awaits_key:
                    stack[-1].key, stack[-1].awaits_key = None, False
                else:
                    self._put(None)
            elif kind is yaml.DocumentStartEvent:
                self._start_document(event)
            elif kind is yaml.StreamEndEvent:
                return self._document, self._faults

    def _start_document(self, event: Any) -> None:
        self._documents_total += 1
        if self._documents_total > 1:
            refuse(f"line {event.start_mark.line + 1}: a second document; a file holds one")
        if event.version is not None and tuple(event.version) != (1, 2):
            shown = ".".join(map(str, event.version))
            refuse(f"%YAML {shown}: read as YAML 1.2; leave the directive out")
        if event.tags:
            refuse("%TAG: tags are left out")

    def _open(self, event: Any, *, is_map: bool) -> None:
        stack = self._stack
        if event.anchor is not None or event.tag is not None:
            self._fault_marks(event)
        if len(stack) >= FILE_DEPTH_MAX:
            refuse(f"nested deeper than {FILE_DEPTH_MAX} levels", self._path())
        role = _OTHER
        if not stack:
            role = _SET if is_map else _OTHER
        else:
            parent = stack[-1]
            if parent.awaits_key:
                line = event.start_mark.line + 1
                refuse(f"line {line}: a key that is not a string", self._path())
            if parent.role == _SET and parent.key == "steps" and not is_map:
                role = _STEPS
            elif parent.role == _STEPS and is_map:
                role = _STEP
            elif parent.role == _STEP and parent.key == "command_set" and is_map:
                role = _SET
        self._count()
        stack.append(_Frame(is_map, role))

    def _count(self) -> None:
        self._nodes_total += 1
        if self._nodes_total > FILE_NODES_MAX:
            refuse(f"more than {FILE_NODES_MAX} values")
        if self._stack and self._stack[-1].role == _STEPS:
            self._steps_total += 1
            if self._steps_total > FILE_STEPS_MAX:
                refuse(f"more than {FILE_STEPS_MAX} steps", self._path())

    def _put(self, value: Any, *, counted: bool = False) -> None:
        if not counted:
            self._count()
        if not self._stack:
            self._document = value
            return
        frame = self._stack[-1]
        if frame.is_map:
            if frame.key is not None:
                frame.container[frame.key] = value
            frame.awaits_key = True
        else:
            frame.container.append(value)

    def _take_key(self, frame: _Frame, event: Any) -> None:
        text = event.value
        frame.awaits_key, frame.key = False, None
        if event.implicit[0]:
            if text == "<<":
                self._fault(event, "merge key '<<': merge keys are left out")
                return
            try:
                is_text = isinstance(resolve_plain(text), str)
            except ValueError:
                is_text = False
            if not is_text:
                self._fault(event, f"key {text!r:.60} is not a string; put it in quotes")
                return
        if text in frame.container:
            self._fault(event, f"key {text!r:.60} is there twice")
            return
        frame.key = text

    def _scalar(self, event: Any) -> Any:
        if not event.implicit[0]:
            # A plain scalar that is not implicit stands behind the non-specific tag '!'.
            if not event.style and event.tag is None:
                self._fault(event, "tag '!': tags are left out")
            return event.value
        try:
            return resolve_plain(event.value)
        except ValueError as error:
            self._fault(event, str(error))
            return None

    def _fault_marks(self, event: Any) -> None:
        if event.anchor is not None:
            self._fault(event, f"anchor '&{event.anchor}': anchors and aliases are left out")
        if event.tag is not None:
            self._fault(event, f"tag {event.tag!r:.60}: tags are left out")

    def _fault(self, event: Any, message: str) -> None:
        line = event.start_mark.line + 1
        self._faults.append(Fault("bad_type", self._path(), f"line {line}: {message}"))

    def _path(self) -> str:
        """Name the place that is being read, as ``steps[2].payload``."""
        path = ""
        for frame in self._stack:
            if not frame.is_map:
                path += f"[{len(frame.container)}]"
            elif frame.key is not None and not frame.awaits_key:
                path += f".{frame.key}" if path else str(frame.key)
        return path
