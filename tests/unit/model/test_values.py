"""Values: what converts, what comes back, and what is refused with its place."""

import array
import dataclasses
import datetime
import enum
import math
import pathlib
import uuid
from decimal import Decimal

import msgspec
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.errors import NotAValue
from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.model.values import from_value, path_value, to_value

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(PLAIN)
def test_a_plain_output_comes_back_as_it_went_in(value):
    assert from_value(to_value(value)) == value


@given(PLAIN)
def test_an_output_may_look_like_a_reserved_form(value):
    for lookalike in ({"$ref": value}, {"$literal": value}, {"$buffer": value}):
        assert from_value(to_value(lookalike)) == lookalike


def test_nan_and_minus_zero_are_kept():
    nan, zero = to_value([math.nan, -0.0])
    assert math.isnan(nan)
    assert math.copysign(1.0, zero) == -1.0


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(msgspec.Struct):
    x: int
    y: int


@dataclasses.dataclass
class Box:
    at: Point
    tags: tuple[str, ...]


NOON = datetime.datetime(2026, 1, 2, 12, 0, tzinfo=datetime.UTC)
KEY = uuid.UUID("12345678123456781234567812345678")


@pytest.mark.parametrize(
    ("given_object", "value"),
    [
        (Box(Point(1, 2), ("a", "b")), {"at": {"x": 1, "y": 2}, "tags": ["a", "b"]}),
        (NOON, "2026-01-02T12:00:00+00:00"),
        (NOON.date(), "2026-01-02"),
        (datetime.timedelta(minutes=1.5), 90.0),
        (Decimal("1.10"), "1.10"),
        (KEY, "12345678-1234-5678-1234-567812345678"),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (bytearray(b"xy"), b"xy"),
        (numpy.float64(1.5), 1.5),
        (numpy.int8(-3), -3),
        (numpy.bool_(True), True),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
    ],
)
def test_what_the_table_lists_converts(given_object, value):
    converted = to_value(given_object)
    assert converted == value
    assert type(converted) is type(value)


def test_a_path_that_is_not_utf_8_keeps_its_bytes():
    assert path_value(b"ok") == "ok"
    assert path_value(b"a\xff") == {"path": "a\ufffd", "path_raw": b"a\xff"}


@pytest.mark.parametrize("dtype", ["i1", "u2", "i4", "u8", "f4", "f8", "f2"])
def test_a_numpy_array_comes_back_as_an_array_of_its_shape(dtype):
    before = numpy.arange(6, dtype=dtype).reshape(2, 3)
    value = to_value({"a": before})
    before[0, 0] = 5
    after = from_value(value)["a"]
    assert after.dtype == before.dtype and after.shape == (2, 3)
    assert after.flags.writeable
    assert after.tolist() == [[0, 1, 2], [3, 4, 5]], "values are copied when they go in"


def test_an_array_and_a_memoryview_come_back_as_their_kind():
    numbers = array.array("d", [1.0, 2.5])
    assert from_value(to_value(numbers)) == numbers
    view = from_value(to_value(memoryview(b"abc")))
    assert isinstance(view, memoryview) and view.tobytes() == b"abc"


def test_a_transposed_array_keeps_its_order():
    before = numpy.arange(6, dtype="i4").reshape(2, 3).T
    assert from_value(to_value(before)).tolist() == before.tolist()


@pytest.mark.parametrize(
    ("given_object", "said"),
    [
        (2**64, "outside"),
        (-(2**63) - 1, "outside"),
        ("\ud800", "UTF-8"),
        ({1: "x"}, "expected str"),
        ({"\udfff": 1}, "UTF-8"),
        (object(), "object"),
        ({1, 2}, "set"),
        (lambda: 0, "function"),
        (1j, "complex"),
        (numpy.array(["a"]), "dtype"),
        (Ref("a"), "payload"),
    ],
)
def test_what_is_no_value_is_refused_with_its_place(given_object, said):
    with pytest.raises(NotAValue) as caught:
        to_value({"deep": [given_object]}, where="step 's' output")
    assert said in str(caught.value)
    assert "step 's' output.deep[0]" in str(caught.value)


def test_nesting_has_a_bound():
    value = 1
    for _ in range(32):
        value = [value]
    assert to_value(value) == value
    with pytest.raises(NotAValue, match="32"):
        to_value([value])


def test_a_value_that_holds_itself_is_refused():
    loop = []
    loop.append(loop)
    with pytest.raises(NotAValue):
        to_value(loop)


def test_a_payload_keeps_its_references_and_literals():
    payload = to_value({"a": Ref("s", "x"), "b": {"$literal": {"$ref": "no"}}}, payload=True)
    assert payload == {"a": {"$ref": "s#/x"}, "b": {"$literal": {"$ref": "no"}}}


@pytest.mark.parametrize(
    "body", [{}, {"dtype": "x9", "shape": [1], "data": b"a"}, {"dtype": "i8", "shape": [1]}, 5]
)
def test_a_malformed_buffer_is_refused(body):
    with pytest.raises(NotAValue, match=r"\$buffer"):
        from_value({"$buffer": body})
