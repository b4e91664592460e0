"""Snapshots: a command set as it was at one moment, every field checked, nothing shared.

Constructors check nothing, so this is where a command set made in Python meets its types: each
field that is wrong is a fault with its path, enumerations come out parsed, payloads as values.
The caller's objects are only read. Whether ids, agents and references lead anywhere is for the
planner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from enum import Enum
from typing import Any

from tandem_orchestrator.errors import Fault, NotAValue
from tandem_orchestrator.model.callables import is_callable_name
from tandem_orchestrator.model.catalogue import nearest
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.conditions import check_condition, plain_condition
from tandem_orchestrator.model.excerpts import excerpt, word
from tandem_orchestrator.model.levels import CommandType, HardwareAffinity, Priority
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.refs import as_ref, find_refs
from tandem_orchestrator.model.retry import RetryPolicy
from tandem_orchestrator.model.shapes import check_shape
from tandem_orchestrator.model.values import to_value

TEXT_CHARS_MAX = 1000
"""Characters of an id, a name, an agent or an action."""
TIMEOUT_S_MAX = 10 * 365 * 86_400.0
"""Ten years, in seconds: beyond that a time limit is a mistake in units."""
NESTING_MAX = 16
"""Command sets within command sets; levels must nest, so that five are already rare."""

DURABILITIES = ("sync", "group", "async", "none")
"""Words for a set's ``durability``."""
ON_FAILURE = ("stop", "drain")
"""Words for a set's ``on_failure``."""
ON_CHANGE = ("continue", "restart", "hold")
"""Words for a set's ``on_change``."""
RESOLUTIONS = ("python_preferred", "c_preferred", "retry_both", "vote", "hold", "fail")
"""Words for a set's ``conflict_resolution``."""
ON_ITEM_FAILURE = ("fail", "collect")
"""Words for a step's ``on_item_failure``."""


def snapshot(
    command_set: CommandSet, *, steps_max: int = 1_000_000
) -> tuple[CommandSet, list[Fault]]:
    """Copy a command set, checked field by field.

    Args:
        command_set: What a user made; it is not changed.
        steps_max: Steps allowed, those of nested command sets counted.

    Returns: A copy with parsed enumerations and plain values, in which a field that was wrong has
        its default, and every fault there is. A non-empty list means the copy must not run.
    """
    return _Copier(steps_max).copy(command_set)


def nearest_word(value: object, among: Iterable[str]) -> tuple[str, ...]:
    """Give up to three words that look like ``value``, whatever its type."""
    return nearest(word(value).lower(), among)


class _Copier:
    """One pass over one command set."""

    def __init__(self, steps_max: int) -> None:
        self._faults: list[Fault] = []
        self._steps_left = steps_max
        self._steps_max = steps_max

    def copy(self, given: Any) -> tuple[CommandSet, list[Fault]]:
        return self._set(given, "", 0), self._faults

    # --- command sets and steps ------------------------------------------------------------------

    def _set(self, given: Any, path: str, depth: int) -> CommandSet:
        if not isinstance(given, CommandSet):
            self._fault(path, given, "a CommandSet")
            return CommandSet()
        dot = f"{path}." if path else ""
        steps = self._list(given.steps, f"{dot}steps", "a list of CommandStep")
        self._steps_left -= len(steps)
        if self._steps_left < 0:
            message = f"more than {self._steps_max} steps"
            self._faults.append(Fault("bad_type", f"{dot}steps", message, len(steps)))
            steps = []
        return CommandSet(
            id=self._text(given.id, f"{dot}id"),
            name=self._text(given.name, f"{dot}name"),
            type=self._type(given.type, f"{dot}type"),
            mode=self._mode(given.mode, f"{dot}mode"),
            priority=self._priority(given.priority, f"{dot}priority"),
            steps=[self._step(step, f"{dot}steps[{i}]", depth) for i, step in enumerate(steps)],
            dependencies=self._dependencies(given.dependencies, f"{dot}dependencies"),
            parallel_allowed=self._bool(given.parallel_allowed, f"{dot}parallel_allowed", True),
            timeout=self._timeout(given.timeout, f"{dot}timeout"),
            retry_policy=self._retry(given.retry_policy, f"{dot}retry_policy") or {},
            python_handler=self._callable(given.python_handler, f"{dot}python_handler"),
            requires_libraries=self._libraries(
                given.requires_libraries, f"{dot}requires_libraries"
            ),
            c_optimized=self._bool(given.c_optimized, f"{dot}c_optimized", False),
            hardware_affinity=self._affinity(given.hardware_affinity, f"{dot}hardware_affinity"),
            durability=self._word(given.durability, f"{dot}durability", DURABILITIES, None),
            idempotency_key=self._key(given.idempotency_key, f"{dot}idempotency_key"),
            on_failure=self._word(given.on_failure, f"{dot}on_failure", ON_FAILURE, "stop")
            or "stop",
            on_change=self._word(given.on_change, f"{dot}on_change", ON_CHANGE, "hold") or "hold",
            conflict_resolution=self._word(
                given.conflict_resolution, f"{dot}conflict_resolution", RESOLUTIONS, None
            ),
        )

    def _step(self, given: Any, path: str, depth: int) -> CommandStep:
        if not isinstance(given, CommandStep):
            self._fault(path, given, "a CommandStep")
            return CommandStep()
        step = CommandStep(
            id=self._step_id(given.id, f"{path}.id"),
            action=self._name(given.action, f"{path}.action"),
            agent=self._name(given.agent, f"{path}.agent"),
            payload=self._payload(given.payload, f"{path}.payload"),
        )
        # Most steps leave the rest at its default; looking once is cheaper than checking each.
        for name, check in _STEP_CHECKS.items():
            value = getattr(given, name)
            if value is not _STEP_DEFAULTS[name]:
                setattr(step, name, check(self, value, f"{path}.{name}"))
        if given.command_set is not None:
            step.command_set = self._nested(given, path, depth)
        return step

    def _nested(self, given: CommandStep, path: str, depth: int) -> CommandSet | None:
        if given.agent or given.action:
            message = "a step has either agent and action, or a command_set"
            at = f"{path}.command_set"
            self._faults.append(Fault("bad_type", at, message, given.agent or given.action))
        if depth >= NESTING_MAX:
            message = f"command sets nested deeper than {NESTING_MAX} levels"
            self._faults.append(Fault("bad_level", f"{path}.command_set", message))
            return None
        return self._set(given.command_set, f"{path}.command_set", depth + 1)

    # --- fields --------------------------------------------------------------------------------

    def _fault(self, path: str, value: Any, expected: str, near: tuple[str, ...] = ()) -> None:
        message = f"{excerpt(value)}, expected {expected}"
        self._faults.append(Fault("bad_type", path, message, value, near))

    def _text(self, value: Any, path: str) -> str:
        if not isinstance(value, str):
            self._fault(path, value, "a string")
            return ""
        if len(value) > TEXT_CHARS_MAX or not (value.isascii() or _is_utf8(value)):
            self._fault(path, value, f"valid text of at most {TEXT_CHARS_MAX} characters")
            return ""
        return str(value)

    def _step_id(self, value: Any, path: str) -> str:
        text = self._text(value, path)
        if "#" in text or not (text.isprintable()):
            self._fault(path, text, "printable text without '#', which references use")
        return text

    def _name(self, value: Any, path: str) -> str:
        text = self._text(value, path)
        if not text.isprintable():
            self._fault(path, text, "printable text")
        return text

    def _key(self, value: Any, path: str) -> str | None:
        if value is None:
            return None
        if value == "":
            self._fault(path, value, "a key that is not empty")
        return self._text(value, path)

    def _bool(self, value: Any, path: str, default: bool) -> bool:
        if isinstance(value, bool):
            return value
        self._fault(path, value, "true or false")
        return default

    def _list(self, value: Any, path: str, expected: str) -> list[Any]:
        if isinstance(value, list | tuple):
            return list(value)
        self._fault(path, value, expected)
        return []

    def _timeout(self, value: Any, path: str) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._fault(path, value, "seconds above 0, or nothing")
        elif not 0 < value <= TIMEOUT_S_MAX:  # NaN is not either
            message = f"{excerpt(value)} s, expected above 0 and at most {TIMEOUT_S_MAX:.0f}"
            self._faults.append(Fault("impossible_timeout", path, message, value))
        else:
            return float(value)
        return None

    def _word(
        self, value: Any, path: str, words: tuple[str, ...], default: str | None
    ) -> str | None:
        if value is None or (isinstance(value, str) and value in words):
            return value if value is not None else default
        if isinstance(value, str) and value.strip().lower() in words:
            return value.strip().lower()
        self._fault(path, value, f"one of {', '.join(words)}", nearest_word(value, words))
        return default

    def _type(self, value: Any, path: str) -> CommandType:
        try:
            return CommandType(value)
        except (ValueError, TypeError):
            words = [level.value for level in CommandType]
            message = f"{excerpt(value)}, expected one of {', '.join(words)}"
            near = nearest_word(value, words)
            self._faults.append(Fault("bad_level", path, message, value, near))
            return CommandType.WORKFLOW

    def _mode(self, value: Any, path: str) -> ExecutionMode | None:
        if value is None:
            return None
        if isinstance(value, Enum):
            value = value.value
        try:
            return ExecutionMode(value)
        except ValueError:
            words = [mode.value for mode in ExecutionMode]
            expected = f"a mode such as {', '.join(words)}"
            self._fault(path, value, expected, nearest_word(value, words))
            return None

    def _priority(self, value: Any, path: str) -> Priority | None:
        if value is None:
            return None
        try:
            if isinstance(value, bool | float):
                raise TypeError
            return Priority(value)
        except (ValueError, TypeError):
            words = [str(priority) for priority in Priority]
            self._fault(path, value, f"one of {', '.join(words)}", nearest_word(value, words))
            return None

    def _affinity(self, value: Any, path: str) -> HardwareAffinity:
        try:
            return HardwareAffinity(value)
        except (ValueError, TypeError):
            words = [affinity.value for affinity in HardwareAffinity]
            self._fault(path, value, f"one of {', '.join(words)}", nearest_word(value, words))
            return HardwareAffinity.AUTO

    def _dependencies(self, value: Any, path: str) -> dict[str, list[str]]:
        if not isinstance(value, Mapping):
            self._fault(path, value, "a dict of step ids to lists of step ids")
            return {}
        found = {}
        for key, ids in value.items():
            at = f"{path}.{key}"
            if not isinstance(key, str):
                self._fault(path, key, "a step's id")
            elif isinstance(ids, set | frozenset) and all(isinstance(i, str) for i in ids):
                found[key] = sorted(ids)
            elif not isinstance(ids, list | tuple) or not all(isinstance(i, str) for i in ids):
                self._fault(at, ids, "a list of step ids")
            else:
                found[key] = [str(i) for i in ids]
        return found

    def _libraries(self, value: Any, path: str) -> list[str]:
        names = self._list(value, path, "a list of import names")
        found = []
        for i, name in enumerate(names):
            if isinstance(name, str) and all(p.isidentifier() for p in name.split(".")):
                found.append(str(name))
            else:
                self._fault(f"{path}[{i}]", name, "an import name such as numpy.linalg")
        return found

    def _callable(self, value: Any, path: str) -> Callable[..., Any] | str | None:
        if value is None or (callable(value) and not isinstance(value, str)):
            return value
        if isinstance(value, str):
            if is_callable_name(value):
                return str(value)
            self._fault(path, value, "a registered name or module:qualname")
        else:
            self._fault(path, value, "something that can be called, or its name")
        return None

    def _retry(self, value: Any, path: str) -> dict[str, Any] | None:
        if value is None:
            return None
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            self._fault(path, value, f"a dict with {', '.join(_RETRY_KEYS)}")
            return None
        faults_total = len(self._faults)
        for key, item in value.items():
            if key not in _RETRY_KEYS:
                message = f"unknown key {excerpt(key)}, expected {', '.join(_RETRY_KEYS)}"
                near = nearest(key[:80], _RETRY_KEYS)
                self._faults.append(Fault("bad_type", f"{path}.{key}", message, item, near))
                continue
            # Alone, so that each bad key is heard; initial_delay=0 fits below every max_delay.
            self._try_retry({"initial_delay": 0.0, key: item}, f"{path}.{key}", item)
        if len(self._faults) == faults_total:
            self._try_retry(value, path, value)
        if len(self._faults) > faults_total:
            return None
        return {k: list(v) if isinstance(v, list | tuple) else v for k, v in value.items()}

    def _try_retry(self, given: Mapping[str, Any], path: str, value: Any) -> None:
        try:
            RetryPolicy.parse(given)
        except (ValueError, OverflowError) as error:
            message = str(error).removeprefix("retry_policy.")
            self._faults.append(Fault("bad_type", path, message, value))

    def _value(self, value: Any, path: str) -> Any:
        try:
            return to_value(value, where=path, payload=True)
        except (NotAValue, RecursionError) as error:
            self._faults.append(Fault("not_serialisable", *_located(str(error), path), value))
            return {}

    def _payload(self, value: Any, path: str) -> Any:
        plain = self._value(value, path)
        if _mentions_ref(plain):
            for at, ref in find_refs(plain, path):
                if isinstance(ref, ValueError):
                    self._faults.append(Fault("bad_reference", at, str(ref), None))
        return plain

    def _for_each(self, value: Any, path: str) -> Any:
        plain = self._payload(value, path)
        try:
            is_ref = as_ref(plain) is not None
        except ValueError:
            return None  # malformed: said by _payload
        if not is_ref and not isinstance(plain, list) and not self._said(path):
            self._fault(path, value, "a list or a Ref")
        return plain

    def _said(self, path: str) -> bool:
        return bool(self._faults) and self._faults[-1].path.startswith(path)

    def _when(self, value: Any, path: str) -> Any:
        faults = check_condition(value, path)
        self._faults.extend(faults)
        return None if faults else self._payload(plain_condition(value), path)

    def _shape(self, value: Any, path: str) -> Any:
        if not isinstance(value, dict):
            self._fault(path, value, "a shape: a dict such as {'files': 'array'}")
            return None
        faults = check_shape(value, path)
        self._faults.extend(faults)
        # A shape may speak of keys called $ref without meaning a reference.
        return None if faults else self._value(value, path)

    def _can_fail(self, value: Any, path: str) -> bool:
        return self._bool(value, path, False)

    def _implementations(self, value: Any, path: str) -> list[str] | None:
        names = self._list(value, path, "a list of names of implementations")
        for i, name in enumerate(names):
            if not isinstance(name, str) or not name:
                self._fault(f"{path}[{i}]", name, "the name of an implementation")
        if isinstance(value, list | tuple) and not value:
            self._fault(path, value, "at least one name, or nothing")
        return [str(name) for name in names]

    def _on_item_failure(self, value: Any, path: str) -> str:
        return self._word(value, path, ON_ITEM_FAILURE, "fail") or "fail"


_STEP_CHECKS: dict[str, Callable[[_Copier, Any, str], Any]] = {
    "expected_output": _Copier._shape,
    "validation_fn": _Copier._callable,
    "can_fail": _Copier._can_fail,
    "timeout": _Copier._timeout,
    "retry_policy": _Copier._retry,
    "for_each": _Copier._for_each,
    "when": _Copier._when,
    "implementations": _Copier._implementations,
    "on_item_failure": _Copier._on_item_failure,
}
_STEP_DEFAULTS = {field.name: field.default for field in fields(CommandStep)}
_RETRY_KEYS = tuple(field.name for field in fields(RetryPolicy))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _located(message: str, path: str) -> tuple[str, str]:
    """Take the place out of NotAValue's message, as ``steps[0].payload.x: int is …``."""
    where, separator, rest = message.partition(": ")
    return (where, rest) if separator and where.startswith(path) else (path, message)


def _mentions_ref(value: Any) -> bool:
    """Say whether any dict in a value has the key ``$ref``."""
    stack = [value]
    while stack:
        node = stack.pop()
        if type(node) is dict:
            if "$ref" in node:
                return True
            stack.extend(node.values())
        elif type(node) is list:
            stack.extend(node)
    return False
