"""A run that is paused: nothing new starts in it, and what runs is let finish. Pure."""

from __future__ import annotations

from tandem_orchestrator.engine.turn import Turn
from tandem_orchestrator.model.events import RunPaused
from tandem_orchestrator.model.none_yet import NONE_YET
from tandem_orchestrator.model.outcomes import RunStatus


def pause(turn: Turn, event: RunPaused) -> None:
    """Give nothing out from now on."""
    state = turn.state
    state.handed_over = event.handed_over and not state.paused
    state.paused = True
    if state.status is RunStatus.HELD:
        state.status = RunStatus.RUNNING  # Whether it is held is seen again when it goes on.


def go_on(turn: Turn) -> None:
    """Give out what was put off meanwhile."""
    state = turn.state
    state.paused = state.handed_over = False
    parked, state.parked = state.parked, NONE_YET
    for instructions in parked.values():
        turn.out.extend(instructions)
