"""A handler: a function that does an action, and what its signature says about calling it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, get_type_hints

from tandem_orchestrator.errors import CommandError

# Any: handlers take and give values of whatever type they like.
Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class PythonImplementation:
    """One way to do an action in Python."""

    name: str
    handler: Handler
    kind: Literal["async", "thread", "process"]
    """On the loop, in a thread, or in a worker process."""
    takes: int
    """Positional arguments it wants: 0, 1 (payload) or 2 (payload, ctx)."""
    payload_type: Any = None
    """Type to convert the payload to and check it against, or None."""
    rung: str = "native"
    is_coroutine: bool = False
    """Whether calling it makes a coroutine, and runs nothing of it."""

    @property
    def source(self) -> str:
        """Give ``module:qualname``; of an object that can be called, its class's."""
        named = self.handler if hasattr(self.handler, "__qualname__") else type(self.handler)
        return f"{named.__module__}:{named.__qualname__}"


def describe_handler(
    name: str, handler: Handler, cpu: str | None, rung: str
) -> PythonImplementation:
    """Look at a handler's signature once, so that calling it is cheap.

    Raises: CommandError if it cannot be called with (payload) or (payload, ctx).
    """
    if not callable(handler):
        raise CommandError(f"handler {handler!r}: expected a function")
    target = handler if inspect.isroutine(handler) else type(handler).__call__
    is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(target)
    label = getattr(handler, "__qualname__", repr(handler))
    if cpu == "process":
        if is_async:
            raise CommandError(f"handler {label}: cpu='process' needs a plain function")
        if "<" in label:
            raise CommandError(
                f"handler {label}: cpu='process' needs a function that can be imported as "
                "module:qualname, so neither a lambda nor a local function"
            )
        owner = getattr(handler, "__self__", None)
        if owner is not None and not inspect.isclass(owner) and not inspect.ismodule(owner):
            raise CommandError(
                f"handler {label}: cpu='process' needs a plain function, for an object's method "
                "its object cannot travel"
            )
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (ValueError, TypeError) as error:
        raise CommandError(f"handler {label}: its parameters cannot be read: {error}") from error
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = [p for p in positional if p.default is p.empty]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    if len(required) > 2 or any(
        p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters
    ):
        raise CommandError(f"handler {label}: expected (payload) or (payload, ctx)")
    takes = 2 if variadic or len(positional) >= 2 else len(positional)
    if len(positional) >= 2 and positional[1].default is not positional[1].empty:
        takes = 2 if positional[1].name in ("ctx", "context") else max(1, len(required))
    kind: Literal["async", "thread", "process"] = (
        "async" if is_async else "process" if cpu == "process" else "thread"
    )
    payload_type = _payload_type(handler, positional[0].name) if positional else None
    is_coroutine = kind == "async" and inspect.iscoroutinefunction(handler)
    return PythonImplementation(name, handler, kind, takes, payload_type, rung, is_coroutine)


def _payload_type(handler: Handler, parameter: str) -> Any:
    """Give the class that a payload is to be converted to, or None."""
    function = inspect.unwrap(handler) if inspect.isroutine(handler) else type(handler).__call__
    annotation = getattr(function, "__annotations__", {}).get(parameter)
    if isinstance(annotation, str):
        # Alone, so that the others of the handler may be for a type checker only.
        only = SimpleNamespace(__annotations__={parameter: annotation})
        try:
            annotation = get_type_hints(only, getattr(function, "__globals__", {})).get(parameter)
        except (NameError, TypeError, AttributeError, SyntaxError):
            return None  # One that only a type checker can read asks for no conversion.
    is_record = isinstance(annotation, type) and (
        hasattr(annotation, "__dataclass_fields__")
        or hasattr(annotation, "__struct_fields__")
        or hasattr(annotation, "__total__")
    )
    return annotation if is_record else None
