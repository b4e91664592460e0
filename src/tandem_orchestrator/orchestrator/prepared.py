"""Prepared plans: checked and planned once, run as often as one likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tandem_orchestrator.errors import InvalidCommandSet
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.orchestrator.familiar import Way
from tandem_orchestrator.orchestrator.intake import Intake, with_inputs
from tandem_orchestrator.orchestrator.routing import Watch
from tandem_orchestrator.orchestrator.run import Run
from tandem_orchestrator.orchestrator.ways import Ways, way_of


class PreparedPlan:
    """A command set that was checked and planned; immutable for whoever holds it.

    Made by ``TandemOrchestrator.prepare``. Its runs are normal runs. When implementations change,
    or the router would choose otherwise by now, it is routed anew before the next run; it is not checked again, since what was asked for is a
    snapshot that has not changed.
    """

    def __init__(
        self,
        intake: Intake,
        stamp: object,
        *,
        stamp_of_now: Callable[[], object],
        plan_again: Callable[[Intake, float | None], Intake],
        watch: Callable[[Plan], Watch | None],
        submit: Callable[[Intake], Awaitable[Run]],
        ways: Callable[[], Ways],
    ) -> None:
        self._intake, self._stamp = intake, stamp
        self._ways, self._way = ways, way_of(intake)
        self._stamp_of_now, self._plan_again, self._submit = stamp_of_now, plan_again, submit
        self._watch_of, self._watch = watch, watch(intake.plan)

    def __repr__(self) -> str:
        return f"<PreparedPlan {self._intake.plan.name!r}, {len(self._intake.plan.steps)} steps>"

    @property
    def plan(self) -> Plan:
        """The plan as it stands; each step with its assignment and the reason for it."""
        return self._intake.plan

    # Any: inputs and results hold values of any kind.
    async def submit(self, *, inputs: Mapping[str, Any] | None = None) -> Run:
        """Take a run in, as ``TandemOrchestrator.submit`` does.

        Raises: InvalidCommandSet if an input that a reference needs is missing; LayerUnavailable
            if the plan has to be routed anew and cannot be; Busy; JournalError.
        """
        return await self._submit(self._with(inputs)[0])

    async def run(self, *, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run to the end and give the result, as ``execute_command_set`` does.

        Raises: what ``submit`` raises.
        """
        intake, way = self._with(inputs)
        return await self._ways().run(way, intake)

    def _with(self, inputs: Mapping[str, Any] | None) -> tuple[Intake, Way | None]:
        """Give the intake of one run, routed anew if what there is has changed, and its way."""
        stamp, watch = self._stamp_of_now(), self._watch
        if stamp != self._stamp or (watch is not None and watch.is_stale):
            self._intake, self._stamp = self._plan_again(self._intake, None), stamp
            self._way = way_of(self._intake)
            self._watch = self._watch_of(self._intake.plan)
            intake, way = self._intake, self._way
        elif watch is not None and watch.draws_trial():
            # A twin on trial takes part in this one; the plan stays as it is for the others.
            intake = self._plan_again(self._intake, watch.roll)
            way = way_of(intake)
        else:
            intake, way = self._intake, self._way
        if not inputs and not intake.needs_inputs:
            return intake, way
        intake, faults = with_inputs(intake, inputs)
        if faults:
            raise InvalidCommandSet(faults=faults)
        return intake, way
