"""Gates: rates and bounds of agents and actions, by priority, on a clock that is moved."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from tandem_orchestrator.engine.ageing import Ageing
from tandem_orchestrator.engine.gates import FREE, Gates, Passage
from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.layers.layer import CancelToken
from tandem_orchestrator.model.limits import AttemptLimits, Limits
from tandem_orchestrator.testing.clock import FakeClock, settle

NONE = Limits()


class Bench:
    """Gates over limits that a test sets, and a record of who started when."""

    def __init__(self, ageing_s: float = 0.0) -> None:
        self.clock = FakeClock()
        self.agent = NONE
        self.actions: dict[str, Limits] = {}
        self.gates = Gates(self.clock, self.limits_of, Ageing(self.clock, ageing_s))
        self.started: list[tuple[float, str]] = []
        self.passages: dict[str, Passage] = {}
        self.tasks: list[asyncio.Task[None]] = []
        self.tokens: dict[str, CancelToken] = {}
        self._zero_ns = self.clock.monotonic_ns()

    def limits_of(self, agent: str, action: str) -> AttemptLimits | None:
        return AttemptLimits(self.agent, self.actions.get(action, NONE))

    def ask(self, name: str, action: str = "do", payload: Any = None, priority: int = 2) -> None:
        token = self.tokens[name] = CancelToken()

        async def attempt() -> None:
            passage = await self.gates.enter("a", action, lambda: payload, priority, token)
            self.passages[name] = passage
            if passage.failure is None:
                at_s = (self.clock.monotonic_ns() - self._zero_ns) / 1e9
                self.started.append((round(at_s, 6), name))

        self.tasks.append(asyncio.create_task(attempt()))

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.started]


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_what_has_no_limits_passes_at_once() -> None:
    gates = Gates(FakeClock(), lambda agent, action: None, Ageing(FakeClock()))
    assert await gates.enter("a", "b", lambda: 1 / 0, 2, CancelToken()) is FREE


async def test_a_rate_spaces_the_starts_evenly(bench: Bench) -> None:
    bench.actions["do"] = Limits(rate_per_s=4)
    for i in range(6):
        bench.ask(f"n{i}")
    await bench.clock.advance(2.0)

    assert bench.started == [(i * 0.25, f"n{i}") for i in range(6)]
    assert bench.gates.waiting == 0


async def test_an_idle_rate_saves_nothing_up(bench: Bench) -> None:
    bench.actions["do"] = Limits(rate_per_s=2)
    await bench.clock.advance(10.0)
    for i in range(3):
        bench.ask(f"n{i}")
    await bench.clock.advance(2.0)

    assert [at for at, _ in bench.started] == [10.0, 10.5, 11.0]


async def test_a_bound_lets_in_so_many_and_the_urgent_first(bench: Bench) -> None:
    bench.actions["do"] = Limits(max_concurrency=2)
    for name, priority in [("a", 2), ("b", 2), ("low", 1), ("first", 3), ("second", 3)]:
        bench.ask(name, priority=priority)
    await settle()
    assert bench.names == ["a", "b"]

    for leaver, expected in [("a", "first"), ("first", "second"), ("b", "low")]:
        bench.passages[leaver].leave()
        bench.passages[leaver].leave()  # harmless
        await settle()
        assert bench.names[-1] == expected


async def test_equal_keys_wait_for_each_other_and_others_do_not(bench: Bench) -> None:
    bench.actions["do"] = Limits(concurrency_key="customer")
    for name, customer in [
        ("a1", "a"),
        ("a2", "a"),
        ("b1", "b"),
        ("n", None),
        ("t", True),
        ("i", 1),
    ]:
        bench.ask(name, payload={"customer": customer})
    await settle()
    assert bench.names == ["a1", "b1", "n", "t", "i"]

    bench.passages["b1"].leave()
    await settle()
    assert "a2" not in bench.names
    bench.passages["a1"].leave()
    await settle()
    assert bench.names[-1] == "a2"


async def test_a_key_may_be_a_function_and_have_a_bound_of_its_own(bench: Bench) -> None:
    bench.actions["do"] = Limits(max_concurrency=2, concurrency_key=lambda p: p["n"] % 2)
    for n in range(8):
        bench.ask(f"n{n}", payload={"n": n})
    await settle()
    assert bench.names == ["n0", "n1", "n2", "n3"]


@pytest.mark.parametrize(
    ("key", "reason"), [(lambda p: p["x"], "raised KeyError"), (lambda p: [1], "gave list")]
)
async def test_a_key_that_cannot_be_fails_the_attempt(
    bench: Bench, key: Callable[[Any], Any], reason: str
) -> None:
    bench.actions["do"] = Limits(concurrency_key=key)
    bench.ask("n", payload={})
    await settle()
    failure = bench.passages["n"].failure
    assert failure is not None
    assert failure.type == "BadKey"
    assert reason in failure.message


async def test_an_agents_limits_hold_for_all_its_actions_together(bench: Bench) -> None:
    bench.agent = Limits(max_concurrency=2)
    bench.actions["slow"] = Limits(max_concurrency=1)
    for name, action in [("s1", "slow"), ("s2", "slow"), ("f1", "fast"), ("f2", "fast")]:
        bench.ask(name, action)
    await settle()
    assert bench.names == ["s1", "f1"]  # s2 waits for s1 alone and holds nothing
    bench.passages["f1"].leave()
    await settle()
    assert bench.names[-1] == "f2"
    bench.passages["s1"].leave()
    await settle()
    assert bench.names[-1] == "s2"


async def test_who_is_cancelled_leaves_the_queue_and_costs_no_token(bench: Bench) -> None:
    bench.actions["do"] = Limits(rate_per_s=1)
    for name in ("a", "b", "c"):
        bench.ask(name)
    await settle()
    bench.tokens["b"].cancel("cancelled")
    await settle()
    failure = bench.passages["b"].failure
    assert failure is not None
    assert failure.type == "Cancelled"
    await bench.clock.advance(1.0)
    assert bench.started == [(0.0, "a"), (1.0, "c")]

    bench.ask("d")
    await settle()
    bench.tasks[-1].cancel()
    await settle()
    assert bench.gates.waiting == 0
    assert bench.clock.armed <= 1


async def test_limits_may_change_at_any_time(bench: Bench) -> None:
    bench.actions["do"] = Limits(max_concurrency=1)
    bench.ask("a")
    bench.ask("b")
    await settle()
    bench.actions["do"] = NONE
    bench.ask("c")
    await settle()
    assert "c" in bench.names
    bench.passages["c"].leave()
    await settle()
    assert "b" in bench.names


@pytest.mark.parametrize("seed", range(30))
async def test_no_limit_is_ever_broken_and_everybody_starts_in_the_end(
    bench: Bench, seed: int
) -> None:
    """Random limits, keys, priorities, cancellations and durations, held against a plain count."""
    rng = random.Random(seed)

    def some() -> Limits:
        return Limits(
            rng.choice([None, 1, 2, 3]),
            rng.choice([None, None, 0.5, 3, 10]),
            rng.choice([None, None, "k"]),
        )

    whole = some()
    bench.agent = Limits(whole.max_concurrency, whole.rate_per_s)
    bench.actions = {action: some() for action in ("x", "y")}
    what = {f"n{i}": (rng.choice(["x", "y"]), rng.choice(["p", "q", None])) for i in range(40)}
    running: set[str] = set()
    seen = 0
    for i, (name, (action, key)) in enumerate(what.items()):
        bench.ask(name, action, {"k": key}, rng.randrange(5))
        if i % 7 == 6:
            bench.tokens[f"n{rng.randrange(i + 1)}"].cancel("cancelled")
        await bench.clock.advance(rng.choice([0, 0, 0.1, 1.7]))
    cancelled = {name for name, token in bench.tokens.items() if token.requested}

    def check() -> None:
        for bound, members in [
            (bench.agent.max_concurrency, running),
            *(
                (limits.max_concurrency, {n for n in running if what[n][0] == action})
                for action, limits in bench.actions.items()
                if limits.concurrency_key is None
            ),
        ]:
            assert bound is None or len(members) <= bound
        for action, limits in bench.actions.items():
            if limits.concurrency_key is not None:
                for key in ("p", "q", None):
                    alike = {n for n in running if what[n] == (action, key)}
                    assert len(alike) <= (limits.max_concurrency or 1)

    for _ in range(2000):
        for _, name in bench.started[seen:]:
            running.add(name)
            seen += 1
            check()
        if not running and not bench.gates.waiting:
            break
        if running and rng.random() < 0.7:
            name = rng.choice(sorted(running))
            running.remove(name)
            bench.passages[name].leave()
        # One settling at a time, so that each start is seen before the next end.
        await bench.clock.advance(rng.choice([0, 0.05, 0.3]))
    assert set(what) - cancelled <= {name for _, name in bench.started}
    for limits, members in [(bench.agent, set(what))] + [
        (limits, {n for n in what if what[n][0] == action})
        for action, limits in bench.actions.items()
    ]:
        if limits.rate_per_s is not None:
            times = [at for at, name in bench.started if name in members]
            gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
            assert all(gap >= 1 / limits.rate_per_s - 1e-5 for gap in gaps)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_concurrency=0), "max_concurrency=0"),
        (Limits(max_concurrency=True), "max_concurrency=True"),
        (Limits(max_concurrency=1.5), "max_concurrency=1.5"),  # type: ignore[arg-type]
        (Limits(rate_per_s=0), "rate_per_s=0"),
        (Limits(rate_per_s=float("nan")), "rate_per_s=nan"),
        (Limits(rate_per_s=True), "rate_per_s=True"),
        (Limits(rate_per_s=1e7), "rate_per_s=1"),
        (Limits(concurrency_key=""), "concurrency_key=''"),
        (Limits(concurrency_key=5), "concurrency_key=5"),  # type: ignore[arg-type]
    ],
)
def test_limits_that_nothing_could_run_under_are_refused(limits: Limits, reason: str) -> None:
    with pytest.raises(CommandError, match=f"a.do: {reason}"):
        limits.checked("a.do")


async def test_who_waits_a_level_long_goes_before_the_more_urgent_who_come_later() -> None:
    bench = Bench(ageing_s=10.0)
    bench.actions["do"] = Limits(max_concurrency=1)
    bench.ask("first")
    bench.ask("low", priority=1)
    await bench.clock.advance(10.1)
    bench.ask("medium", priority=2)
    bench.ask("high", priority=3)
    for name in ("first", "high", "low", "medium"):
        await settle()
        bench.passages[name].leave()

    assert bench.names == ["first", "high", "low", "medium"]
