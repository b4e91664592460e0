"""The fast body codec writes and reads exactly what the reference codec does."""

import datetime
import enum
import math
import struct
import uuid
from collections import OrderedDict
from decimal import Decimal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator.layers.native.body import decode_body, encode_body, encode_pair_body
from tandem_orchestrator.layers.native.codec import (
    CodecError,
    Timestamp,
    decode,
    encode,
    encode_pair,
)


def bits(number):
    return struct.unpack(">d", number.to_bytes(8))[0]


NANS = st.integers(0x7FF0_0000_0000_0001, 0x7FFF_FFFF_FFFF_FFFF).map(bits)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([sign * 2**power for power in range(63) for sign in (1, -1)])
    | st.floats()
    | NANS
    | NANS.map(lambda nan: -nan)
    | st.text()
    | st.binary()
    | st.sampled_from([b"\xcb\x7f\xf8", "Ë\x7f", b"\xd6\xff", b"\xd7\xff\xc7\x0c\xff"])
)
# A loaded machine draws slowly; that is no fault of what is tested.
PATIENT = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Name(str):
    __slots__ = ()


class Point(msgspec.Struct):
    x: int


def nested(depth, wrap):
    value = None
    for _ in range(depth):
        value = wrap(value)
    return value


@PATIENT
@given(VALUES)
def test_a_body_has_the_bytes_of_the_reference_codec(value):
    assert encode_body(value) == encode(value)


@PATIENT
@given(VALUES)
def test_a_body_reads_as_the_reference_codec_reads_it(value):
    body = encode(value)
    assert encode(decode_body(body)) == body
    assert type(decode_body(body)) is type(decode(body))


@PATIENT
@given(VALUES, st.dictionaries(st.text(max_size=5), VALUES, max_size=3))
def test_a_pair_has_the_bytes_of_the_reference_codec(payload, inputs):
    assert encode_pair_body(payload, inputs) == encode_pair(payload, inputs)


@pytest.mark.parametrize("length", [15, 16, 31, 32, 255, 256, 65535, 65536])
def test_lengths_on_both_sides_of_each_form_agree(length):
    for value in ("x" * length, b"x" * length, [None] * length,
                  {str(n): n for n in range(length)}):  # fmt: skip
        assert encode_body(value) == encode(value)
        assert decode_body(encode(value)) == value


REFUSED = {
    "int key": {1: 2},
    "None key": {None: 2},
    "bytes key": {b"a": 2},
    "float key": {1.5: 2},
    "key of a subclass": {Name("a"): 1},
    "two keys that become one": {"red": 1, Colour.RED: 2},
    "int key deep inside": {"a": [[{"b": {1: 2}}]]},
    "tuple": (1,),
    "set": {1},
    "frozenset": frozenset({1}),
    "bytearray": bytearray(b"a"),
    "memoryview": memoryview(b"a"),
    "enum": Colour.RED,
    "int enum": Number.ONE,
    "str of a subclass": Name("a"),
    "ordered dict": OrderedDict(a=1),
    "struct": Point(1),
    "aware datetime": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC),
    "date": datetime.date(2020, 1, 1),
    "decimal": Decimal("1.5"),
    "uuid": uuid.UUID(int=0),
    "raw": msgspec.Raw(b"\xca\x00\x00\x00\x00"),
    "extension": msgspec.msgpack.Ext(5, b"a"),
    "too large": 2**64,
    "too small": -(2**63) - 1,
    "surrogate": "\ud800",
    "surrogate in a key": {"\ud800": 1},
    "33 lists": nested(33, lambda inner: [inner]),
    "33 dicts": nested(33, lambda inner: {"a": inner}),
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_strict_form_is_refused(value):
    for tried in (value, [value], {"a": [1, value]}):
        with pytest.raises(CodecError):
            encode(tried)
        with pytest.raises(CodecError):
            encode_body(tried)


def test_a_cycle_is_refused_as_too_deep():
    cycle = []
    cycle += [cycle] * 10
    with pytest.raises(CodecError, match="deeper than 32"):
        encode_body(cycle)


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}])
def test_depth_32_is_allowed(wrap):
    value = nested(32, wrap)
    assert decode_body(encode_body(value)) == value


def test_a_nan_inside_is_written_as_the_one_nan():
    odd = bits(0xFFF8_0000_0000_0001)
    assert encode_body({"a": [odd, math.inf]}) == encode({"a": [math.nan, math.inf]})


@pytest.mark.parametrize(
    "moment", [Timestamp(0), Timestamp(1, 999_999_999), Timestamp(-1), Timestamp(2**62, 5)]
)
def test_a_timestamp_is_read_exactly(moment):
    # msgspec alone would round the nanoseconds, and refuse the year 146 billion.
    assert decode_body(encode({"at": moment})) == {"at": moment}


def test_inputs_must_be_a_dict():
    with pytest.raises(CodecError, match="list, expected a dict"):
        encode_pair_body(1, [])


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\xa2a", b"\xc0\xc0", b"\xa1\xff", b"\x91" * 5000])
def test_bytes_that_are_no_value_raise_codec_error(body):
    with pytest.raises(CodecError):
        decode_body(body)
