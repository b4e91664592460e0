"""How: from a command set to a plan.

This room knows command sets and the catalogue of what can be done. It never knows how a plan is
run or by whom, and reads neither clock nor disk. It hands on ``make_plan`` and ``PlanOptions``.
"""

from tandem_orchestrator.plan.options import PlanOptions
from tandem_orchestrator.plan.planner import make_plan

__all__ = ["PlanOptions", "make_plan"]
