"""What shows: results, run views, counters, costs and capsules, all read from what happened.

This room knows events, live or read back from the journal, and the times that attempts took. It
never knows the engine, and nothing in it can change a run that goes on. It hands on ``RunView``,
``Metrics``, ``Costs``, and the ways to find a capsule.
"""

from tandem_orchestrator.observe.capsules import CapsuleFilter, list_capsules, read_capsule
from tandem_orchestrator.observe.costs import Costs
from tandem_orchestrator.observe.metrics import Metrics
from tandem_orchestrator.observe.result import RunView

__all__ = ["CapsuleFilter", "Costs", "Metrics", "RunView", "list_capsules", "read_capsule"]
