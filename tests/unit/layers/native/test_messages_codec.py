"""The codec in C writes and reads exactly what the reference codec does."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.layers.native import codec
from tandem_orchestrator.layers.native.body import encode_body
from tandem_orchestrator.layers.native.codec import CodecError, Timestamp

pytestmark = pytest.mark.native

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=300)
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), inner)
    ),
    max_leaves=40,
)


@pytest.fixture(scope="module")
def ext():
    from tandem_orchestrator._native import _ext

    return _ext


@given(value=values)
def test_the_bytes_are_those_of_encode_body_and_read_back_alike(ext, value):
    body = ext.encode(value)
    assert body == encode_body(value) == codec.encode(value)
    again = ext.decode(body, Timestamp)
    assert codec.encode(again) == body


@pytest.mark.parametrize(
    "value",
    [
        *(sign * 2**power + off for power in range(65) for sign in (1, -1) for off in (-1, 0, 1)
          if -(2**63) <= sign * 2**power + off < 2**64),
        *("x" * n for n in (0, 31, 32, 255, 256, 65535, 65536)),
        *(b"x" * n for n in (0, 255, 256, 65535, 65536)),
        *([0] * n for n in (15, 16, 65535, 65536)),
        *({str(i): i for i in range(n)} for n in (15, 16, 65536)),
        math.nan, -math.nan, -0.0, math.inf, "\ud7ff\U0010ffff",
    ],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_every_length_and_int_has_its_shortest_form(ext, value):
    body = ext.encode(value)
    assert body == codec.encode(value)
    assert codec.encode(ext.decode(body, Timestamp)) == body


def nested(depth: int) -> list:
    value: list = []
    for _ in range(depth - 1):
        value = [value]
    return value


class _Subclass(dict):
    pass


@pytest.mark.parametrize(
    "value",
    [object(), (1,), {1: 2}, {"a": {2: 3}}, _Subclass(a=1), 2**64, -(2**63) - 1, "\ud800",
     {"\ud800": 1}, bytearray(b"x"), {1}, nested(33), Timestamp(1)],
    ids=lambda value: repr(value)[:20],
)  # fmt: skip
def test_what_is_not_plain_is_left_to_python(ext, value):
    assert ext.encode(value) is None


def test_the_deepest_value_is_written_and_read(ext):
    body = ext.encode(nested(32))
    assert body == codec.encode(nested(32))
    assert ext.decode(body, Timestamp) == nested(32)


@pytest.mark.parametrize(
    "moment", [Timestamp(1), Timestamp(2**33, 5), Timestamp(-1, 999_999_999), Timestamp(2**40)]
)
def test_moments_come_back_exact(ext, moment):
    assert ext.decode(codec.encode([moment]), Timestamp) == [moment]


@given(body=st.binary(max_size=60))
def test_it_reads_exactly_what_the_reference_reads(ext, body):
    try:
        expected = codec.encode(codec.decode(body))
    except CodecError:
        with pytest.raises(ext.Corrupt):
            ext.decode(body, Timestamp)
    else:
        assert codec.encode(ext.decode(body, Timestamp)) == expected
