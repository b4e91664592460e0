"""The kind of a difference: what shrinking keeps."""

import math

import pytest

from tandem_orchestrator.twins import is_same_kind, kinds_of


def kinds(left, right, path=""):
    outcomes = [{"outcome": "succeeded"}, {"outcome": "succeeded"}]
    return kinds_of(outcomes, [{"path": path, "left": left, "right": right}])


def failing(*ends):
    return kinds_of([{"outcome": o, "failure": {"type": t} if t else None} for o, t in ends], [{}])


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (kinds(73.13, 73.12), kinds(0.01, 0.0)),
        (kinds(1, 2, "/items/17/total"), kinds(5, 4, "/items/0/total")),
        (kinds("a", "b", "/name"), kinds("", "c", "/name")),
        (failing(("succeeded", ""), ("failed", "E")), failing(("succeeded", ""), ("failed", "E"))),
    ],
)
def test_the_same_kind_on_another_input(first, other):
    assert is_same_kind(first, other)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (kinds(73.13, 73.12), kinds(0.0, -0.0)),
        (kinds(73.13, 73.12), kinds(1, 1.0)),
        (kinds(73.13, 73.12), kinds(1.0, math.nan)),
        (kinds(1, 2, "/items/1/total"), kinds(1, 2, "/items/1/count")),
        (kinds(1, 2), kinds(1, "2")),
        (kinds(1, 2), failing(("succeeded", ""), ("failed", "KeyError"))),
        (
            failing(("succeeded", ""), ("failed", "ValueError")),
            failing(("succeeded", ""), ("failed", "KeyError")),
        ),
        (failing(("failed", "E"), ("succeeded", "")), failing(("succeeded", ""), ("failed", "E"))),
    ],
)
def test_another_kind(first, other):
    assert not is_same_kind(first, other)
