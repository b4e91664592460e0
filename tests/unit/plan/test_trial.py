"""Which twin takes part in a run, given where among all runs it falls."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.model.catalogue import RUNGS, Action, Catalogue, Implementation
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.plans import Assignment
from tandem_orchestrator.model.policies import built_in_policies
from tandem_orchestrator.model.snapshot import snapshot
from tandem_orchestrator.plan import PlanOptions, make_plan

SHARES = {"shadow": 0.5, "verify": 0.4, "canary": 0.3, "native": 0.2}


def twin(name: str, rung: str) -> Implementation:
    return Implementation(name, "c" if name == "c" else "python", rung, climbs=True)


def planned(
    *twins: Implementation,
    roll: float,
    effects: Any = "none",
    mode: str = "intelligent",
    shares: dict[str, float] = SHARES,
    **options: Any,
) -> Assignment:
    implementations = (Implementation("python", "python"), *twins)
    action = Action("a", "do", effects, implementations=implementations)
    catalogue = Catalogue({("a", "do"): action}, frozenset({"a"}), built_in_policies())
    copy, _ = snapshot(CommandSet(mode=mode, steps=[CommandStep(agent="a", action="do")]))
    made = make_plan(copy, catalogue, PlanOptions(trial_shares=shares, roll=roll, **options))
    assignment = made.steps[0].assignment
    assert assignment is not None
    return assignment


@pytest.mark.parametrize(
    ("rung", "implementations", "verdict", "beside"),
    [
        ("shadow", ("python",), "none", ("v2",)),
        ("verify", ("python", "v2"), "compare", ()),
        ("canary", ("v2", "python"), "compare", ()),
    ],
)
def test_below_its_share_a_twin_takes_part_and_the_trusted_one_is_named(
    rung: str, implementations: tuple[str, ...], verdict: str, beside: tuple[str, ...]
) -> None:
    share = SHARES[rung]

    one = planned(twin("v2", rung), roll=share - 0.001)
    other = planned(twin("v2", rung), roll=share)

    assert (one.implementations, one.verdict, one.shadow) == (implementations, verdict, beside)
    assert (one.trial, one.trusted) == (rung, "" if rung == "shadow" else "python")
    assert (other.implementations, other.trial, other.shadow) == (("python",), "", ())
    assert one.trial_share == other.trial_share == share


def test_one_that_climbed_to_native_is_audited_where_it_is_chosen() -> None:
    """``c`` is chosen as the native implementation, and nothing is measured."""
    audited, other = (planned(twin("c", "native"), roll=roll) for roll in (0.1, 0.2))

    assert (audited.implementations, audited.trusted, audited.trial) == (
        ("c", "python"), "python", "audit",
    )  # fmt: skip
    assert (other.implementations, other.trial) == (("c",), "")


def test_one_that_climbed_to_native_and_is_not_chosen_needs_no_audit() -> None:
    assert planned(twin("v2", "native"), roll=0.0).implementations == ("python",)


@pytest.mark.parametrize("rung", RUNGS)
def test_what_happens_once_only_is_no_place_for_a_trial(rung: str) -> None:
    made = planned(twin("v2", rung), roll=0.0, effects="external")

    assert (made.trial, made.shadow, made.verdict, made.trial_share) == ("", (), "none", 0.0)


@pytest.mark.parametrize("mode", ["python_only", "redundant"])
def test_modes_that_name_their_implementations_go_around_the_ladder(mode: str) -> None:
    made = planned(twin("v2", "verify"), roll=0.0, mode=mode)

    assert made.trial == "" and made.trial_share == 0.0


def test_nobody_is_on_trial_whose_breaker_is_open() -> None:
    resting = frozenset({("a", "do", "v2")})

    assert planned(twin("v2", "verify"), roll=0.0, resting=resting).trial == ""


@given(
    rungs=st.lists(st.sampled_from(RUNGS), min_size=1, max_size=4),
    roll=st.floats(0.0, 1.0, exclude_max=True),
)
def test_at_most_one_is_on_the_path_and_the_trusted_one_never_is_the_one_on_trial(
    rungs: list[str], roll: float
) -> None:
    twins = [twin(f"v{i}", rung) for i, rung in enumerate(rungs)]
    low = {one.name for one in twins if one.rung != "native"}

    made = planned(*twins, roll=roll)

    assert len(made.implementations) <= 2
    if made.trusted:
        assert made.trusted in made.implementations and made.trusted not in low
        assert made.verdict == "compare" and len(made.implementations) == 2
    else:
        assert made.implementations[0] not in low, "what is not trusted never answers alone"
    assert set(made.shadow) <= {one.name for one in twins if one.rung == "shadow"}
