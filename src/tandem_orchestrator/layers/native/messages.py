"""What messages need of Python: their errors, and payloads that C cannot write.

Everything else about a message happens in ``native/ext``, inside the one call that
sends it and the one that drains the ring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tandem_orchestrator.errors import (
    ActionFailed,
    Busy,
    InternalError,
    LayerUnavailable,
    NotAValue,
    OutcomeUnknown,
)
from tandem_orchestrator.layers.native import reports
from tandem_orchestrator.layers.native.body import decode_body, encode_body
from tandem_orchestrator.layers.native.codec import CodecError, Timestamp
from tandem_orchestrator.layers.native.codec import decode as decode_strict
from tandem_orchestrator.model.values import from_value, to_value

if TYPE_CHECKING:
    from tandem_orchestrator._native import _ext

ENCODED, RAW = 1, 2
"""Flags of a message: the payload is a strict MessagePack body; the answer is wanted as one."""

MakeError = Callable[[int, int, bytes], Exception]
"""(action_id, status, body) to the exception that a caller gets."""


def _no_wake() -> None:
    """Nobody sends by a way where there is no loop."""


def prepare(
    client: _ext.Client,
    names: Mapping[int, str],
    loop: asyncio.AbstractEventLoop | None,
    wake: Callable[[], None] | None = None,
    missing: Callable[[], str] = str,
    crashed: Callable[[int], None] | None = None,
) -> None:
    """Give a client what it needs before its first message.

    Args:
        client: The client.
        names: Action id to ``agent.action``, for messages of errors.
        loop: Where Futures belong; None for a client that only blocks.
        wake: Called by the first message after a look: another is due in this turn of the loop.
        missing: Says why an action is not offered at this moment; empty while nobody knows.
        crashed: Told the id of an action whose host died with a message.
    """

    def make_error(action_id: int, status: int, body: bytes) -> Exception:
        why = missing() if status == reports.NO_AGENT else ""
        if crashed is not None and status == reports.UNKNOWN and _tells_a_crash(body):
            crashed(action_id)
        return error_of(names.get(action_id, f"action {action_id}"), status, body, why)

    client.prepare(
        loop, asyncio.Future, make_error, make_body, from_value, Timestamp, wake or _no_wake
    )


def make_body(payload: Any, encoded: bool) -> bytes:
    """Encode a payload that is not plain; refuse an encoded one that is not strict.

    Raises: NotAValue, naming the path or the byte.
    """
    try:
        if encoded:
            if not isinstance(payload, bytes):
                raise NotAValue(f"payload: an encoded body is bytes, got {type(payload).__name__}")
            decode_strict(payload)  # raises: this is called for bodies that the check refused
            raise NotAValue("payload: the body is not strict MessagePack")
        return encode_body(to_value(payload, where="payload", payload=True))
    except CodecError as error:
        raise NotAValue(f"payload: {error}") from error


def _tells_a_crash(body: bytes) -> bool:
    said = decode_body(body) if body else None
    return isinstance(said, dict) and said.get("type") == reports.CRASHED


def error_of(name: str, status: int, body: bytes, why: str = "") -> Exception:
    """Make the exception for a status; ``name`` is ``agent.action``, ``why`` of its absence."""
    match status:
        case reports.FAILED:
            value = decode_body(body)
            if isinstance(value, dict):
                return ActionFailed(str(value.get("type")), str(value.get("message", "")))
            return ActionFailed("Corrupt", f"{name}: its failure is not a map")
        case reports.TIMED_OUT:
            return TimeoutError(f"{name}: no answer within its timeout")
        case reports.CANCELLED:
            return ActionFailed("Cancelled", f"{name}: the C layer stopped it")
        case reports.UNKNOWN:
            said = decode_body(body) if body else None  # of an agent that died with it
            if isinstance(said, dict):
                return OutcomeUnknown(f"{name}: it may have run; {said.get('message', '')}")
            return OutcomeUnknown(f"{name}: it may have run; the C layer went away meanwhile")
        case reports.NOT_STARTED:
            return LayerUnavailable(f"{name}: the C layer went away before it took the message")
        case reports.NO_AGENT:
            gone = "the bridge does not offer it any more"
            return LayerUnavailable(f"{name}: {why}; {gone}" if why else f"{name}: {gone}")
        case reports.BUSY:
            return Busy(f"{name}: the C layer had no room for it")
        case reports.TOO_LARGE:
            return ActionFailed("TooLarge", f"{name}: its payload or output is over the limit")
        case reports.CORRUPT:
            return ActionFailed("Corrupt", f"{name}: its output broke the rules of the wire")
    return InternalError(f"{name}: status {status} is not known")
