"""The promotion ladder: rules over evidence, and the bound that it states."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.settings import Twins
from tandem_orchestrator.twins.bounds import bound_text, upper_bound
from tandem_orchestrator.twins.ladder import (
    HISTORY_MAX,
    INPUTS_MAX,
    Climb,
    Tally,
    add,
    demote,
    objections,
    promote,
)


def Rules(**fields: Any) -> Twins:  # noqa: N802 - stands for the section with small numbers
    """Make rules with small numbers."""
    return Twins(**{"min_agreements": 100, "min_distinct_inputs": 10, **fields})


def climb(**fields: Any) -> Climb:
    return Climb(agent="a", action="do", implementation="v2", **fields)


def tally(
    agreements: int = 0, *, inputs: int = 50, speedup: float = 2.0, conflict: str | None = None
) -> Tally:
    made = Tally()
    for i in range(agreements):
        made.note(agreed=True, digest=f"d{i % inputs}", primary_s=speedup, own_s=1.0)
    if conflict is not None:
        made.note(agreed=False, digest="bad", primary_s=speedup, own_s=1.0, capsule=conflict)
    return made


def test_enough_agreement_on_diverse_inputs_by_a_faster_twin_may_climb_each_rung() -> None:
    one = climb()
    for rung in ("verify", "canary", "native"):
        assert add(one, tally(100), Rules(), 1.0) is None, "a person promotes unless told otherwise"
        change = promote(one, Rules(), 2.0, by="ada")
        assert change is not None and (change.right, change.forced, change.by) == (
            rung, False, "ada",
        )  # fmt: skip
        assert "0 conflicts in 100 comparisons" in change.why
        assert (one.agreements, one.inputs, one.timed) == (0, [], 0), "each rung counts anew"
    assert promote(one, Rules(), 3.0) is None and one.rung == "native"


def test_it_climbs_by_itself_where_that_is_wished() -> None:
    one = climb()

    change = add(one, tally(100), Rules(auto_promote=True), 1.0)

    assert change is not None and one.rung == "verify" and change.by == "the rules"


@pytest.mark.parametrize(
    ("given_tally", "says"),
    [
        (tally(99), "99 agreements on the rung shadow, at least 100"),
        (tally(100, inputs=9), "hardly diverse: 9 different inputs, at least 10"),
        (tally(100, speedup=1.05), "does not pay: 1.05 times as fast, at least 1.1"),
        (tally(100, speedup=0.5), "does not pay: 0.50 times as fast"),
    ],
)
def test_promotion_is_refused_with_the_reason(given_tally: Tally, says: str) -> None:
    one = climb()
    add(one, given_tally, Rules(), 1.0)

    [objection] = objections(one, Rules())

    assert says in objection
    assert promote(one, Rules(), 1.0) is None and one.rung == "shadow"


def test_a_twin_that_keeps_getting_lost_is_not_promoted() -> None:
    one, lost = climb(), tally(100)
    lost.errors = 2
    add(one, lost, Rules(), 1.0)

    [objection] = objections(one, Rules())
    assert "2 of 102 runs were lost or out of time, at most 1%" in objection


def test_force_promotes_and_is_recorded_with_what_it_overrode() -> None:
    one = climb()

    change = promote(one, Rules(), 1.0, by="ada", force=True)

    assert change is not None and change.forced and one.rung == "verify"
    assert (
        "forced against: 0 agreements" in change.why
        and "nothing is known of its speed" in change.why
    )


@pytest.mark.parametrize("rung", ["verify", "canary", "native"])
def test_a_conflict_brings_it_down_by_itself_with_the_capsule(rung: str) -> None:
    one = climb(rung=rung)

    change = add(one, tally(50, conflict="r1.c1"), Rules(), 7.0)

    assert change is not None
    assert (change.left, change.right, change.capsule, change.at_s) == (
        rung,
        "shadow",
        "r1.c1",
        7.0,
    )
    assert (one.rung, one.agreements, one.conflicts) == ("shadow", 0, 0)
    assert (one.last_conflict, one.conflicts_total, one.compared_total) == ("r1.c1", 1, 51)


def test_conflicts_that_are_put_up_with_do_not() -> None:
    one, rules = climb(rung="canary"), Rules(max_conflicts=2)
    for _ in range(2):
        assert add(one, tally(10, conflict="x"), rules, 1.0) is None
    assert (one.rung, one.conflicts) == ("canary", 2)

    assert add(one, tally(10, conflict="x"), rules, 1.0) is not None


def test_in_shadow_a_conflict_starts_the_count_anew() -> None:
    one = climb()
    add(one, tally(90), Rules(), 1.0)
    mixed = tally(5, conflict="x")
    for i in range(7):
        mixed.note(agreed=True, digest=f"e{i}")

    assert add(one, mixed, Rules(), 2.0) is None

    assert (one.agreements, one.conflicts, one.conflicts_total) == (7, 0, 1)


def test_demotion_by_a_person_is_in_the_history() -> None:
    one = climb(rung="native", agreements=5)

    change = demote(one, 3.0, by="ada", why="a hunch")

    assert change is not None and one.history == [change] and change.why == "a hunch"
    assert (one.rung, one.agreements) == ("shadow", 0)
    assert demote(one, 4.0, by="ada") is None


def test_what_is_remembered_is_bounded() -> None:
    one = climb()
    many = Tally()
    for i in range(3 * INPUTS_MAX):
        many.note(agreed=True, digest=str(i))
    add(one, many, Rules(), 1.0)
    assert len(one.inputs) == INPUTS_MAX

    for _ in range(100):
        promote(one, Rules(), 1.0, force=True)
        demote(one, 1.0, by="ada")
    assert len(one.history) == HISTORY_MAX


# --- bounds --------------------------------------------------------------------------------------


def chance_of_at_most(conflicts: int, comparisons: int, rate: float) -> float:
    """The binomial sum, term by term: an oracle that shares nothing with the continued fraction."""
    return math.fsum(
        math.exp(
            math.lgamma(comparisons + 1) - math.lgamma(k + 1) - math.lgamma(comparisons - k + 1)
            + k * math.log(rate) + (comparisons - k) * math.log1p(-rate)
        )
        for k in range(conflicts + 1)
    )  # fmt: skip


@given(comparisons=st.integers(1, 5000), share=st.floats(0.0, 0.999))
def test_the_bound_is_where_so_few_conflicts_have_a_chance_of_five_percent(
    comparisons: int, share: float
) -> None:
    conflicts = min(int(share * comparisons), comparisons - 1)

    bound = upper_bound(conflicts, comparisons)

    assert chance_of_at_most(conflicts, comparisons, bound) == pytest.approx(0.05, abs=1e-6)
    assert conflicts / comparisons < bound <= 1.0


@pytest.mark.parametrize("comparisons", [100, 1000, 3000, 1_000_000])
def test_without_a_conflict_it_is_the_rule_of_three(comparisons: int) -> None:
    assert upper_bound(0, comparisons) == pytest.approx(3.0 / comparisons, rel=0.02)


@pytest.mark.parametrize(
    ("conflicts", "comparisons", "text"),
    [
        (0, 3000, "0 conflicts in 3,000 comparisons: rate below 0.1 % at 95 %"),
        (1, 1000, "1 conflict in 1,000 comparisons: rate below 0.48 % at 95 %"),
        (0, 1, "0 conflicts in 1 comparison: rate below 95 % at 95 %"),
        (5, 5, "5 conflicts in 5 comparisons: rate below 100 % at 95 %"),
        (0, 0, "0 conflicts in 0 comparisons: nothing is known of the rate"),
        (0, 3_000_000, "0 conflicts in 3,000,000 comparisons: rate below 0.0001 % at 95 %"),
    ],
)
def test_the_bound_is_stated_for_people(conflicts: int, comparisons: int, text: str) -> None:
    assert bound_text(conflicts, comparisons) == text


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="conflicts=3: expected 0 to comparisons=2"):
        upper_bound(3, 2)
