"""Planning for one orchestrator: each command set with the catalogue and readings of the moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tandem_orchestrator.errors import Fault
from tandem_orchestrator.model.catalogue import Catalogue
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.orchestrator.composition import HasReadings, plan_options
from tandem_orchestrator.orchestrator.intake import (
    Intake,
    plan_again,
    take_in,
    take_in_without_inputs,
)
from tandem_orchestrator.orchestrator.routing import Watch
from tandem_orchestrator.settings import Settings


class Planning:
    """Checks and plans. Belongs to the orchestrator's loop.

    Args:
        catalogue, settings: Give those of this moment.
        known: Gives what the session knows; None while there is none.
    """

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        settings: Callable[[], Settings],
        known: Callable[[], HasReadings | None],
    ) -> None:
        self._catalogue, self._settings, self._known = catalogue, settings, known

    # Any: inputs hold values of any kind.
    def take_in(
        self,
        command_set: CommandSet,
        inputs: Mapping[str, Any] | None,
        faults: Iterable[Fault] = (),
        *,
        runs: bool = True,
        roll: float | None = None,
    ) -> Intake:
        """Plan a command set; with ``runs`` it is about to run, so that a try counts as one.

        ``roll``: where among all runs it falls, if that was drawn already.

        Raises: InvalidCommandSet with every fault at once; LayerUnavailable.
        """
        settings, known = self._settings(), self._known()
        intake = take_in(
            command_set,
            self._catalogue(),
            plan_options(settings, known, runs=runs, roll=roll),
            inputs=inputs,
            steps_max=settings.limits.steps_max,
            faults=faults,
        )
        if runs and known is not None:
            known.routing.claim(intake.plan)
        return intake

    def prepare(self, command_set: CommandSet) -> Intake:
        """Plan a command set that will run later, and often.

        Raises: as ``take_in``.
        """
        settings = self._settings()
        return take_in_without_inputs(
            command_set,
            self._catalogue(),
            plan_options(settings, self._known(), runs=False),
            steps_max=settings.limits.steps_max,
        )

    def again(self, old: Intake, roll: float | None) -> Intake:
        """Route a set anew that is about to run; ``roll`` says where among all runs it falls; None: drawn.

        Raises: as ``take_in``.
        """
        known = self._known()
        options = plan_options(self._settings(), known, runs=True, roll=roll)
        intake = plan_again(old, self._catalogue(), options)
        if known is not None:
            known.routing.claim(intake.plan)
        return intake

    def watch(self, plan: Plan) -> Watch | None:
        """Give what says when a kept plan is stale; None where it cannot become so by routing."""
        known = self._known()
        return None if known is None else known.routing.watch(plan)
