"""Calling a handler: convert the payload, pass what it takes, describe what it raised."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from tandem_orchestrator.layers.python.context import Context
from tandem_orchestrator.layers.python.handler import PythonImplementation
from tandem_orchestrator.model.outcomes import Failure
from tandem_orchestrator.model.values import from_value

MESSAGE_CHARS_MAX = 16_384
"""Characters of a failure's message; the rest is cut off."""

_OURS = str(Path(__file__).parent)


# Any: payloads, contexts and outputs are whatever the handler says.
def call_handler(
    implementation: PythonImplementation, payload: Any, context: Context | None
) -> Any:
    """Call a handler with what it takes; gives its value, or its coroutine.

    ``context`` may be None for one that takes the payload alone.

    Raises: whatever the handler raises; msgspec.ValidationError (a ValueError) if the payload is
        not of the annotated type; NotAValue if it holds an object that cannot be had here.
    """
    value = from_value(payload, strict=True)
    if implementation.payload_type is not None:
        value = msgspec.convert(value, implementation.payload_type)
    arguments = (value, context)[: implementation.takes]
    return implementation.handler(*arguments)


def describe_error(
    error: BaseException,
    names: Mapping[Any, str] | None = None,
    traceback_chars_max: int = 16_384,
) -> Failure:
    """Turn an exception into a failure, under the type that twins share if one is declared.

    Args:
        names: Exception class, or its name, to that type; the nearest base class counts.
        traceback_chars_max: The traceback's end is kept, where the error is; 0: none.
    """
    shared = None
    for kind in type(error).__mro__:
        shared = (names or {}).get(kind) or (names or {}).get(kind.__name__)
        if shared:
            break
    text = None
    if traceback_chars_max:
        frames = _of_the_user(error.__traceback__)
        lines = traceback.format_exception(type(error), error, frames)
        text = plain("".join(lines))[-traceback_chars_max:]
    try:
        failure = Failure.of(error)
    except Exception as odd:  # noqa: BLE001 - a foreign __str__; the failure it hides must be told
        message = f"its text cannot be shown ({type(odd).__name__})"
        failure = Failure(type(error).__name__, message)
    message = plain(failure.message)
    if len(message) > MESSAGE_CHARS_MAX:
        message = message[: MESSAGE_CHARS_MAX - 1] + "…"
    return Failure(shared or plain(failure.type), message, text)


def plain(text: str) -> str:
    r"""Write what is not valid UTF-8 (``os.fsdecode`` makes such) as ``\udc80``."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _of_the_user(frames: TracebackType | None) -> TracebackType | None:
    """Leave out this room's own frames at the start: the user's code is what they want to see."""
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next
    return first if first is not None else frames
