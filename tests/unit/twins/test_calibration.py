"""What is learned from one side run twice: noise of known kinds, planted, and nothing else."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.model.comparing import CompareRules, Tolerance
from tandem_orchestrator.twins import differences
from tandem_orchestrator.twins.calibration import Calibration, Ended, learn, rules_source


def calibrated(*pairs: tuple[Any, Any], rules: CompareRules | None = None) -> Calibration:
    return learn([(Ended("succeeded", a), Ended("succeeded", b)) for a, b in pairs], rules)


def kinds(found: Calibration) -> dict[str, str]:
    return {field.pattern: field.kind for field in found.noisy}


def order(rng: random.Random) -> dict[str, Any]:
    """An output with noise of each kind, and four fields that hold still."""
    rows = [
        {"sku": i, "price": 1.5 * i, "score": 0.1 * i * (1 + rng.random() * 1e-12),
         "seen": rng.randrange(10**9)}
        for i in range(5)
    ]  # fmt: skip
    rng.shuffle(rows)
    return {
        "rows": rows,
        "id": f"{rng.getrandbits(128):032x}",
        "meta": {"took": rng.random(), "host": "a"},
        "by_session": {str(rng.random()): 1},
        "total": 15.0,
    }


def test_each_kind_of_noise_is_told_and_what_holds_still_is_left_alone():
    rng = random.Random(7)
    found = calibrated(*((order(rng), order(rng)) for _ in range(20)))

    assert kinds(found) == {
        "/rows": "order",
        "/rows/*/score": "rounding",
        "/rows/*/seen": "volatile",
        "/id": "volatile",
        "/meta/took": "volatile",
        "/by_session/*": "volatile",
    }
    assert found.left_over == found.unstable == ()
    assert {field.pattern: field.looks_like for field in found.noisy}["/id"] == "an id or a digest"


def test_under_the_rules_learned_other_runs_agree_and_planted_bugs_are_still_found():
    rng = random.Random(8)
    rules = calibrated(*((order(rng), order(rng)) for _ in range(20))).rules
    one, other = order(rng), order(rng)
    assert differences(one, other, rules) == []
    for path, change in {
        "/total": lambda o: o.update(total=15.01),
        "/meta/host": lambda o: o["meta"].update(host="b"),
        "/rows": lambda o: o["rows"].pop(),
        "/rows/": lambda o: o["rows"][2].update(price=99.0),
        "/rows/*": lambda o: o["rows"][2].update(score=0.7),
    }.items():
        wrong = order(rng)
        change(wrong)
        found = differences(one, wrong, rules)
        assert found, path
        assert found[0].path.startswith(path.rstrip("*/")), found


def test_the_source_is_python_that_makes_the_same_rules():
    rng = random.Random(9)
    rules = calibrated((order(rng), order(rng))).rules
    made = eval(rules_source(rules), {"CompareRules": CompareRules, "Tolerance": Tolerance})
    assert made == rules


def test_no_noise_suggests_nothing_and_says_what_may_have_been_missed():
    found = calibrated(*[({"a": 1}, {"a": 1})] * 300)
    assert found.noisy == ()
    assert found.source == ""
    assert found.miss_rate == pytest.approx(0.01)


def test_rules_that_are_there_already_are_kept_and_not_learned_again():
    has = CompareRules(fields={"/id": Tolerance(ignore=True)}, errors={"A": "B"})
    found = calibrated(({"id": 1, "at": 1}, {"id": 2, "at": 2}), rules=has)
    assert kinds(found) == {"/at": "volatile"}
    assert list(found.rules.fields) == ["/id", "/at"]
    assert found.rules.errors == {"A": "B"}


def test_ends_of_two_kinds_are_no_noise_that_a_rule_could_excuse():
    good, bad, worse = Ended("succeeded", 1), Ended("failed", None, "A"), Ended("failed", None, "B")
    found = learn([(good, good), (good, bad), (bad, worse), (bad, bad)])
    assert (found.unstable, found.failed, found.compared) == ((1, 2), 1, 1)
    assert found.noisy == ()


def test_an_output_that_is_all_noise_is_said_to_be():
    assert calibrated((1, 2)).ignores_everything
    assert not calibrated(({"a": 1}, {"a": 2})).ignores_everything


def test_lists_of_another_length_are_ignored_whole():
    assert kinds(calibrated(({"a": [1]}, {"a": [1, 2]}))) == {"/a": "volatile"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats() | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab/~*"), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=4))
def test_whatever_differs_is_excused_by_what_was_learned(pairs):
    found = calibrated(*pairs)
    assert found.left_over == ()
    for left, right in pairs:
        assert differences(left, right, found.rules) == []


@given(VALUES)
def test_equal_outputs_teach_nothing(value):
    assert calibrated((value, value)).noisy == ()


def test_items_that_stay_in_their_order_are_not_called_disordered():
    left = {"rows": [{"id": 1, "at": 1}, {"id": 2, "at": 2}]}
    right = {"rows": [{"id": 1, "at": 3}, {"id": 2, "at": 4}]}
    assert kinds(calibrated((left, right))) == {"/rows/*/at": "volatile"}
