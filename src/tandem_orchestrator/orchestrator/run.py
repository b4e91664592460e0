"""A run, as its submitter holds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from tandem_orchestrator.engine import RunTicket
from tandem_orchestrator.errors import CommandError, OutcomeUnknown
from tandem_orchestrator.journal import Journal, Record, RunRow
from tandem_orchestrator.model.events import AnyEvent, RunEnded
from tandem_orchestrator.model.outcomes import RunStatus
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator.run_control import Fork, Retry, RunControl

TAKEN_OVER_LOOKS, TAKEN_OVER_PAUSE_S = 10, 0.5
"""How often, and with what pause in seconds, an interrupted run is looked at before its wait ends."""
FOLLOW_S = 30.0
"""Longest single wait for the next records of a run that another process owns."""


class Run(RunControl):
    """One run: wait for its result, follow its events, stop it.

    Made by ``submit`` and ``TandemOrchestrator.run``; belongs to the orchestrator's loop.
    """

    __slots__ = ("_look_again",)

    def __init__(
        self,
        run_id: str,
        journal: Journal,
        ticket: RunTicket | None,
        view: RunView | None,
        *,
        check: Callable[[], object],
        make_id: Callable[[], str],
        wall_ns: Callable[[], int],
        look_again: Callable[[], Awaitable[object]] | None = None,
        retry: Retry | None = None,
        fork: Fork | None = None,
    ) -> None:
        self.id = run_id
        self._journal, self._ticket, self._view = journal, ticket, view
        self._check, self._make_id, self._wall_ns = check, make_id, wall_ns
        self._look_again = look_again
        self._retry_here, self._fork_here = retry, fork

    def __repr__(self) -> str:
        return f"<Run {self.id}>"

    @property
    def is_here(self) -> bool:
        """Whether this orchestrator has the run in progress; handles of other processes see it."""
        return self._ticket is not None and not self._ticket.ended.done()

    @property
    def was_here(self) -> bool:
        """Whether this orchestrator has the run in progress, or has brought it to its end."""
        return self._ticket is not None

    # Any: results hold values of any kind.
    async def result(self) -> dict[str, Any]:
        """Wait for the end and give the result, in the shape that ``execute_command_set`` gives.

        Raises: JournalError if its end could not be made durable. CommandError if no such run
            is in the journal. Forked in a forked child.
        """
        self._check()
        if self._ticket is not None:
            # Shielded: who stops waiting must not end the wait of the others.
            await asyncio.shield(self._ticket.ended)
            if self._view is not None:
                return self._view.result()
        view = RunView()
        async for event in self._events():
            view.apply(event)
        return view.result()

    async def result_or_held(self) -> dict[str, Any]:
        """As ``result``; a run that only a person can move is given as it is, ``held``."""
        ticket = self._ticket
        if ticket is None or ticket.held is None or self._view is None:
            return await self.result()
        held = asyncio.ensure_future(ticket.held.wait())
        try:
            await asyncio.wait((ticket.ended, held), return_when=asyncio.FIRST_COMPLETED)
        finally:
            held.cancel()
        return await self.result() if ticket.ended.done() else self._view.result()

    async def result_or_cancel(self, *, held: bool = False) -> dict[str, Any]:
        """As ``result``; if the caller is cancelled meanwhile, so is the run.

        Args:
            held: Give a run that only a person can move as it is.
        """
        try:
            return await (self.result_or_held() if held else self.result())
        except asyncio.CancelledError:
            if self._ticket is not None and not self._ticket.ended.done():
                self._ticket.cancel(None, "its caller")
            raise

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Give every event so far and then each new one, until the run has ended.

        Each is a dict with ``kind``, ``at_ns`` (nanoseconds since the epoch) and its own fields.
        Several iterators at one time are fine.
        """
        self._check()
        async for event in self._events():
            yield msgspec.to_builtins(event, builtin_types=(bytes,))

    async def _events(self) -> AsyncIterator[AnyEvent]:
        after = looks = 0
        asked = False
        while True:
            row = await self._journal.run(self.id)
            if row is None:
                await self._journal.flush()  # under ``async`` it may be on its way
                row = await self._journal.run(self.id)
            if row is None:
                raise CommandError(f"run {self.id!r}: there is no such run in the journal")
            if row.status == RunStatus.INTERRUPTED and row.records <= after:
                if row.waiting_for and not asked and self._look_again is not None:
                    asked = True  # What it waits for may have been registered a moment ago.
                    await self._look_again()
                    continue
                if row.waiting_for or looks >= TAKEN_OVER_LOOKS:
                    raise _interrupted(row)
                looks += 1
                await self._journal.follow(self.id, after=after, timeout_s=TAKEN_OVER_PAUSE_S)
                continue
            records = await self._journal.follow(self.id, after=after, timeout_s=FOLLOW_S)
            for record in records:
                after = record.seq
                yield record.event
                if isinstance(record.event, RunEnded) and await self._is_last(record):
                    return

    async def _is_last(self, record: Record) -> bool:
        """Whether nothing followed the end of the run: it may have been retried."""
        row = await self._journal.run(self.id)
        return row is None or row.records <= record.seq


def _interrupted(row: RunRow) -> OutcomeUnknown:
    waits = (
        f"it waits for {', '.join(row.waiting_for)}" if row.waiting_for else "nobody took it over"
    )
    return OutcomeUnknown(
        f"run {row.run_id} was interrupted: its owner {row.owner} is dead, and {waits}; "
        "'tandem runs show' has what it had done"
    )
