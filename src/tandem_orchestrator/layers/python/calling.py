"""Calling a handler: convert the payload, pass what it takes, describe what it raised."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

import msgspec

from tandem_orchestrator.layers.python.agents import PythonImplementation
from tandem_orchestrator.layers.python.context import Context
from tandem_orchestrator.model.outcomes import Failure
from tandem_orchestrator.model.values import from_value

TRACEBACK_CHARS_MAX = 65_536


# Any: payloads, contexts and outputs are whatever the handler says.
def call_handler(implementation: PythonImplementation, payload: Any, context: Context) -> Any:
    """Call a handler with what it takes; gives its value, or its coroutine.

    Raises: whatever the handler raises; msgspec.ValidationError (a ValueError) if the payload is
        not of the annotated type.
    """
    value = from_value(payload)
    if implementation.payload_type is not None:
        value = msgspec.convert(value, implementation.payload_type)
    arguments = (value, context)[: implementation.takes]
    return implementation.handler(*arguments)


def describe_error(error: BaseException, names: Mapping[Any, str] | None = None) -> Failure:
    """Turn an exception into a failure, under the type that twins share if one is declared."""
    shared = None
    for kind in type(error).__mro__:
        shared = (names or {}).get(kind) or (names or {}).get(kind.__name__)
        if shared:
            break
    # The first frame is ours; the user's own code is what they want to see.
    lines = traceback.format_exception(type(error), error, error.__traceback__)
    text = "".join(lines)[-TRACEBACK_CHARS_MAX:]
    failure = Failure.of(error, text)
    return failure if shared is None else Failure(shared, failure.message, text)
