"""Runs by id: handles, listings, views, and going on with what was interrupted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from tandem_orchestrator.engine import Engine, RunTicket
from tandem_orchestrator.journal import Journal, RunRow
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator.afterwards import Afterwards
from tandem_orchestrator.orchestrator.ahead import NOTHING_AHEAD, Ahead
from tandem_orchestrator.orchestrator.intake import Intake
from tandem_orchestrator.orchestrator.recovery import Recovery
from tandem_orchestrator.orchestrator.run import Run
from tandem_orchestrator.orchestrator.watching import Watching


class RunDoors(ABC):
    """The part of ``TandemOrchestrator`` that finds runs again."""

    _watching: Watching
    _recovery: Recovery | None
    _make_run: Callable[..., Run]
    _afterwards: Afterwards | None

    @abstractmethod
    async def _submit(self, intake: Intake, ahead: Ahead = NOTHING_AHEAD) -> Run:
        """Take a run in."""

    @abstractmethod
    def _usable(self) -> tuple[Engine, Journal]:
        """Refuse every call from the wrong place or at the wrong time."""

    def run(self, run_id: str) -> Run:
        """Give a handle for a run of this journal, in progress or ended, of any process."""
        engine, journal = self._usable()
        active = engine.tickets.get(run_id)
        return self._make_run(run_id, journal, active, self._watching.view(run_id))

    async def resume(self, run_id: str) -> Run:
        """Go on with an interrupted run here, also where its actions have other versions by now.

        Those that need nothing else go on by themselves while ``journal.recover`` is on.

        Raises: CommandError naming what it waits for, or that it is not interrupted.
        """
        self._usable()
        assert self._recovery is not None
        await self._recovery.resume(run_id)
        return self.run(run_id)

    async def _look_for_runs(self) -> None:
        """Take over now what can be taken over, where that is done at all."""
        if self._recovery is not None and self._recovery.is_on:
            await self._recovery.look()

    async def _retry(self, run_id: str, step: str | None, by: str) -> tuple[RunTicket, RunView]:
        self._usable()
        assert self._afterwards is not None
        return await self._afterwards.retry(run_id, step, by)

    # Any: a payload is a value of any kind.
    async def _fork(self, run_id: str, step: str, payload: Any, by: str) -> Run:
        self._usable()
        assert self._afterwards is not None
        intake, onward = await self._afterwards.fork(run_id, step, payload, by)
        return await self._submit(intake, Ahead(onward=onward))

    async def runs(
        self, *, status: str | None = None, name: str | None = None, limit: int = 100
    ) -> list[RunRow]:
        """List the runs in the journal, newest first."""
        _, journal = self._usable()
        return await journal.runs(status=status, name=name, limit=limit)

    async def view(self, run_id: str) -> RunView | None:
        """Fold a run's events as far as they are written; None if there is no such run."""
        _, journal = self._usable()
        records = await journal.records(run_id)
        if not records:
            return None
        view = RunView()
        for record in records:
            view.apply(record.event)
        return view
