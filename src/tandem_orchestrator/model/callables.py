"""Callables by name: how a function stands in a file or in the journal.

Nothing is imported or unpickled from data. A name is one that the program registered, or
``module:qualname`` of a function of a module that the program imported itself; functions of the
standard library and built-in ones are not reachable that way, so that a file cannot name
``os:system``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType, ModuleType
from typing import Any

_NAME = re.compile(r"[A-Za-z_][\w.-]*\Z")
_PLACE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z")
NAME_CHARS_MAX = 500
"""Characters of a callable's name."""


def is_callable_name(text: str) -> bool:
    """Say whether a text has the form of a registered name or of ``module:qualname``."""
    return len(text) <= NAME_CHARS_MAX and bool(_NAME.match(text) or _PLACE.match(text))


def name_of(
    function: Callable[..., Any], registered: Mapping[str, Callable[..., Any]] | None = None
) -> str | None:
    """Give the name under which a callable can be found again, or None (lambdas, closures, …).

    Args:
        function: What a user gave.
        registered: Names that the program registered; they come first.
    """
    for name, known in (registered or {}).items():
        if known is function:
            return name
    if not isinstance(function, FunctionType | MethodType | type):
        return None
    name = f"{function.__module__}:{function.__qualname__}"
    try:
        return name if find_callable(name) == function else None
    except LookupError:
        return None


def find_callable(
    name: str, registered: Mapping[str, Callable[..., Any]] | None = None
) -> Callable[..., Any]:
    """Find the callable that a name stands for.

    Args:
        name: A registered name, or ``module:qualname``.
        registered: Names that the program registered.

    Raises: LookupError saying what is not there, or why it may not be named.
    """
    if registered and name in registered:
        return registered[name]
    module_name, _, qualname = name.partition(":")
    if not is_callable_name(name) or not qualname:
        raise LookupError(f"callable {name!r:.80}: neither registered nor module:qualname")
    if module_name.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        raise LookupError(f"callable {name!r:.80}: the standard library cannot be named; wrap it")
    found: Any = sys.modules.get(module_name)
    if not isinstance(found, ModuleType):
        raise LookupError(f"callable {name!r:.80}: module {module_name} has not been imported here")
    for part in qualname.split("."):
        # vars(), not getattr(): no descriptor, __getattr__ or lazy import runs on the way.
        found = vars(found).get(part) if isinstance(found, ModuleType | type) else None
        if isinstance(found, staticmethod | classmethod):
            found = found.__get__(None, object) if isinstance(found, staticmethod) else None
    if not isinstance(found, FunctionType | type):
        raise LookupError(f"callable {name!r:.80}: there is no such function")
    if found.__module__ != module_name or found.__qualname__ != qualname:
        raise LookupError(
            f"callable {name!r:.80}: it is {found.__module__}:{found.__qualname__}; name it so"
        )
    return found
