"""Differences between two values, with a canonical encoding as the oracle for agreement."""

import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.twins import differences
from tandem_orchestrator.twins.compare import ABSENT, DIFFERENCES_MAX

ATOMS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.sampled_from([0.0, -0.0, 1.0, math.nan])
    | st.text("ab/~<>", max_size=3)
    | st.just(ABSENT)
    | st.binary(max_size=2)
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab/~", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)


def canonical(value: Any) -> bytes:
    """Encode so that two values have the same bytes exactly if they agree."""
    if isinstance(value, bool) or value is None:
        return repr(value).encode()
    if isinstance(value, int):
        return b"i%d" % value
    if isinstance(value, float):
        return b"fnan" if math.isnan(value) else b"f" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"s%d:" % len(value) + value.encode()
    if isinstance(value, bytes):
        return b"b%d:" % len(value) + value
    if isinstance(value, list):
        return b"[" + b",".join(canonical(item) for item in value) + b"]"
    items = sorted((canonical(key), canonical(item)) for key, item in value.items())
    return b"{" + b",".join(key + b"=" + item for key, item in items) + b"}"


def walk(value: Any, pointer: str) -> Any:
    """Follow a JSON Pointer; ``ABSENT`` where it leads to nothing."""
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list):
            value = value[int(key)] if int(key) < len(value) else ABSENT
        elif isinstance(value, dict):
            value = value.get(key, ABSENT)
        else:
            return ABSENT
    return value


@given(VALUES, VALUES)
def test_values_agree_exactly_if_their_canonical_bytes_do(left: Any, right: Any) -> None:
    assert (not differences(left, right)) == (canonical(left) == canonical(right))


@given(VALUES)
def test_a_value_agrees_with_itself(value: Any) -> None:
    assert differences(value, value) == []


@given(VALUES, VALUES)
def test_each_difference_stands_where_its_path_leads(left: Any, right: Any) -> None:
    found = differences(left, right)

    for difference in found:
        assert canonical(walk(left, difference.path)) == canonical(difference.left)
        assert canonical(walk(right, difference.path)) == canonical(difference.right)
    assert len({difference.path for difference in found}) == len(found)


@given(VALUES, VALUES)
def test_the_other_way_round_the_same_places_differ(left: Any, right: Any) -> None:
    there = {d.path: (canonical(d.left), canonical(d.right)) for d in differences(left, right)}
    back = {d.path: (canonical(d.right), canonical(d.left)) for d in differences(right, left)}

    assert there == back


@pytest.mark.parametrize(
    ("left", "right", "found"),
    [
        (1, 1.0, [("", 1, 1.0)]),
        (True, 1, [("", True, 1)]),
        (0.0, -0.0, [("", 0.0, -0.0)]),
        ("1", b"1", [("", "1", b"1")]),
        ([1, 2], [1, 2, 3], [("/2", ABSENT, 3)]),
        ({"a": None}, {}, [("/a", None, ABSENT)]),
        ({"a": ABSENT}, {}, [("/a", ABSENT, ABSENT)]),
        ([], {}, [("", [], {})]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, [("/a~1b/~0", 1, 2)]),
        (
            {"b": 1, "a": 2},
            {"a": 3, "b": 4, "c": 5},
            [("/b", 1, 4), ("/a", 2, 3), ("/c", ABSENT, 5)],
        ),
    ],
)
def test_differences_are_told_exactly_and_in_the_left_ones_order(
    left: Any, right: Any, found: list[tuple[str, Any, Any]]
) -> None:
    told = [(d.path, d.left, d.right) for d in differences(left, right)]

    assert [path for path, _, _ in told] == [path for path, _, _ in found]
    assert canonical([list(t) for t in told]) == canonical([list(f) for f in found])


def test_the_order_of_keys_means_nothing_and_every_nan_is_the_same() -> None:
    other_nan = struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0]

    assert differences({"a": 1, "b": [math.nan]}, {"b": [other_nan], "a": 1}) == []


def test_only_so_many_differences_are_listed_and_depth_needs_no_stack() -> None:
    assert len(differences([0] * 1_000, [1] * 1_000)) == DIFFERENCES_MAX
    left: Any = 1
    right: Any = 2
    for _ in range(5_000):
        left, right = [left], [right]
    assert [d.path for d in differences(left, right)] == ["/0" * 5_000]
