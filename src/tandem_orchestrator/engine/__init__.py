"""The corridor: what an event means for a run, and the one loop that acts on it.

This room knows plans, events and the seams of layers and journal. It never knows how an attempt
is run, how a record is kept, or who is watching. It hands on ``Engine`` and, for replay and
simulation, ``advance`` and ``RunState``.
"""

from tandem_orchestrator.engine.advance import advance, replay
from tandem_orchestrator.engine.again import fork_reach, retried
from tandem_orchestrator.engine.attempt import key_of_step, never_entered
from tandem_orchestrator.engine.desk import OnConflict
from tandem_orchestrator.engine.engine import Engine
from tandem_orchestrator.engine.gates import Gates
from tandem_orchestrator.engine.request import Decision, RunRequest, RunTicket, Wish
from tandem_orchestrator.engine.state import RunState

__all__ = [
    "Decision",
    "Engine",
    "Gates",
    "OnConflict",
    "RunRequest",
    "RunState",
    "RunTicket",
    "Wish",
    "advance",
    "fork_reach",
    "key_of_step",
    "never_entered",
    "replay",
    "retried",
]
