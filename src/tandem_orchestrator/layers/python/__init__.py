"""The Python layer: agents, their handlers, and the loop, threads and processes that run them.

This room knows handlers and how to call, stop and give up on them. It never knows plans, retries,
or that another layer exists. It hands on ``Agent``, ``Registry`` and ``PythonLayer``.
"""

from tandem_orchestrator.layers.python.agents import ActionHandle, Agent
from tandem_orchestrator.layers.python.context import Context
from tandem_orchestrator.layers.python.layer import PythonLayer, PythonLimits
from tandem_orchestrator.layers.python.offered import offer_agent, offered_agents
from tandem_orchestrator.layers.python.registry import Registry

__all__ = [
    "ActionHandle",
    "Agent",
    "Context",
    "PythonLayer",
    "PythonLimits",
    "Registry",
    "offer_agent",
    "offered_agents",
]
