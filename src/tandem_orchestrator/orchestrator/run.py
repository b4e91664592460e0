"""A run, as its submitter holds it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from tandem_orchestrator.engine import RunTicket
from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.model.events import AnyEvent, RunEnded
from tandem_orchestrator.observe import RunView

FOLLOW_S = 30.0
"""Longest single wait for the next records of a run that another process owns."""


class Run:
    """One run: wait for its result, follow its events, stop it.

    Made by ``submit`` and ``TandemOrchestrator.run``; belongs to the orchestrator's loop.
    """

    def __init__(
        self, run_id: str, journal: Journal, ticket: RunTicket | None, view: RunView | None
    ) -> None:
        self.id = run_id
        self._journal, self._ticket, self._view = journal, ticket, view

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    # Any: results hold values of any kind.
    async def result(self) -> dict[str, Any]:
        """Wait for the end and give the result, in the shape that ``execute_command_set`` gives.

        Raises: JournalError if its end could not be made durable. CommandError if no such run
            is in the journal.
        """
        if self._ticket is not None and self._view is not None:
            await self._ticket.ended
            return self._view.result()
        view = RunView()
        async for event in self._events():
            view.apply(event)
        return view.result()

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Give every event so far and then each new one, until the run has ended.

        Each is a dict with ``kind``, ``at_ns`` (nanoseconds since the epoch) and its own fields.
        Several iterators at one time are fine.
        """
        async for event in self._events():
            yield msgspec.to_builtins(event, builtin_types=(bytes,))

    async def cancel(self, step: str | None = None, *, by: str = "") -> None:
        """Ask the run, or one step of it, to stop; the result tells what really stopped.

        Raises: CommandError if the run is not one that this orchestrator has in progress.
        """
        if self._ticket is None:
            raise CommandError(
                f"run {self.id}: not in progress here, so it cannot be cancelled here"
            )
        self._ticket.cancel(step, by)

    async def _events(self) -> AsyncIterator[AnyEvent]:
        if await self._journal.run(self.id) is None:
            raise CommandError(f"run {self.id!r}: there is no such run in the journal")
        after = 0
        while True:
            records = await self._journal.follow(self.id, after=after, timeout_s=FOLLOW_S)
            for record in records:
                after = record.seq
                yield record.event
                if isinstance(record.event, RunEnded):
                    return
