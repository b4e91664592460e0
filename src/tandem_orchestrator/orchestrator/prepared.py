"""Prepared plans: checked and planned once, run as often as one likes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tandem_orchestrator.errors import InvalidCommandSet
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.orchestrator.intake import Intake, with_inputs
from tandem_orchestrator.orchestrator.run import Run


class PreparedPlan:
    """A command set that was checked and planned; immutable for whoever holds it.

    Made by ``TandemOrchestrator.prepare``. Its runs are normal runs. When implementations change
    it is routed anew before the next run; it is not checked again, since what was asked for is a
    snapshot that has not changed.
    """

    def __init__(
        self,
        intake: Intake,
        stamp: object,
        *,
        stamp_of_now: Callable[[], object],
        plan_again: Callable[[Intake], Intake],
        submit: Callable[[Intake], Awaitable[Run]],
    ) -> None:
        self._intake, self._stamp = intake, stamp
        self._stamp_of_now, self._plan_again, self._submit = stamp_of_now, plan_again, submit

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
        stamp = self._stamp_of_now()
        if stamp != self._stamp:
            self._intake, self._stamp = self._plan_again(self._intake), stamp
        intake, faults = with_inputs(self._intake, inputs)
        if faults:
            raise InvalidCommandSet(faults=faults)
        return await self._submit(intake)

    async def run(self, *, inputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run to the end and give the result, as ``execute_command_set`` does.

        Raises: what ``submit`` raises.
        """
        run = await self.submit(inputs=inputs)
        return await run.result_or_cancel()
