"""The row of a run: which of its columns an event changes.

Both stores use this one function, so that a listing says the same whatever keeps it. It is a view
for people, not the state of the run: that is folded from the events by the engine.
"""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.journal.journal import RunRow
from tandem_orchestrator.model.events import (
    Event,
    RunAccepted,
    RunContinued,
    RunEnded,
    RunForked,
    RunHeld,
    RunPaused,
    RunRestarted,
    RunRetried,
    RunStarted,
    SegmentEnded,
    StepEnded,
    StepsRan,
    steps_ended,
)
from tandem_orchestrator.model.outcomes import RunStatus


def first_row(event: RunAccepted, *, owner: str) -> RunRow:
    """Make the row of a run that was just accepted by ``owner``."""
    return RunRow(
        run_id=event.run_id,
        command_set_id=event.command_set_id,
        name=event.name,
        type=event.type,
        mode=event.mode,
        priority=event.priority,
        durability=event.durability,
        status=RunStatus.QUEUED.value,
        created_at_ns=event.at_ns,
        started_at_ns=None,
        finished_at_ns=None,
        duration=None,
        steps_total=event.steps_total,
        steps_done=0,
        waiting_for=tuple(event.waiting_for),
        owner=owner,
        resumable=event.resumable,
    )


def changed_columns(event: Event, *, steps_done: int) -> dict[str, Any]:
    """Give the columns that an event sets, with their new values; empty for most events."""
    match event:
        case RunStarted():
            return {
                "status": RunStatus.RUNNING.value,
                "started_at_ns": event.at_ns,
                "finished_at_ns": None,  # a run that is started again has not ended
                "duration": None,
            }
        case RunEnded():
            ended = RunStatus(event.status).is_final
            return {
                "status": event.status,
                "finished_at_ns": event.at_ns if ended else None,
                "duration": event.duration if ended else None,
            }
        case RunHeld() if event.conflicts or event.waits:
            return {"status": RunStatus.HELD.value}
        case RunRetried():
            return {
                "status": RunStatus.QUEUED.value,
                "finished_at_ns": None,
                "duration": None,
                "steps_done": max(0, steps_done - len(event.steps)),
            }
        case RunRestarted():
            return {"status": RunStatus.QUEUED.value, "started_at_ns": None, "steps_done": 0}
        case RunPaused():
            return {"status": RunStatus.PAUSED.value}
        case RunContinued(queued=True):
            return {"status": RunStatus.QUEUED.value}
        case RunHeld() | RunContinued():
            return {"status": RunStatus.RUNNING.value}
        case StepEnded() | SegmentEnded() | StepsRan() | RunForked():
            return {"steps_done": steps_done + sum(1 for _ in steps_ended(event))}
    return {}


def shown_status(status: str, *, owner_alive: bool) -> str:
    """Give the status to show: a run that should move and has no living owner is interrupted."""
    moves = {RunStatus.QUEUED.value, RunStatus.RUNNING.value, RunStatus.PAUSED.value}
    return RunStatus.INTERRUPTED.value if status in moves and not owner_alive else status
