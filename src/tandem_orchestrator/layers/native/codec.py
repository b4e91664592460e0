"""Encode and decode strict MessagePack in plain Python: the oracle.

Strict means that a value has, up to the order of keys, exactly one form: ints and lengths in their
shortest form, float64 only, NaN as one bit pattern, str in well-formed UTF-8, map keys str and
unique, timestamp (extension -1, in the shortest of its three forms) the only extension type, at
most ``DEPTH_MAX`` open containers, nothing after the value. Canonical is strict with the keys of
every map ascending by their bytes; it is made for comparison and digests only.

This module is written to be read, and to accept exactly the bytes that ``td_strict_check`` in
``native/src/strict`` accepts; ``tests/parity`` holds the two against each other. ``body.py`` is
the fast way. The format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DEPTH_MAX = 32
"""Open containers: ``[[1]]`` has depth 2, a plain ``1`` has depth 0."""
INT_MIN, INT_MAX = -(2**63), 2**64 - 1
NAN_BITS = 0x7FF8_0000_0000_0000
"""The one NaN."""

# A decoded or to-be-encoded value has any of the types below; Any spares every caller a cast.
Value = Any
"""None, bool, int in [-2**63, 2**64), float, str, bytes, Timestamp, list, or dict with str keys."""


class CodecError(ValueError):
    """Bytes that are not strict MessagePack, or an object that has no strict form."""

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        super().__init__(message if offset is None else f"byte {offset}: {message}")
        self.offset = offset
        """Where in the bytes, when decoding."""


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    """A moment, exact to the nanosecond (a ``datetime`` keeps microseconds only)."""

    seconds: int
    """Since 1970 UTC, in [-2**63, 2**63); before 1970 below 0."""
    nanoseconds: int = 0
    """0 to 999,999,999, forward from ``seconds``."""


# ---- encoding ---------------------------------------------------------------------------------


def encode(value: Value) -> bytes:
    """Write a value as strict MessagePack, keys in the order of the dicts.

    Raises: CodecError, with the path, for a type, int, str, key or depth that has no strict form.
    Subclasses (an IntEnum, an OrderedDict) and tuples are refused: converting is the model's work.
    """
    return _encoded(value, sort=False)


def canonical(value: Value) -> bytes:
    """Write a value as canonical MessagePack: equal values, and only those, give equal bytes.

    ``1`` and ``1.0`` differ, ``0.0`` and ``-0.0`` differ, all NaN are one. Raises as ``encode``.
    """
    return _encoded(value, sort=True)


def encode_pair(payload: Value, inputs: dict[str, Value]) -> bytes:
    """Write ``[payload, inputs]`` for a frame with the extension record ``inputs``.

    Each of the two is strict by itself: the array around them does not count as depth.
    """
    if type(inputs) is not dict:
        raise CodecError(f"inputs: {type(inputs).__name__}, expected a dict")
    return b"\x92" + encode(payload) + encode(inputs)


def _encoded(value: Value, *, sort: bool) -> bytes:
    out = bytearray()
    _put(out, value, sort, 0, "value")
    return bytes(out)


def _put(out: bytearray, value: Value, sort: bool, depth: int, path: str) -> None:
    kind = type(value)
    if value is None:
        out.append(0xC0)
    elif kind is bool:
        out.append(0xC3 if value else 0xC2)
    elif kind is int:
        _put_int(out, value, path)
    elif kind is float:
        out += b"\xcb" + (struct.pack(">d", value) if value == value else NAN_BITS.to_bytes(8))
    elif kind is str:
        _put_str(out, value, path)
    elif kind is bytes:
        _put_length(out, len(value), None, (0xC4, 0xC5, 0xC6), path)
        out += value
    elif kind is Timestamp:
        _put_timestamp(out, value, path)
    elif kind is list or kind is dict:
        if depth == DEPTH_MAX:
            raise CodecError(f"{path}: nested deeper than {DEPTH_MAX} containers")
        if kind is list:
            _put_length(out, len(value), (0x90, 15), (None, 0xDC, 0xDD), path)
            for index, item in enumerate(value):
                _put(out, item, sort, depth + 1, f"{path}[{index}]")
        else:
            _put_map(out, value, sort, depth, path)
    else:
        raise CodecError(f"{path}: {kind.__name__} has no strict form")


def _put_map(out: bytearray, value: dict[str, Value], sort: bool, depth: int, path: str) -> None:
    for key in value:
        if type(key) is not str:
            raise CodecError(f"{path}: key {key!r} is {type(key).__name__}, expected str")
    # Sorting by code points is sorting by UTF-8 bytes; it only fails later for surrogates.
    keys = sorted(value) if sort else list(value)
    _put_length(out, len(keys), (0x80, 15), (None, 0xDE, 0xDF), path)
    for key in keys:
        _put_str(out, key, path)
        _put(out, value[key], sort, depth + 1, f"{path}.{key}")


def _put_int(out: bytearray, value: int, path: str) -> None:
    if not INT_MIN <= value <= INT_MAX:
        raise CodecError(f"{path}: {value} is outside [-2**63, 2**64)")
    if -32 <= value <= 127:
        out += value.to_bytes(1, signed=value < 0)
        return
    signed = value < 0
    for power, width in enumerate((1, 2, 4, 8)):
        bits = 8 * width
        if (-(2 ** (bits - 1)) <= value) if signed else (value < 2**bits):
            out.append((0xD0 if signed else 0xCC) + power)
            out += value.to_bytes(width, signed=signed)
            return


def _put_str(out: bytearray, value: str, path: str) -> None:
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise CodecError(f"{path}: {value!r} is not valid UTF-8 ({error.reason})") from None
    _put_length(out, len(data), (0xA0, 31), (0xD9, 0xDA, 0xDB), path)
    out += data


def _put_length(
    out: bytearray,
    length: int,
    fix: tuple[int, int] | None,
    heads: tuple[int | None, int, int],
    path: str,
) -> None:
    """Write a length in its shortest form; ``fix`` is (head, longest), ``heads`` 1, 2, 4 bytes."""
    if fix is not None and length <= fix[1]:
        out.append(fix[0] | length)
        return
    for width, head in zip((1, 2, 4), heads, strict=True):
        if head is not None and length < 2 ** (8 * width):
            out.append(head)
            out += length.to_bytes(width)
            return
    raise CodecError(f"{path}: length {length}, must be below 2**32")


def _put_timestamp(out: bytearray, value: Timestamp, path: str) -> None:
    seconds, nanoseconds = value.seconds, value.nanoseconds
    if not (-(2**63) <= seconds < 2**63 and 0 <= nanoseconds < 10**9):
        raise CodecError(f"{path}: {value} is out of range")
    if nanoseconds == 0 and 0 <= seconds < 2**32:
        out += b"\xd6\xff" + seconds.to_bytes(4)
    elif 0 <= seconds < 2**34:
        out += b"\xd7\xff" + (nanoseconds << 34 | seconds).to_bytes(8)
    else:
        out += b"\xc7\x0c\xff" + nanoseconds.to_bytes(4) + seconds.to_bytes(8, signed=True)


# ---- decoding ---------------------------------------------------------------------------------


def decode(data: bytes) -> Value:
    """Read one strict value that fills ``data`` exactly.

    Raises: CodecError, with the offset of the first byte that breaks a rule.
    """
    cursor = _Cursor(data)
    value = _take(cursor, 0)
    cursor.finish()
    return value


def decode_pair(data: bytes) -> tuple[Value, dict[str, Value]]:
    """Read the body of a frame with the extension record ``inputs``: payload and inputs.

    Raises: CodecError as ``decode``, and when it is not a 2-array or inputs is not a map.
    """
    cursor = _Cursor(data)
    if cursor.byte() != 0x92:
        raise CodecError("expected the 2-array [payload, inputs]", offset=0)
    payload = _take(cursor, 0)
    offset = cursor.at
    inputs = _take(cursor, 0)
    if type(inputs) is not dict:
        raise CodecError("inputs is not a map", offset=offset)
    cursor.finish()
    return payload, inputs


def is_canonical(data: bytes) -> bool:
    """Tell whether strict bytes have the keys of every map in ascending order.

    Raises: CodecError if they are not strict.
    """
    return canonical(decode(data)) == bytes(data)


class _Cursor:
    """Where reading stands; hands out bytes and refuses to run past the end."""

    def __init__(self, data: bytes) -> None:
        self.data = bytes(data)
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise CodecError(f"{count} bytes wanted, {self.left} left", offset=self.at)
        self.at += count
        return self.data[self.at - count : self.at]

    def finish(self) -> None:
        if self.left:
            raise CodecError(f"{self.left} bytes after the value", offset=self.at)


def _take(cursor: _Cursor, depth: int) -> Value:
    head = cursor.byte()
    if head <= 0x7F:
        return head
    if head >= 0xE0:
        return head - 256
    if head <= 0x8F:
        return _take_map(cursor, head & 0x0F, depth)
    if head <= 0x9F:
        return _take_list(cursor, head & 0x0F, depth)
    if head <= 0xBF:
        return _take_str(cursor, head & 0x1F)
    reader = _READERS.get(head)
    if reader is None:
        raise CodecError(f"head {head:#04x} is not allowed", offset=cursor.at - 1)
    return reader(cursor, depth)


def _take_length(cursor: _Cursor, width: int, shorter_max: int) -> int:
    """Read a length of ``width`` bytes; lengths up to ``shorter_max`` have a shorter form."""
    length = int.from_bytes(cursor.take(width))
    if length <= shorter_max:
        raise CodecError(f"length {length} is not in its shortest form", offset=cursor.at - width)
    return length


def _take_uint(cursor: _Cursor, width: int, shorter_max: int) -> int:
    value = int.from_bytes(cursor.take(width))
    if value <= shorter_max:
        raise CodecError(f"int {value} is not in its shortest form", offset=cursor.at - width)
    return value


def _take_negative(cursor: _Cursor, width: int, shorter_min: int) -> int:
    value = int.from_bytes(cursor.take(width), signed=True)
    if value >= shorter_min:
        raise CodecError(f"int {value} is not in its shortest form", offset=cursor.at - width)
    return value


def _take_float(cursor: _Cursor) -> float:
    raw = cursor.take(8)
    value: float = struct.unpack(">d", raw)[0]
    if value != value and int.from_bytes(raw) != NAN_BITS:
        raise CodecError(f"NaN {raw.hex()} is not the one NaN", offset=cursor.at - 8)
    return value


def _take_str(cursor: _Cursor, length: int) -> str:
    raw = cursor.take(length)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        offset = cursor.at - length + error.start
        raise CodecError(f"not valid UTF-8 ({error.reason})", offset=offset) from None


def _enter(cursor: _Cursor, depth: int) -> int:
    if depth == DEPTH_MAX:
        raise CodecError(f"nested deeper than {DEPTH_MAX} containers", offset=cursor.at)
    return depth + 1


def _take_list(cursor: _Cursor, count: int, depth: int) -> list[Value]:
    inside = _enter(cursor, depth)
    if count > cursor.left:
        raise CodecError(f"{count} items, {cursor.left} bytes left", offset=cursor.at)
    return [_take(cursor, inside) for _ in range(count)]


def _take_map(cursor: _Cursor, count: int, depth: int) -> dict[str, Value]:
    inside = _enter(cursor, depth)
    if count > cursor.left // 2:
        raise CodecError(f"{count} pairs, {cursor.left} bytes left", offset=cursor.at)
    result: dict[str, Value] = {}
    for _ in range(count):
        offset = cursor.at
        key = _take(cursor, inside)
        if type(key) is not str:
            raise CodecError(f"key is {type(key).__name__}, expected str", offset=offset)
        if key in result:
            raise CodecError(f"key {key!r} comes twice", offset=offset)
        result[key] = _take(cursor, inside)
    return result


def _take_timestamp(cursor: _Cursor, width: int) -> Timestamp:
    offset = cursor.at
    if width == 12 and cursor.byte() != 12:
        raise CodecError("the only extension of this length form is timestamp 96", offset=offset)
    if cursor.byte() != 0xFF:
        raise CodecError("timestamp is the only extension type", offset=cursor.at - 1)
    raw = cursor.take(width)
    if width == 4:
        return Timestamp(int.from_bytes(raw))
    if width == 8:
        both = int.from_bytes(raw)
        value = Timestamp(both & (2**34 - 1), both >> 34)
        shorter = value.nanoseconds == 0 and value.seconds < 2**32
    else:
        value = Timestamp(int.from_bytes(raw[4:], signed=True), int.from_bytes(raw[:4]))
        shorter = 0 <= value.seconds < 2**34
    if shorter:
        raise CodecError("timestamp is not in its shortest form", offset=offset)
    if value.nanoseconds >= 10**9:
        raise CodecError(f"{value.nanoseconds} nanoseconds, must be below 10**9", offset=offset)
    return value


_READERS: dict[int, Callable[[_Cursor, int], Value]] = {
    0xC0: lambda cursor, depth: None,
    0xC2: lambda cursor, depth: False,
    0xC3: lambda cursor, depth: True,
    0xC4: lambda cursor, depth: cursor.take(_take_length(cursor, 1, -1)),
    0xC5: lambda cursor, depth: cursor.take(_take_length(cursor, 2, 0xFF)),
    0xC6: lambda cursor, depth: cursor.take(_take_length(cursor, 4, 0xFFFF)),
    0xC7: lambda cursor, depth: _take_timestamp(cursor, 12),
    0xCB: lambda cursor, depth: _take_float(cursor),
    0xCC: lambda cursor, depth: _take_uint(cursor, 1, 0x7F),
    0xCD: lambda cursor, depth: _take_uint(cursor, 2, 0xFF),
    0xCE: lambda cursor, depth: _take_uint(cursor, 4, 0xFFFF),
    0xCF: lambda cursor, depth: _take_uint(cursor, 8, 0xFFFF_FFFF),
    0xD0: lambda cursor, depth: _take_negative(cursor, 1, -32),
    0xD1: lambda cursor, depth: _take_negative(cursor, 2, -(2**7)),
    0xD2: lambda cursor, depth: _take_negative(cursor, 4, -(2**15)),
    0xD3: lambda cursor, depth: _take_negative(cursor, 8, -(2**31)),
    0xD6: lambda cursor, depth: _take_timestamp(cursor, 4),
    0xD7: lambda cursor, depth: _take_timestamp(cursor, 8),
    0xD9: lambda cursor, depth: _take_str(cursor, _take_length(cursor, 1, 31)),
    0xDA: lambda cursor, depth: _take_str(cursor, _take_length(cursor, 2, 0xFF)),
    0xDB: lambda cursor, depth: _take_str(cursor, _take_length(cursor, 4, 0xFFFF)),
    0xDC: lambda cursor, depth: _take_list(cursor, _take_length(cursor, 2, 15), depth),
    0xDD: lambda cursor, depth: _take_list(cursor, _take_length(cursor, 4, 0xFFFF), depth),
    0xDE: lambda cursor, depth: _take_map(cursor, _take_length(cursor, 2, 15), depth),
    0xDF: lambda cursor, depth: _take_map(cursor, _take_length(cursor, 4, 0xFFFF), depth),
}
"""What follows each head that is not a small int or a short map, list or str."""
