"""Recovery: runs whose orchestrator died are taken over as soon as all they need is here.

A run of which an action changed meanwhile is held, goes on, or starts from the beginning under a
new plan, as its ``on_change`` says.

A look is cheap while nothing has changed: it asks which owners are dead, and goes on only if that
or what is registered here has changed since. A run that cannot be taken over yet stays as it is,
and its row says what it waits for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.engine import Engine, RunRequest, RunTicket
from tandem_orchestrator.engine.recover import Diverged, Recovered, recover
from tandem_orchestrator.engine.restarting import may_restart, restarted
from tandem_orchestrator.errors import Closed, CommandError, JournalError
from tandem_orchestrator.journal import Journal, RunRow
from tandem_orchestrator.layers.native.waiting import settled_within
from tandem_orchestrator.model.callables import find_callable
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
from tandem_orchestrator.orchestrator.planning import Planning

_log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Seconds between two looks for dead owners."""
RUNS_A_LOOK = 500
"""Runs that one look takes over or asks about; the next look goes on."""
NAMELESS = "callables without a name (lambdas or closures)"
"""What a run that cannot be resumed waits for."""

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
    changed: tuple[str, ...] = ()
    """Actions of another version, where the run starts from the beginning because of that."""


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
        self._seen: object = None
        self._told: dict[str, tuple[str, ...]] = {}
        """Run to what it was last said to wait for."""

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
        """Take over what can be taken over at this moment; gives the number of runs."""
        dead = tuple(sorted(o.token for o in await self._journal.owners() if not o.alive))
        seen = (dead, self._stamp())
        if not dead or seen == self._seen:
            return 0
        rows = await self._left_behind()
        taken, is_done = 0, len(rows) < RUNS_A_LOOK
        for row in sorted(rows, key=self._rank):
            if not self._engine.has_room():
                is_done = False
                break
            taken += await self._try(row)
        self._seen = seen if is_done else None
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
            return False
        return await self._try(row)

    async def _try(self, row: RunRow) -> bool:
        try:
            return await self._take_over(row)
        except Diverged as error:
            await self._wait_for(row.run_id, (str(error),))
        except (CommandError, JournalError, msgspec.MsgspecError) as error:
            # One damaged run holds up no other; its records stay for people to look at.
            await self._wait_for(row.run_id, (f"{type(error).__name__}: {error}",))
        return False

    async def _left_behind(self) -> list[RunRow]:
        """List runs of dead owners, those that wait for a person too; newest first."""
        rows = await self._journal.runs(status=RunStatus.INTERRUPTED.value, limit=RUNS_A_LOOK)
        held = await self._journal.runs(status=RunStatus.HELD.value, limit=RUNS_A_LOOK)
        return rows + [row for row in held if not self._journal.is_alive(row.owner)]

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

    async def _take_over(self, row: RunRow) -> bool:
        if row.run_id in self._engine.active:
            return False
        if not row.resumable:
            await self._wait_for(row.run_id, (NAMELESS,))
            return False
        found = await self.look_at(row)
        if found.missing:
            await self._wait_for(row.run_id, found.missing)
            return False
        return await self._adopt(row, found) is not None

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
        needs = [*recovered.needs(), *again]
        names = set(_callable_names(recovered, needs))
        callables: dict[str, Callable[..., Any]] = {}
        missing: list[str] = []
        changed: list[str] = []
        catalogue = self._catalogue()
        plan = recovered.state.plan
        restarts = plan.on_change == "restart" and not again and may_restart(recovered.state)
        goes_on = plan.on_change != "hold" or not changed_versions_hold
        for step in needs:
            action = catalogue.action(step.agent, step.action)
            callables.update(action.hooks if action is not None else {})
            missing.extend(_missing(step, catalogue))
            if action is not None and action.version != step.version:
                text = f"{step.agent}.{step.action} version {step.version} (here: {action.version})"
                if restarts:
                    changed.append(text)
                elif not goes_on:
                    missing.append(f"{text}; 'tandem runs resume' goes on")
        for name in sorted(names - callables.keys()):
            try:
                callables[name] = find_callable(name)
            except LookupError as error:
                missing.append(str(error))
        if not row.resumable:
            missing.append(NAMELESS)
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
            tuple(dict.fromkeys(missing)),
            tuple(dict.fromkeys(changed)),
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
        self._told.pop(row.run_id, None)
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

    async def _wait_for(self, run_id: str, what: tuple[str, ...]) -> None:
        if self._told.get(run_id) != what:
            await self._journal.wait_for(run_id, what)
            if len(self._told) >= RUNS_A_LOOK * 10:
                self._told.clear()
            self._told[run_id] = what


def _callable_names(recovered: Recovered, needs: Sequence[PlannedStep]) -> Iterator[str]:
    plan = recovered.state.plan
    if plan.handler is not None:
        yield plan.handler
    for step in needs:
        if step.validation is not None:
            yield step.validation


def _missing(step: PlannedStep, catalogue: Catalogue) -> Iterator[str]:
    name = f"{step.agent}.{step.action}"
    action, assignment = catalogue.action(step.agent, step.action), step.assignment
    if action is None or not action.implementations:
        yield name
        return
    if assignment is not None and assignment.fallback is None:
        for implementation in assignment.implementations:
            entry = action.implementation(implementation)
            if entry is None:
                yield f"{name} [{implementation}]"
            elif away := catalogue.away.get(entry.layer):
                yield f"the {entry.layer} layer for {name}: {away}"
