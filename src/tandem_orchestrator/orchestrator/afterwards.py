"""Runs that have ended: they go on from a step, or another run forks off from one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from tandem_orchestrator.engine import Engine, RunTicket, fork_reach, retried
from tandem_orchestrator.engine.recover import Recovered, recover
from tandem_orchestrator.errors import Busy, CommandError
from tandem_orchestrator.journal import Journal, RunRow
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.documents import from_document
from tandem_orchestrator.model.events import AnyEvent, RunForked
from tandem_orchestrator.model.outcomes import RunStatus
from tandem_orchestrator.model.values import from_value
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.orchestrator.intake import Intake
from tandem_orchestrator.orchestrator.planning import Planning
from tandem_orchestrator.orchestrator.recovery import Begin, Recovery, WithHooks
from tandem_orchestrator.orchestrator.run_control import NOT_GIVEN, NotHere


@dataclass(frozen=True, slots=True)
class _Ended:
    """A run that has ended, as its records leave it."""

    row: RunRow
    events: list[AnyEvent]
    recovered: Recovered


class Afterwards:
    """Goes on from runs that have ended. Belongs to the orchestrator's loop.

    Args:
        recovery: Finds what a run needs.
        begin, with_hooks: As for ``Recovery``.
    """

    def __init__(
        self,
        journal: Journal,
        engine: Engine,
        recovery: Recovery,
        planning: Planning,
        begin: Begin,
        with_hooks: WithHooks,
    ) -> None:
        self._journal, self._engine, self._recovery = journal, engine, recovery
        self._planning, self._begin, self._with_hooks = planning, begin, with_hooks

    async def retry(self, run_id: str, step: str | None, by: str) -> tuple[RunTicket, RunView]:
        """Let a run that has ended go on here, from a step; durable on return.

        Raises: NotHere naming what is missing; CommandError if it has not ended, there is no such
            step, or nothing to retry. Busy. JournalError.
        """
        ended = await self._read(run_id)
        onward = retried(ended.recovered.state, step, by)
        again = [ended.recovered.state.steps[one].plan for one in onward.steps]
        found = await self._recovery.look_at(
            ended.row,
            changed_versions_hold=False,
            again=[one for one in again if one.kind == "action" and one.agent and not one.waits],
        )
        if found.missing:
            raise NotHere(f"it needs {', '.join(found.missing)}, which is not here")
        if not self._engine.has_room():
            raise Busy("no more runs may wait here (orchestrator.max_queued_runs)")
        if not await self._journal.adopt(run_id, ended=True):
            raise CommandError("another process has just retried it")
        now = await self._journal.run(run_id)
        if now is None or now.records != len(ended.events):
            raise CommandError("another process has just retried it")
        found.recovered.started = False
        found.recovered.waits.clear()
        request = replace(self._recovery.request_of(run_id, found), onward=onward)
        view = self._begin(run_id, found.events, found.recovered.state.plan)
        ticket = self._engine.submit(self._with_hooks(request, found.command_set, view))
        await asyncio.shield(ticket.accepted)
        return ticket, view

    async def fork(self, run_id: str, step: str, payload: Any, by: str) -> tuple[Intake, RunForked]:
        """Plan a run that does what another one did, from a step on with another payload.

        Args:
            payload: ``NOT_GIVEN``: the step's own.

        Raises: CommandError if it has not ended, or has no such step. InvalidCommandSet,
            LayerUnavailable: what it asks for is not here.
        """
        ended = await self._read(run_id)
        state, accepted = ended.recovered.state, ended.recovered.accepted
        if state.plan.handler is not None:
            raise CommandError("it has a python_handler, and no steps of its own to fork from")
        again = fork_reach(state, step)
        command_set = from_document(accepted.document, steps_max=ended.row.steps_total + 1)
        command_set.idempotency_key = None
        found = _find(command_set, step, "")
        if found is None or (payload is not NOT_GIVEN and found.command_set is not None):
            raise CommandError(f"step {step!r} has no payload to change")
        if payload is not NOT_GIVEN:
            found.payload = payload
        intake = self._planning.take_in(command_set, from_value(accepted.inputs))
        if [one.id for one in intake.plan.steps] != list(state.steps):
            raise CommandError("its steps cannot be told from its document any more")
        view = RunView()
        for event in ended.events:
            view.apply(event)
        taken = tuple(view.steps[one] for one in state.steps if one not in again)
        return intake, RunForked(source=run_id, step=step, taken=taken, by=by)

    async def _read(self, run_id: str) -> _Ended:
        await self._journal.flush()
        row = await self._journal.run(run_id)
        if row is None:
            raise CommandError("there is no such run in the journal")
        if not RunStatus(row.status).is_final:
            raise CommandError(f"it is {row.status}; only a run that has ended can go on so")
        events = [record.event for record in await self._journal.records(run_id)]
        return _Ended(row, events, await asyncio.to_thread(recover, events))


def _find(command_set: CommandSet, step_id: str, prefix: str) -> CommandStep | None:
    for step in command_set.steps:
        name = f"{prefix}{step.id}"
        if name == step_id:
            return step
        if step.command_set is not None and step_id.startswith(f"{name}/"):
            found = _find(step.command_set, step_id, f"{name}/")
            if found is not None:
                return found
    return None
