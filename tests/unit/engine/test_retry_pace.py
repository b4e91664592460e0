"""Retry budgets: an agent's retries of all runs together are spread, none is refused."""

import asyncio
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.engine.retry_pace import RetryPace
from tandem_orchestrator.layers.layer import CancelToken
from tandem_orchestrator.testing.clock import FakeClock, settle


async def starts(clock: FakeClock, pace: RetryPace, count: int, seconds: float) -> list[float]:
    zero_ns, seen = clock.monotonic_ns(), []

    async def one() -> None:
        await pace.wait("a", CancelToken())
        seen.append(round((clock.monotonic_ns() - zero_ns) / 1e9, 6))

    tasks = [asyncio.create_task(one()) for _ in range(count)]
    await clock.advance(seconds)
    for task in tasks:
        task.cancel()
    return seen


async def test_one_seconds_worth_comes_at_once_and_the_rest_in_turn() -> None:
    clock = FakeClock()
    assert await starts(clock, RetryPace(clock, 4), 10, 2.0) == [0.0] * 4 + [
        0.25, 0.5, 0.75, 1.0, 1.25, 1.5,
    ]  # fmt: skip


async def test_a_budget_that_was_not_used_is_full_again_after_a_second_and_no_fuller() -> None:
    clock = FakeClock()
    pace = RetryPace(clock, 4)
    await starts(clock, pace, 4, 0.0)
    await clock.advance(100.0)
    assert await starts(clock, pace, 5, 1.0) == [0.0] * 4 + [0.25]


async def test_agents_have_budgets_of_their_own_and_none_means_none() -> None:
    clock = FakeClock()
    pace = RetryPace(clock, 1)
    await pace.wait("a", CancelToken())
    await pace.wait("b", CancelToken())
    assert await starts(clock, RetryPace(clock, 0), 1000, 0.0) == [0.0] * 1000


async def test_who_is_asked_to_stop_waits_no_longer() -> None:
    clock = FakeClock()
    pace = RetryPace(clock, 1)
    await pace.wait("a", CancelToken())
    token = CancelToken()
    waiting = asyncio.create_task(pace.wait("a", token))
    await settle()
    assert not waiting.done()
    token.cancel("cancelled")
    await settle()
    assert waiting.done()
    assert clock.armed == 0


@pytest.mark.parametrize(("budget", "spread_s"), [(50, 0.35), (0, 0.0)])
async def test_a_storm_of_retries_is_spread_and_every_step_gets_its_own(
    budget: float, spread_s: float
) -> None:
    loop = asyncio.get_running_loop()
    failures: list[float] = []
    retries: list[float] = []
    seen: set[int] = set()
    config = {
        "journal": {"path": ":memory:"},
        "c_layer": {"enabled": False},
        "limits": {"retries_per_s": budget},
    }
    async with TandemOrchestrator(config) as tandem:

        @tandem.register_agent("flaky").action("do", effects="none")
        async def do(payload: Any) -> int:
            item = payload["item"]
            if item not in seen:
                seen.add(item)
                failures.append(loop.time())
                raise OSError("down for a moment")
            retries.append(loop.time())
            return item

        step = CommandStep(
            agent="flaky", action="do", payload={"item": Ref("item")}, for_each=list(range(70)),
            retry_policy={"max_retries": 1, "initial_delay": 0.0},
        )  # fmt: skip
        result = await tandem.execute_command_set(CommandSet(name="storm", steps=[step]))

    assert result["status"] == "completed"
    assert len(retries) == 70
    assert max(retries) - min(failures) >= spread_s, "however late a busy machine runs the first"


async def test_what_succeeded_and_is_compared_again_needs_no_budget() -> None:
    """At one retry a second these would take a minute: nobody failed whom it could keep down."""
    config = {
        "journal": {"path": ":memory:"},
        "c_layer": {"enabled": False},
        "limits": {"retries_per_s": 1},
        "redundancy": {"consensus_retries": 3},
    }
    async with TandemOrchestrator(config) as tandem:
        action = tandem.register_agent("both").action("do", effects="none")(lambda item: item)
        action.twin("other")(lambda item: -item)
        step = CommandStep(
            agent="both", action="do", payload=Ref("item"), for_each=list(range(1, 11))
        )
        asked = CommandSet(mode="CONSENSUS", steps=[step])
        result = await asyncio.wait_for(tandem.execute_command_set(asked), 20)

    assert result["status"] == "failed" and len(result["conflicts"]) == 10


async def test_items_that_somebody_asks_for_again_need_no_budget() -> None:
    """At one retry a second these would take a minute: whoever asks for them means it."""
    config = {
        "journal": {"path": ":memory:"},
        "c_layer": {"enabled": False},
        "limits": {"retries_per_s": 1},
    }
    is_down = True
    async with TandemOrchestrator(config) as tandem:

        @tandem.register_agent("flaky").action("do", effects="none")
        async def do(item: int) -> int:
            if is_down:
                raise OSError("down for long")
            return item

        step = CommandStep(
            id="each", agent="flaky", action="do", payload=Ref("item"),
            for_each=list(range(70)), on_item_failure="collect",
        )  # fmt: skip
        run = await tandem.submit(CommandSet(name="again", steps=[step]))
        assert len((await run.result())["steps"]["each"]["failed_items"]) == 70
        is_down = False
        await run.retry("each")
        result = await asyncio.wait_for(run.result(), 20)

    assert result["results"] == {"each": list(range(70))}
