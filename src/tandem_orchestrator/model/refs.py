"""References: how a payload names the output of an earlier step.

In Python ``Ref("scan", "files")``, in files ``{"$ref": "scan#/files"}``: the step's id, then an
RFC 6901 JSON Pointer into its output. Walking one costs time linear in its length, and nothing is
ever evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

RESERVED_STEP_IDS = frozenset({"inputs", "item"})
"""``inputs`` are the run's own inputs, ``item`` the current item of a ``for_each``."""

RESERVED_KEYS = frozenset({"$ref", "$buffer", "$literal", "$codec", "$transient"})
"""A dict whose only key is one of these is not an ordinary value."""


class Missing(Exception):
    """A reference led to nothing; ``args[0]`` says where the walk ended."""


class _NoDefault:
    def __repr__(self) -> str:
        return "NO_DEFAULT"

    def __copy__(self) -> _NoDefault:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> _NoDefault:
        return self


NO_DEFAULT = _NoDefault()
"""Marks a reference without a default, since None is one."""


def _escape(token: str) -> str:
    return token.replace("~", "~0").replace("/", "~1")


def _unescape(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~")


@dataclass(frozen=True, slots=True, init=False)
class Ref:
    """A place in an earlier step's output.

    Args:
        step: The step's id, ``"inputs"`` or ``"item"``.
        path: Where in its output: ``"files"``, ``"files/0/path"`` (JSON Pointer without the
            leading slash), an index, or a sequence of keys and indexes taken as they are.
        default: What to use when the place is not there. Without one, the step is skipped if the
            other step gave no output, and fails as ``BadReference`` if its output has no such place.
    """

    step: str
    path: tuple[str, ...]
    # Any: a default may be any value.
    default: Any

    def __init__(
        self,
        step: str,
        path: str | int | tuple[str | int, ...] | list[str | int] = "",
        default: Any = NO_DEFAULT,
    ) -> None:
        tokens: tuple[str, ...]
        if path == "":
            tokens = ()
        elif isinstance(path, str):
            text = path.removeprefix("/")
            if "/" in text or "~" in text:
                tokens = tuple([_unescape(token) for token in text.split("/")])
            else:
                tokens = (text,) if text else ()
        elif isinstance(path, int):
            tokens = (str(path),)
        else:
            tokens = tuple(str(token) for token in path)
        # The slots' own setters: a set that is built for each request has many references.
        _set_step(self, step)
        _set_path(self, tokens)
        _set_default(self, default)

    @property
    def has_default(self) -> bool:
        """Whether a default was given (``None`` counts as one)."""
        return self.default is not NO_DEFAULT

    @classmethod
    def parse(cls, text: str, default: Any = NO_DEFAULT) -> Ref:
        """Read ``step#/json/pointer``.

        Raises: ValueError if there is no step id or the pointer does not start with a slash.
        """
        step, _, pointer = text.partition("#")
        if not step or (pointer and not pointer.startswith("/")):
            raise ValueError(f"reference {text!r}: expected 'step' or 'step#/path/to/value'")
        return cls(
            step, tuple(_unescape(t) for t in pointer[1:].split("/")) if pointer else (), default
        )

    def __str__(self) -> str:
        return self.step + ("#/" + "/".join(map(_escape, self.path)) if self.path else "")

    def to_value(self) -> dict[str, Any]:
        """Give the form that stands in files and in the journal."""
        form: dict[str, Any] = {"$ref": str(self)}
        if self.has_default:
            form["default"] = self.default
        return form

    def walk(self, value: Any) -> Any:
        """Follow the path into ``value``.

        Raises: Missing, naming the part of the path that is not there.
        """
        for depth, token in enumerate(self.path):
            if isinstance(value, dict) and token in value:
                value = value[token]
            elif isinstance(value, list) and token.isdecimal() and int(token) < len(value):
                value = value[int(token)]
            else:
                raise Missing(f"{self.step}#/{'/'.join(map(_escape, self.path[: depth + 1]))}")
        return value


_set_step = Ref.__dict__["step"].__set__
_set_path = Ref.__dict__["path"].__set__
_set_default = Ref.__dict__["default"].__set__


def as_ref(value: Any) -> Ref | None:
    """Give the reference that a plain value stands for, or None.

    Raises: ValueError if it has the shape of a reference and is not one.
    """
    if isinstance(value, Ref):
        return value
    if (
        not isinstance(value, dict)
        or "$ref" not in value
        or not value.keys() <= {"$ref", "default"}
    ):
        return None
    if not isinstance(value["$ref"], str):
        raise ValueError(f"reference {value['$ref']!r}: expected a string")
    return Ref.parse(value["$ref"], value.get("default", NO_DEFAULT))


def find_refs(value: Any, path: str = "") -> Iterator[tuple[str, Ref | ValueError]]:
    """List every reference in a payload with its path; a malformed one comes as its error."""
    stack: list[tuple[str, Any]] = [(path, value)]
    while stack:
        where, node = stack.pop()
        try:
            ref = as_ref(node)
        except ValueError as error:
            yield where, error
            continue
        if ref is not None:
            yield where, ref
        elif isinstance(node, dict):
            if node.keys() != {"$literal"}:
                stack.extend((f"{where}.{key}", item) for key, item in reversed(node.items()))
        elif isinstance(node, list):
            stack.extend((f"{where}[{i}]", item) for i, item in reversed(list(enumerate(node))))


def substitute(value: Any, look_up: Callable[[Ref], Any]) -> Any:
    """Copy a payload with every reference replaced by what ``look_up`` gives for it.

    What comes from ``look_up`` is put in as it is and never searched for references itself.

    Raises: whatever ``look_up`` raises.
    """
    if isinstance(value, dict):
        if value.keys() == {"$literal"}:
            return value["$literal"]
        ref = as_ref(value)
        if ref is not None:
            return look_up(ref)
        return {key: substitute(item, look_up) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, look_up) for item in value]
    return value
