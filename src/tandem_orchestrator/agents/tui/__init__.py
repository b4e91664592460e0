"""The agent `tui`, which shows things to people.

This room knows how to show a message, a summary of results, and pages on a full screen. It never
knows how what it shows came about, and it never writes to standard output, which carries the
results of programs. It hands on ``agent``, found by the entry point ``tandem.agents``.
"""

from tandem_orchestrator.agents.tui.actions import agent

__all__ = ["agent"]
