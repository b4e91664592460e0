"""The walk in C says what the reference says, and both what canonical bytes say."""

import copy
import math
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.layers.native.codec import canonical
from tandem_orchestrator.twins import canonical as canonical_module
from tandem_orchestrator.twins.canonical import same, same_by_reference, use_walk

_ext = pytest.importorskip("tandem_orchestrator._native._ext")

NEGATIVE_NAN = struct.unpack("<d", struct.pack("<Q", 0xFFF8_0000_0000_0001))[0]
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from([0.0, -0.0, 1.0, math.nan, NEGATIVE_NAN, math.inf, 2**63, -(2**63)])
    | st.text(max_size=3)
    | st.sampled_from(["é", "e\u0301", "ｅ", "\U0001f600", ""])
    | st.binary(max_size=3)
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abé", max_size=2), inner, max_size=4)
    ),
    max_leaves=12,
)


def apart(value: Any, rng: random.Random) -> Any:
    """Copy a value without sharing objects, the keys of its dicts in some other order."""
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: apart(value[key], rng) for key in keys}
    if isinstance(value, list):
        return [apart(item, rng) for item in value]
    return copy.copy(value) if not isinstance(value, str | bytes) else type(value)(value[:])


def changed(value: Any, atom: Any, rng: random.Random) -> Any:
    """Put an atom somewhere into a copy of a value."""
    if isinstance(value, dict) and value:
        key = rng.choice(list(value))
        return {**value, key: changed(value[key], atom, rng)}
    if isinstance(value, list) and value:
        at = rng.randrange(len(value))
        return [changed(v, atom, rng) if i == at else v for i, v in enumerate(value)]
    return atom


def same_bytes(left: Any, right: Any) -> bool:
    """The oracle: write both down."""
    return canonical(left) == canonical(right)


def holds_for(walk: Any, left: Any, right: Any) -> bool:
    """Say whether a walk, either way round, agrees with the oracle."""
    expected = same_bytes(left, right)
    return walk(left, right) is expected and walk(right, left) is expected


@settings(max_examples=400, deadline=None)
@given(VALUES, VALUES, ATOMS, st.randoms(use_true_random=False))
def test_c_and_the_reference_say_what_canonical_bytes_say(left, right, atom, rng):
    twin = apart(left, rng)
    for other in (right, twin, changed(twin, atom, rng)):
        assert holds_for(_ext.same, left, other)
        assert holds_for(same_by_reference, left, other)


PAIRS = [
    (0.0, -0.0),
    (1, 1.0),
    (True, 1),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ([math.nan], [NEGATIVE_NAN]),
    (2**64 - 1, 2**64 - 1 - 2**11),
    ("é", "e\u0301"),
    ({"a": 1}, {"b": 1}),
    ({"a": 1, "b": 2}, {"a": 1, "c": 2}),
    ([1, 2], [1, 2, 3]),
    (b"ab", "ab"),
]


@pytest.mark.parametrize(("left", "right"), PAIRS)
def test_known_pairs(left, right):
    assert holds_for(_ext.same, left, right)
    assert holds_for(same_by_reference, left, right)


@pytest.mark.parametrize(
    "planted",
    [
        lambda a, b: a == b,  # 1 == 1.0, 0.0 == -0.0, True == 1, NaN != NaN
        lambda a, b: repr(a) == repr(b),  # the order of keys
        lambda a, b: _ext.encode(a) == _ext.encode(b),  # the order of keys, again
    ],
)
def test_a_walk_that_is_nearly_right_is_found_out_by_the_known_pairs(planted):
    assert not all(holds_for(planted, left, right) for left, right in PAIRS)


def test_what_is_not_plain_is_left_to_the_reference_and_no_code_of_it_runs():
    class Loud(str):
        def __eq__(self, other: object) -> bool:
            raise AssertionError("ran")

        def __hash__(self) -> int:
            return hash("a")

    assert _ext.same([Loud("a")], [Loud("a")]) is None
    assert _ext.same({Loud("a"): 1}, {Loud("a"): 1}) is None
    assert _ext.same({"a": 1, "b": 2}, {"b": 2, Loud("c"): 1}) is None
    assert _ext.same(tuple([1]), tuple([1])) is None  # noqa: C409
    assert _ext.same([1], (1,)) is False


def test_what_is_too_deep_is_left_to_the_reference():
    deep: Any = 1
    other: Any = 1
    for _ in range(33):
        deep, other = [deep], [other]
    assert _ext.same(deep, other) is None
    assert _ext.same(deep[0], other[0]) is True
    assert same(deep, other)


def test_two_arguments_are_asked_for():
    with pytest.raises(TypeError, match="2 arguments, got 1"):
        _ext.same(1)


def test_the_walk_in_c_is_used_once_it_has_been_handed_over():
    before = canonical_module._Current.walk
    asked = []
    try:
        use_walk(lambda a, b: asked.append((a, b)))
        assert same([1], [1])
        assert asked == [([1], [1])]
    finally:
        use_walk(before)
