"""What shows: results, run views, counters and capsules, all read from events.

This room knows events, live or read back from the journal. It never knows the engine, and nothing
in it can change a run. It hands on ``RunView``, ``Metrics``, and the ways to find a capsule.
"""

from tandem_orchestrator.observe.capsules import CapsuleFilter, list_capsules, read_capsule
from tandem_orchestrator.observe.metrics import Metrics
from tandem_orchestrator.observe.result import RunView

__all__ = ["CapsuleFilter", "Metrics", "RunView", "list_capsules", "read_capsule"]
