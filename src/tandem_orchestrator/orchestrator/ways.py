"""Ways: how a run of a command set goes, the quick ones first; what was planned is known again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tandem_orchestrator.layers.layer import SegmentBegun
from tandem_orchestrator.layers.native.segments import Segments
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.orchestrator.acceptance import Asked
from tandem_orchestrator.orchestrator.ahead import NOTHING_AHEAD, Ahead
from tandem_orchestrator.orchestrator.express import Express, express_way_of
from tandem_orchestrator.orchestrator.familiar import Familiar, Way
from tandem_orchestrator.orchestrator.intake import Intake
from tandem_orchestrator.orchestrator.planning import Planning
from tandem_orchestrator.orchestrator.prompt import Prompt, PromptPlan, prompt_way_of
from tandem_orchestrator.orchestrator.run import Run


def way_of(intake: Intake) -> Way | None:
    """Give the quick way of a plan; None if it has to go the ordinary one."""
    return express_way_of(intake) or prompt_way_of(intake)


class Ways:
    """Runs command sets to their end. Belongs to the orchestrator's loop.

    Args:
        segments: Gives what runs segments in C; None while nothing does.
        depends_on: Gives a value that changes with whatever plans have from beside their sets.
        submit: Takes in an ordinary run.
    """

    def __init__(
        self,
        express: Express,
        prompt: Prompt,
        planning: Planning,
        segments: Callable[[], Segments | None],
        depends_on: Callable[[], object],
        submit: Callable[[Intake, Ahead], Awaitable[Run]],
    ) -> None:
        self._express, self._prompt, self._planning = express, prompt, planning
        self._segments, self._depends_on, self._submit = segments, depends_on, submit
        self._familiar = Familiar()

    # Any: inputs and results hold values of any kind.
    async def execute(
        self, command_set: CommandSet, inputs: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Run a command set to its end and give its result.

        Raises: as ``TandemOrchestrator.execute_command_set``.
        """
        look, found, stamp = None, None, None
        if not inputs and (segments := self._segments()):
            look = self._familiar.look(command_set)
            stamp = (self._depends_on(), segments.session.actions)
        if look is not None:
            found = self._familiar.find(look, command_set, stamp)
        way: Way | None
        asked: Asked
        if found is not None:
            way, asked = found
        else:
            asked = self._planning.take_in(command_set, inputs, roll=self._familiar.take_roll())
            way = way_of(asked)
            if look is not None:
                self._familiar.keep(look, way, asked, stamp, self._planning.watch(asked.plan))
        return await self.run(way, asked)

    async def run(self, way: Way | None, asked: Asked) -> dict[str, Any]:
        """Run what is planned to its end, the way it goes or else the ordinary one."""
        ahead = NOTHING_AHEAD
        if way is not None:
            went = await self._go(way, asked)
            if isinstance(went, dict):
                return went
            ahead = went
        try:
            run = await self._submit(asked.own_intake(), ahead)
        except BaseException:
            ahead.drop()
            raise
        return await run.result_or_cancel(held=True)

    async def _go(self, way: Way, asked: Asked) -> dict[str, Any] | Ahead:
        """Go a quick way; gives what an ordinary run goes on from where it did not lead to an end."""
        if isinstance(way, PromptPlan):
            return await self._prompt.run(way, asked) or NOTHING_AHEAD
        ended = await self._express.run(way, asked)
        if isinstance(ended, SegmentBegun):
            return Ahead(begun=ended)
        return ended if isinstance(ended, dict) else Ahead(head=ended)
