"""What is known to differ is found in a real REDUNDANT run, and nothing else is."""

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, CompareRules, Ref, TandemOrchestrator
from tandem_orchestrator.testing import FakeClock

_spec = importlib.util.spec_from_file_location(
    "planted_pairs", Path(__file__).with_name("planted_pairs.py")
)
assert _spec is not None and _spec.loader is not None
_pairs = importlib.util.module_from_spec(_spec)
sys.modules["planted_pairs"] = _pairs  # Its dataclass, and hooks by name, are looked up there.
_spec.loader.exec_module(_pairs)
# Any: a module that is found by its path has no types here.
PAIRS: list[Any] = _pairs.PAIRS
Pair = Any

SETTINGS = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}


async def conflicts_of(pair: Pair) -> dict[int, dict[str, Any]]:
    """Run both twins on every input; give the conflicts by the input's position."""
    async with TandemOrchestrator(SETTINGS) as tandem:
        agent = tandem.register_agent("planted")
        handle = agent.action("pair", effects="none", compare=pair.rules)(
            lambda payload: pair.left(payload["x"])
        )
        handle.twin("other")(lambda payload: pair.right(payload["x"]))
        step = CommandStep(
            id="s",
            agent="planted",
            action="pair",
            for_each=[{"x": value} for value in pair.inputs],
            payload=Ref("item"),
            on_item_failure="collect",
        )
        result = await tandem.execute_command_set(CommandSet(mode="REDUNDANT", steps=[step]))
    assert result["status"] == "completed", result["error"]
    assert all(conflict["step"] == "s" for conflict in result["conflicts"])
    assert result["consensus_achieved"] is (len(result["conflicts"]) == 0)
    found = {conflict["item"]: conflict for conflict in result["conflicts"]}
    assert len(found) == len(result["conflicts"])
    return found


def test_there_are_at_least_forty_pairs_and_no_two_of_a_name() -> None:
    assert len({pair.name for pair in PAIRS}) == len(PAIRS) >= 40
    assert sum(bool(pair.differ) for pair in PAIRS) >= 20
    assert sum(not pair.differ for pair in PAIRS) >= 15


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
async def test_each_planted_difference_is_found_and_nothing_else(pair: Pair) -> None:
    found = await conflicts_of(pair)
    assert {item: conflict["fields"][0]["path"] for item, conflict in found.items()} == pair.differ


class Waiting:
    """Twins that wait for the clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock

    async def waits(self, seconds: float) -> None:
        """Wait until the test has moved the clock so far."""
        over = asyncio.Event()
        self.clock.call_later(seconds, over.set)
        await over.wait()


async def run_slowly(
    left_s: float, right_s: float, *, rules: CompareRules | None = None
) -> dict[str, Any]:
    """Run twins that take so long, within a limit of 5 s."""
    clock = FakeClock()
    waiting = Waiting(clock)
    async with TandemOrchestrator(SETTINGS, clock=clock) as tandem:
        agent = tandem.register_agent("planted")

        @agent.action("slow", effects="none", compare=rules)
        async def slow(payload: Any) -> str:
            await waiting.waits(left_s)
            return "done"

        @slow.twin("other")
        async def other(payload: Any) -> str:
            await waiting.waits(right_s)
            return "done"

        step = CommandStep(id="s", agent="planted", action="slow", timeout=5.0, can_fail=True)
        run = await tandem.submit(CommandSet(mode="REDUNDANT", steps=[step]))
        for _ in range(8):
            await clock.advance(1.0)
        return await run.result()


async def test_a_slow_side_that_gives_the_same_agrees() -> None:
    result = await run_slowly(0.0, 4.0)
    assert result["conflicts"] == []
    assert result["consensus_achieved"] is True


async def test_a_side_that_hangs_is_a_conflict_with_one_that_does_not() -> None:
    result = await run_slowly(0.0, 1e6)
    (conflict,) = result["conflicts"]
    (field,) = conflict["fields"]
    assert field["path"] == ""
    assert field["left"]["outcome"] == "succeeded"
    assert field["right"] == {"outcome": "timed_out", "type": None}
    assert result["results"]["s"] == "done"


async def test_two_sides_that_hang_agree() -> None:
    result = await run_slowly(1e6, 1e6)
    assert result["conflicts"] == []
    assert result["steps"]["s"]["outcome"] == "timed_out"


async def test_a_hook_that_fails_is_named_in_the_conflict() -> None:
    (pair,) = [pair for pair in PAIRS if pair.name == "a hook that raises"]
    found = await conflicts_of(pair)
    (field,) = found[0]["fields"]
    assert "_breaks raised RuntimeError: planted" in field["reason"]


async def test_a_comparison_that_is_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite itself: without comparison, or with a lax one, it fails."""
    from tandem_orchestrator.engine import verdict

    seen = 0
    for planted in (lambda *sides: [], lambda a, b, rules: [] if a.value == b.value else None):
        monkeypatch.setattr(verdict, "differences_of_cleaned", planted)
        for name in ("negative zero", "int or float", "bool or int"):
            (pair,) = [pair for pair in PAIRS if pair.name == name]
            seen += set(await conflicts_of(pair)) != set(pair.differ)
    assert seen == 6
