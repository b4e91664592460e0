"""A wait with a limit ends by its future or by its limit, and cancels neither."""

import asyncio

from tandem_orchestrator.clock import SystemClock
from tandem_orchestrator.layers.native.waiting import pause, settled_within


async def test_a_future_that_is_done_needs_no_wait():
    future = asyncio.get_running_loop().create_future()
    future.set_result(None)
    assert await settled_within(future, 1000.0, SystemClock())


async def test_the_limit_leaves_the_future_alone():
    future = asyncio.get_running_loop().create_future()
    assert not await settled_within(future, 0.001, SystemClock())
    assert not future.done()


async def test_an_exception_counts_as_done_and_stays_in_the_future():
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(future.set_exception, ValueError("kept"))
    assert await settled_within(future, 1000.0, SystemClock())
    assert isinstance(future.exception(), ValueError)


async def test_cancelling_the_waiter_leaves_the_future_alone():
    future = asyncio.get_running_loop().create_future()
    waiter = asyncio.ensure_future(settled_within(future, 1000.0, SystemClock()))
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    assert waiter.cancelled()
    assert not future.done()


async def test_a_pause_ends():
    await asyncio.wait_for(pause(0.001, SystemClock()), 5.0)
