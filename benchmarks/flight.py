"""Many runs in flight on one loop, and what one of them costs."""

import asyncio
import time
from collections.abc import Awaitable, Callable

IN_FLIGHT = 64


async def us_a_run(total: int, one: Callable[[int], Awaitable[object]]) -> float:
    """Give microseconds a run with ``IN_FLIGHT`` in flight; ``one`` gets the run's number."""
    numbers = iter(range(total))

    async def worker() -> None:
        for number in numbers:
            await one(number)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return (time.perf_counter() - began) / total * 1e6
