"""Conditions: every operator, missing references, and what is no condition."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.model.conditions import (
    OPERATORS,
    check_condition,
    holds,
    plain_condition,
    refs_in,
)
from tandem_orchestrator.model.refs import Missing, Ref

OUTPUTS = {"scan": {"total": 3, "name": "abc", "files": ["a", "b"], "none": None, "empty": []}}


def look_up(ref):
    if ref.step not in OUTPUTS:
        raise Missing(ref.step)
    return ref.walk(OUTPUTS[ref.step])


@pytest.mark.parametrize(
    ("path", "op", "value", "expected"),
    [
        ("total", "eq", 3, True),
        ("total", "eq", 3.0, True),
        ("total", "eq", "3", False),
        ("total", "ne", "3", True),
        ("total", "eq", True, False),
        ("total", "lt", 4, True),
        ("total", "lt", 3, False),
        ("total", "le", 3, True),
        ("total", "gt", 2, True),
        ("total", "gt", 3, False),
        ("total", "ge", 3, True),
        ("total", "ge", "2", False),
        ("total", "lt", math.nan, False),
        ("total", "gt", False, False),
        ("name", "lt", "abd", True),
        ("name", "gt", 0, False),
        ("none", "lt", 1, False),
        ("total", "in", [1, 2, 3], True),
        ("total", "in", ["3"], False),
        ("name", "in", "xabcx", True),
        ("total", "in", "3", False),
        ("files", "contains", "b", True),
        ("files", "contains", "c", False),
        ("name", "contains", "bc", True),
        ("", "contains", "total", True),
        ("", "contains", 1, False),
        ("total", "contains", 3, False),
        ("files", "eq", ["a", "b"], True),
    ],
)
def test_a_comparison_is_what_the_table_says(path, op, value, expected):
    condition = {"ref": f"scan#/{path}" if path else "scan", "op": op, "value": value}

    assert check_condition(condition) == []
    assert holds(condition, look_up) is expected


@pytest.mark.parametrize(
    ("path", "exists", "truthy"),
    [("total", True, True), ("none", True, False), ("empty", True, False), ("gone", False, False)],
)
def test_exists_is_about_presence_and_truthy_about_content(path, exists, truthy):
    ref = Ref("scan", path)

    assert holds({"ref": ref, "op": "exists"}, look_up) is exists
    assert holds({"ref": ref, "op": "truthy"}, look_up) is truthy
    assert holds({"ref": ref}, look_up) is truthy


@pytest.mark.parametrize("op", OPERATORS)
def test_a_reference_to_nothing_is_false_except_for_ne(op):
    assert holds({"ref": "gone#/x", "op": op, "value": "x"}, look_up) is (op == "ne")


def test_a_default_stands_in_for_what_is_missing():
    condition = {"ref": {"$ref": "gone#/x", "default": 5}, "op": "eq", "value": 5}

    assert holds(condition, look_up) is True


@given(st.recursive(st.booleans(), lambda c: st.lists(c, max_size=3) | st.tuples(c), max_leaves=8))
def test_groups_follow_boolean_algebra(tree):
    """Lists are ``all`` and ``any`` in turn, a tuple is ``not``; Python's own are the oracle."""

    def build(node, depth):
        if isinstance(node, bool):
            return {"ref": "scan#/total", "op": "eq", "value": 3 if node else 4}
        if isinstance(node, tuple):
            return {"not": build(node[0], depth + 1)}
        return {"all" if depth % 2 else "any": [build(sub, depth + 1) for sub in node]}

    def judge(node, depth):
        if isinstance(node, bool):
            return node
        if isinstance(node, tuple):
            return not judge(node[0], depth + 1)
        return (all if depth % 2 else any)(judge(sub, depth + 1) for sub in node)

    condition = build(tree, 0)
    assert check_condition(condition) == []
    assert holds(condition, look_up) is judge(tree, 0)
    assert plain_condition(condition) == condition


@pytest.mark.parametrize(
    ("condition", "code", "path"),
    [
        ("scan.total > 3", "bad_type", "when"),
        ({}, "bad_type", "when"),
        ({"ref": "scan", "all": []}, "bad_type", "when"),
        ({"ref": "scan", "op": "equals", "value": 1}, "bad_type", "when.op"),
        ({"ref": "scan", "op": "eq"}, "bad_type", "when"),
        ({"ref": "scan", "op": "exists", "value": 1}, "bad_type", "when.value"),
        ({"ref": "scan", "op": "in", "value": 1}, "bad_type", "when.value"),
        ({"ref": "scan", "vlaue": 1}, "bad_type", "when.vlaue"),
        ({"ref": "#/x"}, "bad_reference", "when.ref"),
        ({"ref": 3}, "bad_reference", "when.ref"),
        ({"all": {"ref": "scan"}}, "bad_type", "when.all"),
        ({"any": [{"not": 3}]}, "bad_type", "when.any[0].not"),
        ({"all": [], "op": "eq"}, "bad_type", "when.op"),
    ],
)
def test_what_is_no_condition_is_a_fault_with_its_path(condition, code, path):
    assert [(fault.code, fault.path) for fault in check_condition(condition)] == [(code, path)]


def test_a_condition_without_end_is_refused_instead_of_followed():
    condition = {}
    condition["not"] = condition

    assert any("nested deeper" in fault.message for fault in check_condition(condition))
    assert refs_in(condition) == []


def test_references_are_listed_in_reading_order():
    condition = {
        "all": [{"ref": "a"}, {"any": [{"ref": Ref("b", "x")}, {"ref": 3}]}, {"not": {"ref": "c"}}]
    }

    assert refs_in(condition) == [Ref("a"), Ref("b", "x"), Ref("c")]


def test_a_plain_condition_holds_no_python_objects():
    condition = {
        "any": [{"ref": Ref("a", "x", 1), "op": "eq", "value": 1}, {"not": {"ref": Ref("b")}}]
    }

    assert plain_condition(condition) == {
        "any": [
            {"ref": {"$ref": "a#/x", "default": 1}, "op": "eq", "value": 1},
            {"not": {"ref": "b"}},
        ]
    }
