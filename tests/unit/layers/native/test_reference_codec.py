"""The plain Python codec: what it refuses, and that canonical means what it says."""

import enum
import math
import random
from collections import OrderedDict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem_orchestrator.layers.native.codec import (
    CodecError,
    Timestamp,
    canonical,
    decode,
    decode_pair,
    encode,
    encode_pair,
    is_canonical,
)

# A loaded machine draws slowly; that is no fault of what is tested.
PATIENT = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


def shuffled(value, rng):
    if isinstance(value, dict):
        items = [(key, shuffled(item, rng)) for key, item in value.items()]
        rng.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    return value


@PATIENT
@given(VALUES)
def test_what_is_encoded_decodes_to_the_same_bytes_again(value):
    body = encode(value)
    assert encode(decode(body)) == body


@PATIENT
@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_the_canonical_form(value, rng):
    assert canonical(shuffled(value, rng)) == canonical(value)
    assert is_canonical(canonical(value))


@PATIENT
@given(VALUES, st.dictionaries(st.text(), VALUES, max_size=3))
def test_a_pair_comes_apart_as_it_was_put_together(payload, inputs):
    body = encode_pair(payload, inputs)
    found, found_inputs = decode_pair(body)
    assert encode_pair(found, found_inputs) == body


def test_values_that_differ_have_canonical_forms_that_differ():
    distinct = [None, False, 0, 0.0, -0.0, True, 1, 1.0, "", b"", [], {}, "1", b"1", math.nan,
                [None], {"a": None}, {"a": 1}, Timestamp(0), Timestamp(0, 1)]  # fmt: skip
    assert len({canonical(value) for value in distinct}) == len(distinct)


def test_all_nans_are_one():
    assert encode(-math.nan) == encode(math.nan) == bytes.fromhex("cb7ff8000000000000")


def test_a_mixed_order_says_where_it_is_not_canonical():
    body = encode({"b": 1, "a": 2})
    assert not is_canonical(body)
    assert decode(body) == {"b": 1, "a": 2}
    assert list(decode(body)) == ["b", "a"]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [1, 2**64]}, r"value\.a\[1\]: 18446744073709551616 is outside"),
        (-(2**63) - 1, "outside"),
        ("\ud800", "surrogates"),
        ({"\ud800": 1}, "surrogates"),
        ({1: 2}, "key 1 is int"),
        ({b"a": 2}, "key b'a' is bytes"),
        ({Name("a"): 2}, "is Name"),
        (Colour.RED, "Colour has no strict form"),
        (Name("a"), "Name has no strict form"),
        (OrderedDict(a=1), "OrderedDict has no strict form"),
        ((1, 2), "tuple has no strict form"),
        ({1, 2}, "set has no strict form"),
        (bytearray(b"a"), "bytearray has no strict form"),
        (object(), "object has no strict form"),
        (nested(33), "deeper than 32"),
        (Timestamp(0, 10**9), "out of range"),
        (Timestamp(2**63), "out of range"),
    ],
)
def test_what_has_no_strict_form_is_refused_with_its_path(value, told):
    for write in (encode, canonical):
        with pytest.raises(CodecError, match=told):
            write(value)


def test_depth_32_is_allowed():
    assert decode(encode(nested(32))) == nested(32)


def test_inputs_must_be_a_map():
    with pytest.raises(CodecError, match="list, expected a dict"):
        encode_pair(1, [])
    with pytest.raises(CodecError, match="inputs is not a map"):
        decode_pair(bytes.fromhex("9201c0"))


def test_an_error_tells_the_offset():
    with pytest.raises(CodecError, match="byte 4: key 'a' comes twice") as caught:
        decode(bytes.fromhex("82a16101a16102"))
    assert caught.value.offset == 4


def test_a_declared_length_reserves_nothing():
    for head in ("dd", "df", "db", "c6"):
        with pytest.raises(CodecError, match="left"):
            decode(bytes.fromhex(head + "ffffffff"))


def test_any_mutation_decodes_or_raises_codec_error_and_nothing_else():
    rng = random.Random(1)
    body = encode({"a": [1, -5, 2.5, "é", b"\xff"], "b": {"c": None}, "t": Timestamp(1, 2)})
    for _ in range(20_000):
        damaged = bytearray(body)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            value = decode(bytes(damaged))
        except CodecError:
            continue
        assert encode(value) == bytes(damaged)
