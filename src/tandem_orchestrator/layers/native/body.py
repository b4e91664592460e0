"""Encode and decode bodies fast: msgspec where it is strict, the reference codec where it is not.

What msgspec (0.20 to 0.22) writes was held against the reference codec. Ints, lengths, floats and
strings come out in the strict form, and ints out of range and surrogates raise. It departs from
strict in these ways, and each is closed here:

- a NaN keeps its bits                      -> the reference codec writes it
- keys that are not str; two keys that become one (an Enum beside its value); subclasses; tuples,
  sets, dates, ``Raw``, ``Ext``             -> ``CodecError``, by looking at the types
- any depth                                 -> ``CodecError``, by counting
- reading: duplicate keys, longer forms, float32, extensions, other keys are accepted
                                            -> ``td_strict_check`` comes first, in C
- reading: timestamps are rounded to microseconds, or refused
                                            -> the reference codec reads them

Looking at types costs one set per container, built in C, not one step per item.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from tandem_orchestrator.layers.native import codec
from tandem_orchestrator.layers.native.codec import DEPTH_MAX, CodecError, Value

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

_LEAVES = frozenset({type(None), bool, int, float, str, bytes})
_PLAIN = _LEAVES | {list, dict}
_KEYS = {str}
# A float64 whose exponent is all ones: infinity or NaN. A hit may as well lie inside a string;
# then the reference codec does the work for nothing, and gives the same bytes.
_MAYBE_NAN = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")


def encode_body(value: Value) -> bytes:
    """Write a plain value as strict MessagePack, keys in the order of the dicts.

    Plain is: None, bool, int in [-2**63, 2**64), float, str, bytes, list, dict with str keys, at
    most ``DEPTH_MAX`` containers deep, and no subclass of these (``model.values`` makes them so).

    Raises: CodecError, with the path, for anything else.
    """
    kind = type(value)
    if kind not in _LEAVES:
        if kind not in _PLAIN:
            raise CodecError(f"value: {kind.__name__} has no strict form")
        _check_shape(value)
    try:
        body = _encode(value)
    except (OverflowError, UnicodeEncodeError, ValueError):
        return codec.encode(value)  # raises as well, and names the path
    if _MAYBE_NAN.search(body) is not None:
        return codec.encode(value)
    return body


def plain_encoder() -> Callable[[Any], bytes | None]:
    """Give the encoder in C: a plain value as ``encode_body`` writes it, None for anything else.

    Raises: ImportError where there is no extension.
    """
    from tandem_orchestrator._native import _ext

    return _ext.encode


def encode_pair_body(payload: Value, inputs: dict[str, Value]) -> bytes:
    """Write ``[payload, inputs]`` for a frame with the extension record ``inputs``.

    Each of the two is strict by itself. Raises as ``encode_body``, and if inputs is no dict.
    """
    if type(inputs) is not dict:
        raise CodecError(f"inputs: {type(inputs).__name__}, expected a dict")
    return b"\x92" + encode_body(payload) + encode_body(inputs)


def decode_body(data: bytes) -> Value:
    """Read a body that ``td_strict_check`` has accepted; nothing is checked again.

    Timestamps come back as ``codec.Timestamp``. Bytes that are not strict may raise CodecError or
    give a value that no strict body has.
    """
    # Timestamps are rare, three searches in C are cheap, and a false alarm is only slower.
    if b"\xd6\xff" in data or b"\xd7\xff" in data or b"\xc7\x0c\xff" in data:
        return codec.decode(data)
    try:
        value: Value = _decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"not MessagePack: {error}") from error
    return value


def _check_shape(value: Value) -> None:
    """Check types and depth, level by level: no recursion, and no step for a leaf."""
    level: list[Value] = [value]
    for _ in range(DEPTH_MAX):
        below: list[Value] = []
        for container in level:
            if type(container) is dict:
                if container and set(map(type, container)) != _KEYS:
                    codec.encode(value)  # raises, and names the path
                items = container.values()
            else:
                items = container
            kinds = set(map(type, items))
            if kinds <= _LEAVES:
                continue
            if not kinds <= _PLAIN:
                codec.encode(value)
            below += [item for item in items if type(item) is dict or type(item) is list]
        if not below:
            return
        # A container that stands in several places is looked at once: [a, a] inside a would
        # otherwise double at each level.
        level = list({id(item): item for item in below}.values())
    codec.encode(value)
