"""The blocking interface: the same methods for scripts, notebooks and threads.

This room knows a private loop on a daemon thread, and that every call goes there and waits. It never
knows what a method means: that is said once, at ``tandem_orchestrator.TandemOrchestrator``. It
hands on a ``TandemOrchestrator`` of its own with its ``Run`` and ``PreparedPlan``.
"""

from tandem_orchestrator.sync.handles import PreparedPlan, Run
from tandem_orchestrator.sync.orchestrator import TandemOrchestrator

__all__ = ["PreparedPlan", "Run", "TandemOrchestrator"]
