"""Measured costs and the router over them, on a simulated layer: no clock runs and nothing sleeps."""

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.model.catalogue import Action, Catalogue, Implementation
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.outcomes import Outcome
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.model.policies import built_in_policies
from tandem_orchestrator.model.routing import UNSIZED, Estimate, bucket_of, bucket_text
from tandem_orchestrator.model.snapshot import snapshot
from tandem_orchestrator.observe.costs import Costs
from tandem_orchestrator.plan import PlanOptions, make_plan
from tandem_orchestrator.plan.router import SAMPLES_MIN, choose

CROSSING_BYTES = 4096
Cost = Callable[[str, int], float]
"""Seconds that an implementation takes for a payload of so many bytes."""


def crossing(name: str, size: int) -> float:
    """Python wins below 4 KiB, C above it."""
    return 2e-6 + size * 10e-9 if name == "python" else 35e-6 + size * 2e-9


def dear_crossing(name: str, size: int) -> float:
    """The same pair with their parts exchanged."""
    return crossing("c" if name == "python" else "python", size)


class Simulation:
    """A router, and implementations that take just the time that ``cost`` says."""

    def __init__(
        self, names: tuple[str, ...] = ("python", "c"), effects: str = "none", share: float = 0.05
    ) -> None:
        self.now_ns = 0
        self.costs = Costs(
            explore_share=share, entries_max=4096, lost_max=3, rest_s=10.0,
            now_ns=lambda: self.now_ns,
        )  # fmt: skip
        implementations = tuple(Implementation(n, "c" if n == "c" else "python") for n in names)
        action = Action("a", "do", effects, implementations=implementations)  # type: ignore[arg-type]
        self.catalogue = Catalogue({("a", "do"): action}, frozenset({"a"}), built_in_policies())
        self.explored = 0

    def plan(self, size: int) -> Plan:
        """Plan one step whose payload takes ``size`` bytes on the wire."""
        step = CommandStep(agent="a", action="do", payload=payload(size))
        copy, _ = snapshot(CommandSet(steps=[step]))
        options = PlanOptions(
            costs=self.costs.standings,
            resting=self.costs.resting(),
            explore_share=self.costs.explore_share,
        )
        plan = make_plan(copy, self.catalogue, options)
        self.costs.claim(plan)
        return plan

    def call(
        self, size: int, cost: Cost, *, noise: float = 1.0, outcome: Outcome = Outcome.SUCCEEDED
    ) -> str:
        """Plan, run and learn; gives the implementation that was chosen."""
        assignment = self.plan(size).steps[0].assignment
        assert assignment is not None
        name, route = assignment.implementations[0], assignment.route
        assert route is not None and route.bytes == size
        self.explored += route.explored
        seconds = cost(name, size) * noise
        self.now_ns += int(seconds * 1e9)
        self.costs.note("a", "do", route.bucket, name, seconds, outcome)
        return name


def payload(size: int) -> bytes:
    """Make bytes that take ``size`` on the wire, their MessagePack header counted."""
    header = 2 if size - 2 < 256 else 3 if size - 3 < 65536 else 5
    return b"x" * (size - header)


def settled(made: Simulation, cost: Cost, size: int, calls: int = 40) -> str:
    """Give who answers most of the next calls, and by far."""
    [(name, count), *_] = Counter(made.call(size, cost) for _ in range(calls)).most_common()
    assert count >= calls * 0.9
    return name


def winner(cost: Cost, size: int) -> str:
    return min(("python", "c"), key=lambda name: cost(name, size))


SIZES = [64, 256, 1024, 2048, 3072, 4095, 4200, 5000, 8192, 32_768, 131_072]


def test_five_hundred_calls_over_all_sizes_settle_each_on_its_side_of_the_crossing() -> None:
    assert {winner(crossing, size) for size in SIZES if size < CROSSING_BYTES} == {"python"}
    assert {winner(crossing, size) for size in SIZES if size > CROSSING_BYTES + 100} == {"c"}
    made, rng = Simulation(), random.Random(7)
    for _ in range(500):
        made.call(rng.choice(SIZES), crossing, noise=rng.lognormvariate(0.0, 0.1))

    found = {size: settled(made, crossing, size) for size in (64, 1024, 2048, 8192, 131_072)}

    assert found == {size: winner(crossing, size) for size in found}


def test_it_follows_within_five_hundred_calls_when_costs_change_places() -> None:
    made = Simulation()
    for size in (1024, 32_768):
        for _ in range(200):
            made.call(size, crossing)
        assert settled(made, crossing, size) == winner(crossing, size)

        for _ in range(500):
            made.call(size, dear_crossing)

        assert settled(made, dear_crossing, size) == winner(dear_crossing, size)


def test_it_notices_that_only_the_other_one_became_faster() -> None:
    made = Simulation()
    slow_c: Cost = lambda name, size: 100e-6 if name == "c" else 10e-6  # noqa: E731
    quick_c: Cost = lambda name, size: 1e-6 if name == "c" else 10e-6  # noqa: E731
    for _ in range(300):
        made.call(100, slow_c)
    assert settled(made, slow_c, 100) == "python"

    for _ in range(500):
        made.call(100, quick_c)

    assert settled(made, quick_c, 100) == "c"


def test_two_that_cost_about_the_same_do_not_take_turns() -> None:
    made, rng = Simulation(), random.Random(5)
    alike: Cost = lambda name, size: 10e-6 if name == "c" else 10.3e-6  # noqa: E731
    leaders = []
    for _ in range(1000):
        made.call(100, alike, noise=rng.lognormvariate(0.0, 0.02))
        leaders.append(made.costs.standing("a", "do", 6).leader)

    changes = sum(one != other for one, other in zip(leaders[50:], leaders[51:], strict=False))
    assert changes <= 1


def test_one_outlier_does_not_move_it() -> None:
    made = Simulation(share=0.0)
    for name in ("python", "c"):
        for _ in range(20):
            made.costs.note("a", "do", 6, name, 1e-5 if name == "c" else 2e-5, Outcome.SUCCEEDED)

    made.costs.note("a", "do", 6, "c", 10.0, Outcome.SUCCEEDED)

    assert made.call(100, crossing) == "c"


def test_a_slow_first_call_does_not_count_against_it() -> None:
    made = Simulation()
    calls = Counter[str]()

    def warming(name: str, size: int) -> float:
        calls[name] += 1
        return 0.5 if name == "python" and calls[name] == 1 else crossing(name, size)

    for _ in range(100):
        made.call(64, warming)

    assert settled(made, warming, 64) == "python"


@settings(max_examples=40, deadline=None)
@given(
    ratio=st.floats(1.2, 40.0),
    share=st.sampled_from([0.05, 0.2]),
    names=st.sampled_from([("python", "c"), ("python", "c", "v2")]),
)
def test_trying_costs_no_more_than_its_share_and_starves_nobody(
    ratio: float, share: float, names: tuple[str, ...]
) -> None:
    costs = Costs(explore_share=share, entries_max=16, lost_max=3, rest_s=1.0, now_ns=lambda: 0)
    standing = costs.standing("a", "do", 6)
    layers = dict.fromkeys(names, "python")
    seconds = {name: 1e-6 if name == "c" else 1e-6 * ratio for name in names}
    others = len(names) - 1
    gap = int(max(1.0, ratio - 1.0) / share) + 2
    since = dict.fromkeys(names, 0)
    excess = total = 0.0
    for i in range(2 * gap + 60):
        choice = choose(names, standing, explore_share=share, layers=layers, load={})
        if choice.explored:
            mine = standing.estimates.setdefault(choice.name, Estimate())
            mine.since, mine.spent_s = 0, 0.0
        costs.note("a", "do", 6, choice.name, seconds[choice.name], Outcome.SUCCEEDED)
        since = {name: 0 if name == choice.name else n + 1 for name, n in since.items()}
        assert max(since.values()) <= gap * others + 40, "somebody is never measured again"
        if i >= 60:
            total += seconds["c"]
            excess += seconds[choice.name] - seconds["c"]

    assert excess <= others * (share * total + 2 * ratio * 1e-6)


@settings(max_examples=40, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from([64, 5000]),
            st.sampled_from(["ok", "ok", "lost", "unknown", "failed"]),
            st.integers(0, 8),
        ),
        max_size=60,
    )
)
def test_nothing_is_routed_to_an_open_breaker(steps: list[tuple[int, str, int]]) -> None:
    made = Simulation()
    outcomes = {
        "ok": Outcome.SUCCEEDED, "lost": Outcome.NOT_STARTED,
        "unknown": Outcome.UNKNOWN, "failed": Outcome.FAILED,
    }  # fmt: skip
    for size, what, pause_s in steps:
        made.now_ns += pause_s * 10**9
        resting = {name for _, _, name in made.costs.resting()}

        name = made.call(size, crossing, outcome=outcomes[what])

        assert name not in resting or resting == {"python", "c"}


def test_after_its_rest_one_call_tries_it_and_a_success_closes_the_breaker() -> None:
    made = Simulation(share=0.0)
    for _ in range(3):
        made.costs.note("a", "do", 6, "c", 0.0, Outcome.NOT_STARTED)
    assert made.call(100, crossing) == "python"
    made.now_ns += 11 * 10**9

    plans = [made.plan(100) for _ in range(3)]

    chosen = [step.assignment.implementations for p in plans for step in p.steps if step.assignment]
    assert chosen.count(("c",)) == 1 or chosen == [("python",)] * 3
    made.costs.note("a", "do", 6, "c", 1e-6, Outcome.SUCCEEDED)
    assert made.costs.resting() == frozenset()


def test_an_external_step_is_never_run_elsewhere_just_to_learn() -> None:
    made = Simulation(effects="external")

    assert {made.call(64, crossing) for _ in range(500)} == {"c"}
    assert made.explored == 0


def test_a_frozen_router_gives_equal_answers() -> None:
    made = Simulation(share=0.0)

    assert {made.call(64, crossing) for _ in range(200)} == {"c"}


def test_failures_that_are_quick_do_not_look_fast() -> None:
    made = Simulation()
    for _ in range(300):
        made.call(5000, crossing)
    before = made.costs.standing("a", "do", 12).estimates["python"].seconds

    made.costs.note("a", "do", 12, "python", 1e-9, Outcome.FAILED, "ValueError")

    assert made.costs.standing("a", "do", 12).estimates["python"].seconds == before


def test_a_version_changes_when_the_leader_does_and_not_with_every_sample() -> None:
    made = Simulation()
    for _ in range(100):
        made.call(64, crossing)
    standing = made.costs.standing("a", "do", bucket_of(64))
    before, explored = standing.version, made.explored

    for _ in range(100):
        made.call(64, crossing)

    tried = made.explored - explored
    assert standing.version - before <= 2 * tried, "one change for what is due, one for its claim"
    for _ in range(100):
        made.call(64, dear_crossing)
    assert standing.leader == "c" and standing.version > before


def test_what_was_learned_outlasts_the_session() -> None:
    made = Simulation()
    for size in (64, 131_072):
        for _ in range(100):
            made.call(size, crossing)

    again = Simulation(share=0.0)
    again.costs.restore(list(made.costs.kept()))

    assert again.call(64, crossing) == "python"
    assert again.call(131_072, crossing) == "c"


def test_what_is_kept_is_bounded_and_the_oldest_goes() -> None:
    costs = Costs(explore_share=0.0, entries_max=16, lost_max=3, rest_s=1.0, now_ns=lambda: 0)
    for i in range(100):
        for _ in range(SAMPLES_MIN):
            costs.note("a", f"do{i}", 3, "c", 1.0, Outcome.SUCCEEDED)

    assert [action for _, action, _ in costs.standings] == [f"do{i}" for i in range(84, 100)]


@pytest.mark.parametrize(
    ("size", "bucket", "text"),
    [
        (0, 0, "1 B to 2 B"),
        (1, 0, "1 B to 2 B"),
        (4095, 11, "2 KiB to 4 KiB"),
        (4096, 12, "4 KiB to 8 KiB"),
        (2**20, 20, "1 MiB to 2 MiB"),
    ],
)
def test_a_bucket_holds_sizes_of_one_power_of_two(size: int, bucket: int, text: str) -> None:
    assert (bucket_of(size), bucket_text(bucket_of(size))) == (bucket, text)
    assert bucket_text(UNSIZED) == "of a size not known when planned"
