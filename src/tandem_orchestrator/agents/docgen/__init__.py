"""The agent `docgen`, which documents code bases.

This room knows how to list a tree, read Python and C, measure what is documented, and write pages
about it. It never knows which layer ran a step, what a run is, or who reads the pages. It hands on
``agent``, found by the entry point ``tandem.agents``; each action is a thin shell over functions
that work without an orchestrator.
"""

from tandem_orchestrator.agents.docgen.actions import agent

__all__ = ["agent"]
