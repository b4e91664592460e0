"""What shows: results, run views and counters, all folded from events.

This room knows events, live or read back from the journal. It never knows the engine, and nothing
in it can change a run. It hands on ``RunView`` and ``Metrics``.
"""

from tandem_orchestrator.observe.metrics import Metrics
from tandem_orchestrator.observe.result import RunView

__all__ = ["Metrics", "RunView"]
