"""The hash chain of a run: each record's link covers the record and the link before it.

A changed, missing, added or reordered record breaks every link after it, and the run's row keeps
the last link, so that records cut off at the end are noticed too. There is no secret in it: it
finds damage and careless edits, and a forger who recomputes the chain has to replace every link.
Cost: one BLAKE2b of about 100 bytes and the body, some 1 µs for a usual event.
"""

from __future__ import annotations

import hashlib

import msgspec

RECORD_VERSION = 2
"""Newest version of what a link covers and of how a body is encoded: it may name parts."""
PLAIN_VERSION = 1
"""That of a body which holds all of its event."""

LINK_BYTES = 32
"""Bytes of one link."""

_GIL_BYTES, _PIECES_BYTES_MAX = 2048, 32 * 1024
"""From so many bytes on ``hashlib`` lets other threads have the interpreter, and a busy loop gives
it back after milliseconds only: what is not much longer is hashed in pieces below that."""

_head = msgspec.msgpack.Encoder()


def row_sum(*columns: str | int | bytes | None) -> bytes:
    """Compute what stands beside a row that no chain covers, to notice damage: 16 bytes."""
    row = _head.encode(columns)
    return hashlib.blake2b(row, digest_size=16, person=b"tandem row").digest()


def first_link(run_id: str) -> bytes:
    """Give the link that stands before the first record of a run."""
    return hashlib.blake2b(run_id.encode(), digest_size=LINK_BYTES, person=b"tandem run").digest()


def next_link(
    previous: bytes,
    seq: int,
    version: int,
    kind: str,
    unit: str | None,
    attempt: int | None,
    at_ns: int,
    body: bytes,
) -> bytes:
    """Compute the link of a record from the one before it, its columns and its body."""
    # The head is one MessagePack array: it says its own length, so that fields cannot run together.
    head = _head.encode((seq, version, kind, unit, attempt, at_ns))
    whole = previous + head + body
    if not _GIL_BYTES <= len(whole) <= _PIECES_BYTES_MAX:
        return hashlib.blake2b(whole, digest_size=LINK_BYTES).digest()
    link, view = hashlib.blake2b(digest_size=LINK_BYTES), memoryview(whole)
    for first in range(0, len(whole), _GIL_BYTES - 1):
        link.update(view[first : first + _GIL_BYTES - 1])
    return link.digest()
