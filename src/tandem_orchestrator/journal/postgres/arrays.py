"""Arrays in PostgreSQL's binary form, packed a column at a time.

A batch is one statement whatever its size: each column travels as one array and the server unpacks
them side by side (``unnest``). Packed here because psycopg asks a dumper for every element, which
takes longer than all else that is done for a record. Source: ``array_recv`` in PostgreSQL's
``arrayfuncs.c``: dimensions, whether there are nulls, element type, then length and lower bound,
then each element as its length (-1: null) and bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_INT8, _TEXT, _BYTEA, _FLOAT8, _BOOL = 20, 25, 17, 701, 16
_HEAD = struct.Struct(">iiIii")
_EMPTY = struct.Struct(">iiI")
_LENGTH = struct.Struct(">i").pack
_INT8_ITEM = struct.Struct(">iq").pack
_FLOAT8_ITEM = struct.Struct(">id").pack
_NULL = _LENGTH(-1)
_TRUE, _FALSE = _LENGTH(1) + b"\1", _LENGTH(1) + b"\0"


class Array:
    """A packed array."""

    __slots__ = ("data",)

    def __init__(self, element: int, items: list[bytes]) -> None:
        head = _HEAD.pack(1, 1, element, len(items), 1) if items else _EMPTY.pack(0, 0, element)
        self.data = head + b"".join(items)


class Integers(Array):
    """``bigint[]``; None is null."""

    def __init__(self, values: Sequence[int | None]) -> None:
        items = [_NULL if each is None else _INT8_ITEM(8, each) for each in values]
        super().__init__(_INT8, items)


class Floats(Array):
    """``double precision[]``; None is null."""

    def __init__(self, values: Sequence[float | None]) -> None:
        items = [_NULL if each is None else _FLOAT8_ITEM(8, each) for each in values]
        super().__init__(_FLOAT8, items)


class Booleans(Array):
    """``boolean[]``."""

    def __init__(self, values: Sequence[bool]) -> None:
        super().__init__(_BOOL, [_TRUE if each else _FALSE for each in values])


class Texts(Array):
    """``text[]``; None is null."""

    def __init__(self, values: Sequence[str | None]) -> None:
        super().__init__(_TEXT, [_NULL if each is None else _text(each) for each in values])


class Blobs(Array):
    """``bytea[]``."""

    def __init__(self, values: Sequence[bytes]) -> None:
        super().__init__(_BYTEA, [_LENGTH(len(each)) + each for each in values])


def _text(value: str) -> bytes:
    data = value.encode()
    return _LENGTH(len(data)) + data


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Array) -> bytes:
        """Give the bytes that were packed."""
        return obj.data


def _dumper(array: int) -> type[_ArrayDumper]:
    return type("ArrayDumper", (_ArrayDumper,), {"oid": array})


_DUMPERS: dict[type[Array], type[_ArrayDumper]] = {
    Integers: _dumper(1016),
    Floats: _dumper(1022),
    Booleans: _dumper(1000),
    Texts: _dumper(1009),
    Blobs: _dumper(1001),
}
"""By the type numbers of the arrays, which PostgreSQL never changes."""


# Any: rows of any kind.
def register_arrays(connection: psycopg.Connection[Any]) -> None:
    """Teach a connection to send these arrays."""
    for kind, dumper in _DUMPERS.items():
        connection.adapters.register_dumper(kind, dumper)
