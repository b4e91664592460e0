"""The modes ADAPTIVE and LEARNING over a simulated pair: no clock runs and nothing sleeps."""

import random

import pytest

from tandem_orchestrator.model.policies import RouteQuestion
from tandem_orchestrator.orchestrator.adaptive import LinUcb, answers_first

LAYERS = {"python": "python", "c": "c"}


def question(
    size: int = 100,
    load: dict[str, float] | None = None,
    costs: dict[str, float] | None = None,
    allowed: tuple[str, ...] = ("python", "c"),
) -> RouteQuestion:
    return RouteQuestion("a", "do", size, load or {}, costs or {}, allowed, LAYERS)


@pytest.mark.parametrize(
    ("load", "costs", "chosen"),
    [
        ({}, {}, "c"),
        ({"c": 0.5, "python": 0.0}, {}, "c"),
        ({"c": 3.0, "python": 0.2}, {}, "python"),
        ({"c": 3.0, "python": 6.0}, {}, "c"),
        ({}, {"python": 1e-6, "c": 5e-6}, "python"),
        ({"python": 10.0, "c": 0.1}, {"python": 1e-6, "c": 5e-6}, "c"),
        ({"python": 2.0, "c": 2.0}, {"python": 1e-6, "c": 5e-6}, "python"),
    ],
)
def test_adaptive_takes_who_answers_first_by_the_load_of_this_moment(
    load: dict[str, float], costs: dict[str, float], chosen: str
) -> None:
    assert answers_first(question(load=load, costs=costs)) == chosen


def test_adaptive_chooses_only_among_the_allowed() -> None:
    """A breaker that is open takes its implementation out of ``allowed``."""
    assert answers_first(question(load={"python": 50.0}, allowed=("python",))) == "python"


def seconds(name: str, size: int, load: float) -> float:
    """Python wins below 4 KiB, unless its layer is crowded."""
    if name == "python":
        return (2e-6 + size * 10e-9) * (1.0 + 30.0 * load)
    return 35e-6 + size * 2e-9


def learned(rng: random.Random, calls: int = 500, *, swapped: bool = False) -> LinUcb:
    bandit = LinUcb()
    for i in range(calls):
        asked = question(2 ** rng.randrange(4, 20), {"python": rng.choice([0.0, 3.0]), "c": 0.1})
        name = bandit.route(asked)
        real = name
        if swapped and i > calls // 2:
            real = "c" if name == "python" else "python"
        took = seconds(real, asked.bytes, asked.load["python"])
        bandit.learn(asked, name, took * rng.lognormvariate(0.0, 0.1))
    return bandit


@pytest.mark.parametrize(
    ("size", "load", "best"),
    [(64, 0.0, "python"), (64, 3.0, "c"), (2**17, 0.0, "c"), (2**17, 3.0, "c")],
)
def test_learning_finds_the_better_one_by_size_and_load(size: int, load: float, best: str) -> None:
    right = 0
    for seed in range(10):
        bandit = learned(random.Random(seed))
        asked = question(size, {"python": load, "c": 0.1})
        right += bandit.route(asked) == best

    assert right >= 8


def test_learning_forgets_what_is_not_so_any_more() -> None:
    bandit = learned(random.Random(1), 1500, swapped=True)

    assert bandit.route(question(2**18, {"python": 0.0, "c": 0.1})) == "python"


def test_learning_tries_everybody_and_never_lets_anybody_starve() -> None:
    bandit, rng = LinUcb(), random.Random(3)
    since = {"python": 0, "c": 0}
    for _ in range(3000):
        asked = question(100, {"python": 0.0, "c": 0.1})
        name = bandit.route(asked)
        since = {each: 0 if each == name else n + 1 for each, n in since.items()}
        bandit.learn(asked, name, (1e-6 if name == "c" else 2e-6) * rng.lognormvariate(0.0, 0.1))
        assert max(since.values()) < 1500


def test_learning_avoids_what_fails() -> None:
    bandit = LinUcb()
    chosen = []
    for _ in range(100):
        name = bandit.route(question())
        chosen.append(name)
        bandit.learn(question(), name, None if name == "c" else 1e-3)

    assert chosen[50:].count("c") <= 5
