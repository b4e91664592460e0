"""Places for attempts: bounded, by priority, and left at once when asked to."""

import asyncio

import pytest

from tandem_orchestrator.engine.ageing import Ageing
from tandem_orchestrator.engine.places import Places
from tandem_orchestrator.layers.layer import CancelToken
from tandem_orchestrator.testing import FakeClock, settle


async def test_the_urgent_go_first_and_equals_in_the_order_in_which_they_came():
    places, order = Places(1, Ageing(FakeClock())), []
    assert await places.enter(2, CancelToken())

    async def attempt(name, priority):
        assert await places.enter(priority, CancelToken())
        order.append(name)
        places.leave()

    waiting = [("low", 1), ("high", 3), ("critical", 4), ("high2", 3)]
    tasks = [asyncio.create_task(attempt(*one)) for one in waiting]
    await settle()
    assert order == []
    places.leave()
    await asyncio.gather(*tasks)
    assert order == ["critical", "high", "high2", "low"]


async def test_who_is_asked_to_stop_leaves_the_queue_and_takes_no_place():
    places, token = Places(1, Ageing(FakeClock())), CancelToken()
    assert await places.enter(2, CancelToken())
    waiting = asyncio.create_task(places.enter(2, token))
    await settle()
    token.cancel("cancelled")
    assert await waiting is False
    places.leave()
    assert await asyncio.wait_for(places.enter(2, CancelToken()), 5)


async def test_a_task_that_is_cancelled_gives_back_what_it_was_just_given():
    places = Places(1, Ageing(FakeClock()))
    assert await places.enter(2, CancelToken())
    waiting = asyncio.create_task(places.enter(2, CancelToken()))
    await settle()
    places.leave()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await asyncio.wait_for(places.enter(2, CancelToken()), 5)


async def test_a_token_that_was_used_before_takes_no_place():
    token = CancelToken()
    token.cancel("cancelled")
    assert await Places(1, Ageing(FakeClock())).enter(2, token) is False


async def test_who_waits_a_level_long_goes_before_the_more_urgent_who_come_later():
    clock = FakeClock()
    places, order = Places(1, Ageing(clock, level_s=10.0)), []
    assert await places.enter(2, CancelToken())

    async def attempt(name, priority):
        assert await places.enter(priority, CancelToken())
        order.append(name)
        places.leave()

    tasks = [asyncio.create_task(attempt("low", 1))]
    await clock.advance(9.9)
    tasks.append(asyncio.create_task(attempt("medium, in time", 2)))
    await clock.advance(0.2)
    tasks.append(asyncio.create_task(attempt("medium, too late", 2)))
    tasks.append(asyncio.create_task(attempt("high", 3)))
    await settle()
    places.leave()
    await asyncio.gather(*tasks)
    assert order == ["high", "medium, in time", "low", "medium, too late"]
