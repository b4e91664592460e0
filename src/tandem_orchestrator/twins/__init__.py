"""Do they agree: the comparison of what twins gave.

This room knows values and how two of them differ. It never knows who made them, when, or what
will be done about a difference. It hands on ``differences``.
"""

from tandem_orchestrator.twins.compare import Difference, differences

__all__ = ["Difference", "differences"]
