"""What the router knows and says: sizes in buckets, measured costs, and the record of a decision.

A bucket is the base-2 logarithm of a payload's bytes on the wire, rounded down: costs of steps of
about one size are kept together. A payload whose size is not known when it is planned, since it
refers to outputs that are not there yet, has a bucket of its own.
"""

from __future__ import annotations

import msgspec

UNSIZED = -1
"""The bucket of payloads whose size is not known when they are planned."""
BUCKET_MAX = 40
"""The last bucket; larger payloads count as of this size."""


def bucket_of(size_bytes: int) -> int:
    """Give the bucket of a payload: 0 for 0 or 1 byte, 12 for 4,096 to 8,191."""
    return min(max(size_bytes.bit_length() - 1, 0), BUCKET_MAX)


def bucket_text(bucket: int) -> str:
    """Name a bucket for people, as ``4 KiB to 8 KiB``."""
    if bucket == UNSIZED:
        return "of a size not known when planned"
    return f"{_size(bucket)} to {_size(bucket + 1)}"


def _size(power: int) -> str:
    unit = min(power // 10, 4)
    return f"{2 ** (power - 10 * unit)} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[unit]}"


class Estimate(msgspec.Struct):
    """What one implementation costs for payloads of one bucket; changed in place as it is learned."""

    seconds: float = 0.0
    """What a caller waits for, from dispatch to decoded output; 0.0 before the first sample."""
    samples: int = 0
    last_s: float = 0.0
    """The last sample."""
    first: tuple[float, ...] = ()
    """The first samples, until there are enough for a median of them."""
    since: int = 0
    """Samples of the others since this one was tried."""
    spent_s: float = 0.0
    """Seconds of the others in that time."""


class Standing(msgspec.Struct):
    """How the implementations of one action stand for one bucket; changed in place."""

    estimates: dict[str, Estimate] = {}
    leader: str = ""
    """The one that is taken; empty until there is one."""
    typical_bytes: int = 0
    """Of the bucket ``UNSIZED``: how large its payloads are, on a geometric average; 0: not known."""
    is_due: bool = False
    """Whether another one than the leader is to be tried next."""
    version: int = 0
    """Changes when what the router would say may have changed: a plan that is kept looks at it."""


class RouteOption(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One implementation as the router saw it."""

    implementation: str
    layer: str
    rung: str = "native"
    seconds: float | None = None
    """Measured cost; None: not measured yet."""
    samples: int = 0
    excluded: str = ""
    """Why it could not be chosen; empty where it could."""


class RouteRecord(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a decision went by, kept in the plan for ``tandem explain``."""

    bytes: int = 0
    """Of the payload on the wire; where it holds references, what such payloads of its action had
    lately, and before the first of them the size of the rest."""
    bucket: int = UNSIZED
    options: tuple[RouteOption, ...] = ()
    chosen: str = ""
    """The implementation that was chosen among them."""
    explored: bool = False
    """Whether it was chosen to learn what it costs."""
    asked: str = ""
    """The mode whose own route chose; empty where the router did."""
    load: dict[str, float] = {}
    """Layer to the share of its workers in use."""
