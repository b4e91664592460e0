"""One short transaction on the writer's thread, asked for and awaited on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from tandem_orchestrator.errors import JournalError, TandemError
from tandem_orchestrator.journal.postgres.connection import Place
from tandem_orchestrator.journal.postgres.writer import Job, Writer

_T = TypeVar("_T")


async def transact(
    writer: Writer,
    work: Callable[[psycopg.Connection[Any]], _T] | None,
    place: Place,
    wait_s: float,
    on_loop: Callable[[Callable[[], None]], None],
    told: Callable[[], None],
) -> _T:
    """Run ``work`` as a transaction of its own, or with None wait for what was queued before.

    Args:
        on_loop: Calls something on the loop, from any thread.
        told: Called on the loop when the answer is there.

    Raises: JournalError; what ``work`` refuses with.
    """
    if writer.failure is not None:
        raise writer.failure
    answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

    # Any: what the work gives.
    def done(result: Any, error: TandemError | None) -> None:
        def tell() -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)
            told()

        on_loop(tell)

    writer.put(Job(work, done))
    try:
        async with asyncio.timeout(wait_s):
            return await answer
    except TimeoutError as error:
        raise JournalError(
            f"journal {place}: no answer from the server for {wait_s:.0f} s; whether it was "
            "written is not known"
        ) from error
