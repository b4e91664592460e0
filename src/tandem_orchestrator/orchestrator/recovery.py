"""Recovery: runs whose orchestrator died are taken over as soon as all they need is here.

A run of which an action changed meanwhile is held, goes on, or starts from the beginning under a
new plan, as its ``on_change`` says.

A look is cheap while nothing has changed: it asks which owners are dead, and goes on only if that
or what is registered here has changed since. A run is read when it is found and when it goes on; a
look between those asks what it is known to need, once for all runs that need the same. A run that
cannot be taken over yet stays as it is, and its row says what it waits for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine import Engine, RunRequest, RunTicket
from tandem_orchestrator.engine.recover import Diverged, Recovered, recover
from tandem_orchestrator.engine.restarting import restarted
from tandem_orchestrator.errors import Closed, CommandError, JournalError
from tandem_orchestrator.journal import Journal, RunRow
from tandem_orchestrator.layers.native.waiting import settled_within
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.documents import from_document
from tandem_orchestrator.model.events import AnyEvent
from tandem_orchestrator.model.levels import Priority
from tandem_orchestrator.model.outcomes import RunStatus
from tandem_orchestrator.model.plans import Plan, PlannedStep
from tandem_orchestrator.model.values import from_value
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator.intake import Intake
from tandem_orchestrator.orchestrator.left_behind import (
    READ_AGAIN,
    RUNS_KEPT_MAX,
    LeftBehind,
    Waits,
)
from tandem_orchestrator.orchestrator.needs import Needs, needs_of
from tandem_orchestrator.orchestrator.planning import Planning

_log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Seconds between two looks for dead owners."""
RUNS_A_LOOK = 500
"""Runs that one look takes over or asks about; the next look goes on."""
ROWS_A_PAGE = 1_000
"""Rows that are listed at a time."""

Begin = Callable[[str, Sequence[AnyEvent], Plan], RunView]
"""Makes the view of a run that is taken over, of all that happened to it and its plan."""
WithHooks = Callable[[RunRequest, CommandSet, RunView], RunRequest]
"""Has the plugins told of a run."""


@dataclass(frozen=True, slots=True)
class Found:
    """One interrupted run, as far as it was looked at."""

    recovered: Recovered
    events: list[AnyEvent]
    command_set: CommandSet
    # Any: whatever the run has to call.
    callables: dict[str, Callable[..., Any]]
    missing: tuple[str, ...]
    """What has to be here before it can go on."""
    changed: tuple[str, ...]
    """Actions of another version, where the run starts from the beginning because of that."""
    needs: Needs


class Recovery:
    """Takes over what dead owners left, from ``start`` to ``close``. Belongs to the loop.

    Args:
        catalogue: Gives what can be done at this moment.
        stamp: Gives a value that changes with whatever the catalogue depends on.
        begin, with_hooks: What a run that begins here needs beside the engine.
        planning: Plans anew what starts from the beginning.
    """

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        clock: Clock,
        catalogue: Callable[[], Catalogue],
        stamp: Callable[[], object],
        begin: Begin,
        with_hooks: WithHooks,
        planning: Planning,
    ) -> None:
        self._journal, self._engine, self._clock = journal, engine, clock
        self._planning = planning
        self._catalogue, self._stamp = catalogue, stamp
        self._begin, self._with_hooks = begin, with_hooks
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._dead: tuple[int, ...] = ()
        """The dead owners, by token, whose runs were last listed."""
        self._asked: object = None
        """What was registered when the runs that wait were last asked."""
        self._left = LeftBehind()
        self._told: dict[str, tuple[str, ...]] = {}
        """Run to what its row was last made to say."""
        self._to_tell: dict[str, tuple[str, ...]] = {}
        """Run to what it waits for, where its row does not say so yet."""

    def start(self) -> None:
        """Look now, and from now on."""
        self._task = asyncio.create_task(self._serve(), name="tandem-recovery")

    @property
    def is_on(self) -> bool:
        """Whether it takes runs over by itself."""
        return self._task is not None and not self._is_closing

    async def close(self) -> None:
        """Take nothing over any more."""
        self._is_closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=LOOK_S * 10)

    async def _serve(self) -> None:
        is_well = True
        while not self._is_closing:
            try:
                await self.look()
                is_well = True
            except Closed:
                return
            except (JournalError, OSError) as error:
                if is_well:
                    _log.warning("interrupted runs cannot be looked for: %s", error)
                is_well = False
            await settled_within(asyncio.get_running_loop().create_future(), LOOK_S, self._clock)

    async def look(self) -> int:
        """Take over what can be taken over at this moment; gives the number of runs.

        It reads, asks about or takes over ``RUNS_A_LOOK`` runs at most; the next look goes on.
        """
        dead = tuple(sorted(o.token for o in await self._journal.owners() if not o.alive))
        if dead != self._dead:
            self._left.list_anew(await self._left_behind() if dead else (), self._rank)
            self._dead = dead
        taken = budget = 0
        stamp = self._stamp()
        while self._left.has_unread and budget < RUNS_A_LOOK and self._engine.has_room():
            taken += await self._try(self._left.next_unread())
            budget += 1
        if stamp != self._asked and budget < RUNS_A_LOOK:
            catalogue, is_done = self._catalogue(), True
            for waits, runs in self._left.kinds():
                missing = self._missing(waits, catalogue)
                if missing:
                    self._to_tell.update(dict.fromkeys(runs, missing))
                    continue
                for run_id in runs:
                    if budget >= RUNS_A_LOOK or not self._engine.has_room():
                        is_done = False
                        break
                    taken += await self.take_over(run_id)
                    budget += 1
            self._asked = stamp if is_done else None
        await self._tell(max(RUNS_A_LOOK - budget, 1))
        return taken

    def _rank(self, row: RunRow) -> tuple[int, int, str]:
        """Say who goes on first: the first ones get the free places."""
        waited_ns = self._clock.wall_ns() - row.created_at_ns
        rank = self._engine.ageing.rank(Priority.parse(row.priority), waited_ns)
        return rank, row.created_at_ns, row.run_id

    async def take_over(self, run_id: str) -> bool:
        """Take over one run, if its owner is dead and all it needs is here; also while switched off."""
        row = await self._journal.run(run_id)
        if row is None or row.status not in (RunStatus.INTERRUPTED, RunStatus.HELD):
            self._left.forget(run_id)
            return False
        taken = await self._try(row)
        await self._tell(1, run_id)
        return taken

    async def _try(self, row: RunRow) -> bool:
        """Take a run over, or keep what it waits for."""
        run_id = row.run_id
        try:
            if run_id in self._engine.active:
                self._left.forget(run_id)
                return False
            found = await self.look_at(row)
            if not found.missing:
                taken = await self._adopt(row, found) is not None
                self._left.forget(run_id)
                return taken
            self._left.put(run_id, found.needs)
            self._to_tell[run_id] = found.missing
        except (Diverged, msgspec.MsgspecError) as error:
            # One damaged run holds up no other; its records stay for people to look at.
            name = "" if isinstance(error, Diverged) else f"{type(error).__name__}: "
            self._left.put(run_id, f"{name}{error}")
            self._to_tell[run_id] = (f"{name}{error}",)
        except (CommandError, JournalError) as error:
            self._left.put(run_id, READ_AGAIN)
            self._to_tell[run_id] = (f"{type(error).__name__}: {error}",)
        return False

    def _missing(self, waits: Waits, catalogue: Catalogue) -> tuple[str, ...]:
        if isinstance(waits, str):
            return () if waits == READ_AGAIN else (waits,)
        return waits.missing(catalogue)

    async def _left_behind(self) -> list[RunRow]:
        """List runs of dead owners, those that wait for a person too."""
        rows = await self._all(RunStatus.INTERRUPTED)
        alive: dict[str, bool] = {}
        for row in await self._all(RunStatus.HELD):
            if row.owner not in alive:
                alive[row.owner] = self._journal.is_alive(row.owner)
            if not alive[row.owner]:
                rows.append(row)
        return rows

    async def _all(self, status: RunStatus) -> list[RunRow]:
        rows: list[RunRow] = []
        before: str | None = None
        while len(rows) < RUNS_KEPT_MAX:
            page = await self._journal.runs(status=status.value, limit=ROWS_A_PAGE, before=before)
            rows += page
            if len(page) < ROWS_A_PAGE:
                break
            before = page[-1].run_id
        return rows

    async def resume(self, run_id: str) -> RunTicket:
        """Go on with one interrupted run, also where its actions have other versions now.

        Raises: CommandError naming what it waits for, or that it is not interrupted. JournalError.
        """
        row = await self._journal.run(run_id)
        if row is None:
            raise CommandError(f"run {run_id!r}: there is no such run in the journal")
        ticket = self._engine.tickets.get(run_id)
        if ticket is not None:
            return ticket
        if row.status not in (RunStatus.INTERRUPTED, RunStatus.HELD):
            raise CommandError(f"run {run_id} is {row.status}; only interrupted runs are resumed")
        found = await self.look_at(row, changed_versions_hold=False)
        if found.missing:
            raise CommandError(f"run {run_id} waits for {', '.join(found.missing)}")
        ticket = await self._adopt(row, found)
        if ticket is None:
            raise CommandError(f"run {run_id}: another orchestrator has just taken it over")
        return ticket

    async def look_at(
        self,
        row: RunRow,
        *,
        changed_versions_hold: bool = True,
        again: Sequence[PlannedStep] = (),
    ) -> Found:
        """Find what a run needs here to go on.

        Args:
            changed_versions_hold: Whether another version of an action is something that is missing.
            again: Steps that will run beside those that have not ended.
        """
        events = [record.event for record in await self._journal.records(row.run_id)]
        recovered = await asyncio.to_thread(recover, events)
        needs = needs_of(recovered, resumable=row.resumable, again=again)
        catalogue = self._catalogue()
        callables, _ = needs.found_callables(catalogue)
        missing = needs.missing(catalogue, changes_hold=changed_versions_hold)
        command_set = (
            CommandSet()
            if missing
            else from_document(
                recovered.accepted.document, callables=callables, steps_max=row.steps_total + 1
            )
        )
        return Found(
            recovered,
            events,
            command_set,
            callables,
            missing,
            needs.changed(catalogue),
            needs,
        )

    async def _adopt(self, row: RunRow, found: Found) -> RunTicket | None:
        anew = self._plan_anew(found) if found.changed else None
        if not await self._journal.adopt(row.run_id):
            return None
        now = await self._journal.run(row.run_id)
        if now is None or now.records != len(found.events):
            found = await self.look_at(row)  # It had another owner, for a moment.
            anew = self._plan_anew(found) if found.changed else None
        request = self.request_of(row.run_id, found)
        self._to_tell.pop(row.run_id, None)
        self._left.forget(row.run_id)
        _log.info("run %s (%s) goes on here; its owner %s is dead", row.run_id, row.name, row.owner)
        view = self._begin(row.run_id, found.events, found.recovered.state.plan)
        if anew is None:
            return self._engine.resume(self._with_hooks(request, found.command_set, view))
        request = self._from_the_beginning(request, found, anew)
        _log.warning(
            "run %s starts from the beginning (on_change=restart): %s",
            row.run_id,
            ", ".join(found.changed),
        )
        ticket = self._engine.submit(self._with_hooks(request, found.command_set, view))
        await asyncio.shield(ticket.accepted)
        return ticket

    def _plan_anew(self, found: Found) -> Intake:
        """Plan a run again, with what is registered here now.

        Raises: CommandError if that cannot be done, or gives other steps.
        """
        accepted, old = found.recovered.accepted, found.recovered.state.plan
        intake = self._planning.take_in(found.command_set, from_value(accepted.inputs))
        if {one.id for one in intake.plan.steps} != {one.id for one in old.steps}:
            raise CommandError(
                "on_change=restart: its steps cannot be told from its document any more"
            )
        # What the journal promises for the run stays as it was.
        plan = msgspec.structs.replace(intake.plan, durability=old.durability)
        return replace(intake, plan=plan)

    def _from_the_beginning(self, request: RunRequest, found: Found, anew: Intake) -> RunRequest:
        recovered = found.recovered
        onward = restarted(recovered.state, anew.plan, found.changed, found.events)
        recovered.started = False
        recovered.waits.clear()
        callables = {**request.callables, **anew.callables}
        return replace(request, plan=anew.plan, callables=callables, onward=onward)

    def request_of(self, run_id: str, found: Found) -> RunRequest:
        """Make what the engine is handed of a run that goes on here."""
        accepted, plan = found.recovered.accepted, found.recovered.state.plan
        found.recovered.accepted = accepted.without_bodies()  # The journal has it whole.
        return RunRequest(
            run_id,
            plan,
            None,
            Priority.parse(plan.priority),
            accepted.inputs,
            found.callables,
            found.command_set if plan.handler is not None else None,
            recovered=found.recovered,
        )

    async def _tell(self, at_most: int, run_id: str | None = None) -> None:
        """Have rows say what their runs wait for: of one run, or of as many."""
        for one in [run_id] if run_id is not None else list(self._to_tell)[:at_most]:
            what = self._to_tell.pop(one, None)
            if what is not None and self._told.get(one) != what:
                await self._journal.wait_for(one, what)
                if len(self._told) >= RUNS_KEPT_MAX:
                    self._told.clear()
                self._told[one] = what
