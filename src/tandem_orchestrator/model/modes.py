"""Execution modes: an open enumeration, so that users can add modes of their own.

A plain ``enum.Enum`` refuses to be subclassed once it has members. A mode here is an interned
string: one object per value, equal to and hashing as its lower-case value. What a mode *means*
is a ``Policy`` (``policies.py``); a mode that has none is a planning fault, not an error here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from weakref import WeakValueDictionary

_VALUE = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")

# Values that no class declared are held weakly: a stream of made-up modes takes no memory.
_by_value: WeakValueDictionary[str, ExecutionMode] = WeakValueDictionary()
_by_name: dict[str, ExecutionMode] = {}


class _OpenEnumMeta(type):
    """Turns upper-case string attributes of a class body into interned members."""

    _members: dict[str, ExecutionMode]

    # Any: a class namespace holds whatever its body defines.
    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]
    ) -> _OpenEnumMeta:
        declared = {
            key: value
            for key, value in namespace.items()
            if key.isupper() and isinstance(value, str)
        }
        for key in declared:
            del namespace[key]
        cls = super().__new__(mcs, name, bases, namespace)
        cls._members = {}
        for key, value in declared.items():
            cls._members[key] = member = cls._intern(value)
            member._declare(cls, key)
            type.__setattr__(cls, key, member)
        return cls

    def _intern(cls, text: str) -> ExecutionMode:
        key = text.strip().lower()
        known = _by_name.get(key) or _by_value.get(key)
        if known is not None:
            return known
        if not _VALUE.match(key):
            raise ValueError(
                f"mode {text!r}: expected a name of letters, digits, '_' or '-', "
                "at most 64 characters, starting with a letter"
            )
        member: ExecutionMode = str.__new__(cls, key)  # type: ignore[arg-type]
        member._name_ = key.upper().replace("-", "_")
        _by_value[key] = member
        return member

    def __iter__(cls) -> Iterator[ExecutionMode]:
        for base in reversed(cls.__mro__):
            yield from vars(base).get("_members", {}).values()

    def __len__(cls) -> int:
        return sum(1 for _ in cls)

    def __contains__(cls, item: object) -> bool:
        return any(member == item for member in cls)

    def __getitem__(cls, name: str) -> ExecutionMode:
        for member in cls:
            if member.name == name.upper():
                return member
        raise KeyError(name)

    def __setattr__(cls, name: str, value: object) -> None:
        if name in getattr(cls, "_members", {}):
            raise AttributeError(f"{cls.__name__}.{name} is a member and cannot be replaced")
        super().__setattr__(name, value)


class ExecutionMode(str, metaclass=_OpenEnumMeta):
    """How the steps of a command set are given to implementations.

    ``ExecutionMode("Redundant")`` parses a name or value in any case; subclass it, or call it
    with a new value, to make a mode of your own, and give that a policy with ``register_mode``.

    Raises: ValueError if the text cannot be a mode's name.
    """

    _name_: str

    INTELLIGENT = "intelligent"
    """The router's pick for every step."""
    REDUNDANT = "redundant"
    """The pair in parallel, compared; conflicts are resolved."""
    CONSENSUS = "consensus"
    """The pair in parallel; both must agree."""
    SPEED_CRITICAL = "speed_critical"
    """The C layer alone."""
    PYTHON_ONLY = "python_only"
    """The Python layer alone."""

    def __new__(cls, value: str) -> ExecutionMode:
        """Find the mode of that name or value, or make it."""
        if not isinstance(value, str):
            raise ValueError(f"mode {value!r}: expected a string, got {type(value).__name__}")
        return cls._intern(value)

    def _declare(self, owner: type, name: str) -> None:
        """Take a member's name, and its class if it was made before that class existed."""
        self._name_ = name
        _by_name[name.lower()] = self
        if type(self) is not owner and issubclass(owner, type(self)):
            self.__class__ = owner

    @property
    def name(self) -> str:
        """The member's name in upper case, as ``INTELLIGENT``."""
        return self._name_

    @property
    def value(self) -> str:
        """The member's value in lower case, as ``intelligent``."""
        return str.__str__(self)

    def __str__(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self._name_}: {str.__str__(self)!r}>"

    # Any: the pickle protocol's own type.
    def __reduce__(self) -> tuple[Any, ...]:
        return (ExecutionMode, (str.__str__(self),))

    def __copy__(self) -> ExecutionMode:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> ExecutionMode:
        return self

    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("_name_", "__class__"):
            raise AttributeError(f"{self!r} cannot be changed")
        super().__setattr__(name, value)
