"""One short transaction on the writer's thread, asked for and awaited on the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tandem_orchestrator.errors import JournalError, TandemError

_T = TypeVar("_T")


# Any below: the connection is the journal's own kind; what the work gives back is between its
# author and whoever reads ``done``.
@dataclass(frozen=True, slots=True)
class Job:
    """A short transaction on the writer's connection; with ``work=None`` only a mark."""

    work: Callable[[Any], Any] | None
    done: Callable[[Any, TandemError | None], None]
    """Called on the writer's thread with the result or the error."""


class DoesJobs(Protocol):
    """A writer, as far as jobs are concerned."""

    failure: JournalError | None
    """Why it stopped."""

    def put(self, item: Job) -> None:
        """Queue a job, from any thread."""


async def transact(
    writer: DoesJobs,
    work: Callable[[Any], _T] | None,
    silence: str,
    wait_s: float,
    on_loop: Callable[[Callable[[], None]], None],
    told: Callable[[], None],
) -> _T:
    """Run ``work`` as a transaction of its own, or with None wait for what was queued before.

    Args:
        silence: What to say, ahead of the seconds, when no answer comes.
        wait_s: Seconds until then.
        on_loop: Calls something on the loop, from any thread.
        told: Called on the loop when the answer is there.

    Raises: JournalError; what ``work`` refuses with.
    """
    if writer.failure is not None:
        raise writer.failure
    answer: asyncio.Future[_T] = asyncio.get_running_loop().create_future()

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
            f"{silence} for {wait_s:.0f} s; whether it was written is not known"
        ) from error
