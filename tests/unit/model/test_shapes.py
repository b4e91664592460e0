"""Shapes: what fits, what does not, and what is no shape at all."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.model.shapes import TYPE_NAMES, check_shape, mismatch, type_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5) | st.text(max_size=3)
    | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip

SHAPES = st.recursive(
    st.sampled_from([True, False, *TYPE_NAMES, {}])
    | st.fixed_dictionaries({"type": st.lists(st.sampled_from(TYPE_NAMES), min_size=1, max_size=3)})
    | st.fixed_dictionaries({"minimum": st.integers(-5, 5), "exclusiveMaximum": st.integers(-5, 5)})
    | st.fixed_dictionaries({"minLength": st.integers(0, 3), "maxItems": st.integers(0, 3)})
    | st.fixed_dictionaries({"enum": st.lists(VALUES, min_size=1, max_size=3)})
    | st.fixed_dictionaries({"const": VALUES}),
    lambda inner: (
        st.fixed_dictionaries({"items": inner})
        | st.fixed_dictionaries({"not": inner})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=3)})
        | st.fixed_dictionaries(
            {
                "properties": st.dictionaries(st.text(max_size=2), inner, max_size=2),
                "additionalProperties": inner,
            }
        )
    ),
    max_leaves=5,
)


@pytest.mark.parametrize(
    ("shape", "fits", "differs"),
    [
        ({"type": "integer"}, 3, 3.0),
        ({"type": "integer"}, 0, True),
        ({"type": "number"}, 3, "3"),
        ({"type": ["string", "null"]}, None, 1),
        ({"type": "bytes"}, b"x", "x"),
        ({"type": "object"}, {}, {"$buffer": {}}),
        ({"type": "buffer"}, {"$buffer": {}}, {}),
        ({"type": "list"}, [], {}),
        ({"files": "array", "total": "integer"}, {"files": [], "total": 0, "more": 1}, {"files": []}),
        ({"files": "array"}, {"files": []}, {"files": {}}),
        ({"items": "string"}, ["a"], ["a", 1]),
        ({"items": {"x": "int"}}, [{"x": 1}], [{"x": 1}, {}]),
        ({"properties": {"a": {"minimum": 1}}}, {"a": 1}, {"a": 0}),
        ({"properties": {"a": True}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
        ({"additionalProperties": "integer"}, {"a": 1}, {"a": ""}),
        ({"required": ["a"]}, {"a": None}, {}),
        ({"enum": [1, "a"]}, 1.0, True),
        ({"const": math.nan}, float("nan"), 0),
        ({"minimum": 1}, 1, math.nan),
        ({"exclusiveMinimum": 1}, 1.5, 1),
        ({"exclusiveMaximum": 1}, 0, 1),
        ({"maximum": 1}, "text is no number", 1.01),
        ({"minLength": 2}, "ab", b"a"),
        ({"maxLength": 2}, "éé", "abc"),
        ({"minItems": 1, "maxItems": 2}, [0], []),
        ({"uniqueItems": True}, [1, True, "1", [1], [2]], [[1, {"a": 2}], [1.0, {"a": 2}]]),
        ({"uniqueItems": False}, [1, 1], None),
        ({"anyOf": ["string", {"minimum": 3}]}, 3, 2),
        ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 2, 3),
        ({"not": {"const": 0}}, 1, 0),
        (True, 1, None),
        ({"type": "object", "properties": {"$ref": "string"}}, {"$literal": {"$ref": "x"}}, {"$ref": 1}),
    ],
)  # fmt: skip
def test_a_value_fits_or_differs_as_the_keyword_says(shape, fits, differs):
    assert check_shape(shape) == []
    assert mismatch(shape, fits) is None
    if shape not in (True, {"uniqueItems": False}):
        assert mismatch(shape, differs) is not None


def test_the_answer_names_path_found_and_expected_in_one_printable_line():
    shape = {"properties": {"files": {"items": {"properties": {"odd key\n": "integer"}}}}}
    answer = mismatch(shape, {"files": [{}, {"odd key\n": "a\nb" * 50}]})

    assert answer is not None
    assert answer.startswith("output.files[1]['odd key\\n']: found string 'a\\nba")
    assert answer.endswith("expected integer")
    assert answer.isprintable()
    assert len(answer) < 200


def test_a_single_alternative_is_told_as_it_is_and_several_by_the_first():
    assert mismatch({"anyOf": ["string"]}, 1) == "output: found integer 1, expected string"
    assert mismatch({"anyOf": ["string", "null"]}, 1) == (
        "output: found integer 1, expected to fit one of 2 shapes "
        "(the first: output: found integer 1, expected string)"
    )


@pytest.mark.parametrize(
    ("shape", "path", "hint"),
    [
        ({"tpye": 3}, "expected_output", "type"),
        ({"properties": {"a": {"type": "strin"}}}, "expected_output.properties.a.type", "string"),
        ({"pattern": "(a+)+$"}, "expected_output.pattern", None),
        ({"format": "date"}, "expected_output.format", None),
        ({"oneOf": []}, "expected_output.oneOf", None),
        ({"items": 3}, "expected_output.items", None),
        ({"anyOf": [{"minimum": "1"}]}, "expected_output.anyOf[0].minimum", None),
        ({"minItems": -1}, "expected_output.minItems", None),
        ({"uniqueItems": 1}, "expected_output.uniqueItems", None),
        ({"required": "a"}, "expected_output.required", None),
        ({"enum": []}, "expected_output.enum", None),
        ({"type": []}, "expected_output.type", None),
        ({"anyOf": []}, "expected_output.anyOf", None),
        ({"files": list}, "expected_output", None),
        ({"type": "array", "files": "array"}, "expected_output", None),
        ([], "expected_output", None),
        ("lst", "expected_output", "list"),
    ],
)
def test_what_is_no_shape_is_a_fault_with_its_path(shape, path, hint):
    faults = check_shape(shape)

    assert [fault.path for fault in faults] == [path]
    assert faults[0].code == "bad_type"
    assert hint is None or hint in faults[0].nearest


def test_all_faults_of_a_shape_are_given_at_once():
    shape = {"type": "lisst", "minimum": None, "items": {"maxLength": 1.5}}

    assert len(check_shape(shape)) == 3


def test_a_shape_without_end_is_refused_instead_of_followed():
    shape = {}
    shape["items"] = shape

    assert any("nested deeper" in fault.message for fault in check_shape(shape))


def test_a_hostile_shape_and_value_cost_linear_time():
    shape = {
        "uniqueItems": True,
        "items": {"anyOf": [{"const": n} for n in range(-20, 0)] + ["integer"]},
    }
    started = time.perf_counter()

    assert mismatch(shape, list(range(10_000))) is None
    assert time.perf_counter() - started < 5


@given(SHAPES, VALUES)
def test_not_is_the_opposite_and_any_and_all_follow_their_parts(shape, value):
    assert check_shape(shape) == []
    fits = mismatch(shape, value) is None

    assert (mismatch({"not": shape}, value) is None) is not fits
    assert (mismatch({"anyOf": [False, shape]}, value) is None) is fits
    assert (mismatch({"allOf": [True, shape]}, value) is None) is fits
    assert (mismatch({"items": shape}, [value]) is None) is fits


@given(VALUES)
def test_a_value_fits_its_own_type_and_its_own_const(value):
    assert mismatch({"type": type_of(value), "const": value}, value) is None
