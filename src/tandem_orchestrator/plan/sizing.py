"""How large a payload is on the wire, as far as that is known when a step is planned. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from tandem_orchestrator.model.refs import find_refs
from tandem_orchestrator.model.routing import UNSIZED, bucket_of

_REFERENCE_MARKS = (b"$ref", b"\x83\xa4step")
"""What a reference looks like once encoded: as a file writes it, and as the map of a ``Ref``."""


def _nothing(value: object) -> None:
    """Encode what only a codec can write, or a reference's missing default, as nothing."""


_encode = msgspec.msgpack.Encoder(enc_hook=_nothing).encode


# Any: a payload is any value, references inside it not yet resolved.
def size_of(payload: Any) -> tuple[int, int]:
    """Give (bytes on the wire, bucket).

    Of a payload that holds references the bytes are those of the rest, and the bucket is
    ``UNSIZED``. One pass in C; a second, in Python, only where something looks like a reference.
    """
    try:
        body = _encode(payload)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return 0, UNSIZED  # No plain value: its action's codec knows its size, nobody else.
    if any(mark in body for mark in _REFERENCE_MARKS) and any(True for _ in find_refs(payload)):
        return len(body), UNSIZED
    return len(body), bucket_of(len(body))
