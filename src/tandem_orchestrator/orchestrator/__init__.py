"""The composition root: settings, layers, journal and engine put together for one user.

This room knows every other room by name and how they are wired. It never knows how any of them
works inside, and no decision about a step is made here. It hands on ``TandemOrchestrator``,
``Run``, ``PreparedPlan``, ``Tuning`` and ``new_event_loop``.
"""

from tandem_orchestrator.orchestrator.loops import new_event_loop
from tandem_orchestrator.orchestrator.orchestrator import TandemOrchestrator
from tandem_orchestrator.orchestrator.prepared import PreparedPlan
from tandem_orchestrator.orchestrator.run import Run
from tandem_orchestrator.orchestrator.tuning import Tuning

__all__ = ["PreparedPlan", "Run", "TandemOrchestrator", "Tuning", "new_event_loop"]
