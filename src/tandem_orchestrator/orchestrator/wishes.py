"""Wishes from other processes about runs of this orchestrator, read from the journal and obeyed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from tandem_orchestrator.engine import RunTicket
from tandem_orchestrator.errors import Closed, CommandError, JournalError, TandemError
from tandem_orchestrator.journal import Control, Journal
from tandem_orchestrator.orchestrator.decisions import ASKED, done, fulfil, obey
from tandem_orchestrator.orchestrator.run_control import Retry

_log = logging.getLogger(__name__)

LOOK_S = 30.0
"""Longest single wait for a wish; the journal looks for one more often than that."""
CLOSE_S = 5.0
"""How long the end of a look may take."""
CLOSE_TRIES = 10
"""Times that the task is asked to end within it."""
EARLY_TRIES, EARLY_PAUSE_S, EARLY_MAX = 200, 0.05, 1000
"""How often, and with what pause in seconds, a wish waits for a run that is being taken over; and
how many do."""
PAUSE_S = 1.0
"""Before the next look, where the journal could not be read."""


class Wishes:
    """One task that obeys what other processes ask of this orchestrator's runs.

    Args:
        journal: Open, and owned.
        tickets: Of the runs in progress, by id; read each time.
    """

    def __init__(self, journal: Journal, tickets: Mapping[str, RunTicket]) -> None:
        self._journal, self._tickets = journal, tickets
        self._task: asyncio.Task[None] | None = None
        self._retry: Retry | None = None
        self._is_closing = False
        self._early: dict[str, int] = {}
        """Wish to how often its run was not here yet."""

    def use_retry(self, retry: Retry) -> None:
        """Say how runs that have ended go on here; before that they do not."""
        self._retry = retry

    def start(self) -> None:
        """Begin to look; ``close`` ends it."""
        self._task = asyncio.create_task(self._serve(), name="tandem-wishes")

    async def close(self) -> None:
        """Stop looking."""
        if self._task is None:
            return
        self._is_closing = True
        for _ in range(CLOSE_TRIES):
            # More than once: asyncio.wait_for of Python 3.11 may lose a cancellation.
            self._task.cancel()
            done, _ = await asyncio.wait((self._task,), timeout=CLOSE_S / CLOSE_TRIES)
            if done:
                return

    async def _serve(self) -> None:
        is_well = True
        while not self._is_closing:
            try:
                early = False
                for wish in await self._journal.controls(wait_s=LOOK_S):
                    if await self._is_early(wish):
                        early = True
                        continue
                    answer = await self._answer(wish)
                    await self._journal.flush()  # What is answered has happened for good.
                    await self._journal.answer(wish.id, answer)
                is_well = True
                if early:
                    await asyncio.sleep(EARLY_PAUSE_S)
            except Closed:
                return
            except RuntimeError as error:
                if "after shutdown" in str(error):
                    return  # The interpreter ends, and its thread pools have ended already.
                raise
            except (JournalError, CommandError) as error:
                if is_well:
                    _log.warning("requests of other processes cannot be read: %s", error)
                is_well = False
                await asyncio.sleep(PAUSE_S)

    async def _is_early(self, wish: Control) -> bool:
        """Say whether a wish is about a run that is being taken over and is not here quite yet."""
        if wish.run_id in self._tickets:
            return False
        tries = self._early.get(wish.id, 0)
        row = await self._journal.run(wish.run_id)
        if tries >= EARLY_TRIES or row is None or row.finished_at_ns is not None:
            self._early.pop(wish.id, None)
            return False
        if len(self._early) >= EARLY_MAX:
            self._early.clear()
        self._early[wish.id] = tries + 1
        return True

    async def _answer(self, wish: Control) -> str:
        """Do what is asked, also of a run that has ended; gives the answer for who asked."""
        step = wish.body.get("step")
        if wish.kind != "retry" or wish.run_id in self._tickets or self._retry is None:
            return self._obey(wish)
        if step is not None and not isinstance(step, str):
            return f"retry: step={step!r}, expected a step's id"
        try:
            await self._retry(wish.run_id, step, wish.by)
        except TandemError as error:
            return f"retry: {error}"
        return done("retry")

    def _obey(self, wish: Control) -> str:
        """Do what is asked; gives the answer for who asked."""
        if wish.kind not in ("cancel", "resolve", *ASKED):
            return f"{wish.kind}: not supported by this version"
        ticket = self._tickets.get(wish.run_id)
        if ticket is None:
            return f"{wish.kind}: the run is not in progress any more"
        if wish.kind == "resolve":
            return obey(ticket, wish)
        if wish.kind in ASKED:
            return fulfil(ticket, wish)
        step = wish.body.get("step")
        if step is not None and not isinstance(step, str):
            return f"cancel: step={step!r}, expected a step's id"
        ticket.cancel(step, wish.by)
        return done("cancel")
