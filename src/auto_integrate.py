"""The module that SPEC.md imports to register an agent without an orchestrator at hand.

A thin door: it makes agents that every orchestrator initialised later in this process picks up.
It never knows an orchestrator. It hands on ``integrate_with_claude_agent_system``.
"""

from __future__ import annotations

from collections.abc import Iterable

from tandem_orchestrator import Agent, offer_agent

__all__ = ["integrate_with_claude_agent_system"]


def integrate_with_claude_agent_system(name: str, capabilities: Iterable[str] = ()) -> Agent:
    """Make an agent for every orchestrator that is initialised later in this process.

    The same name gives the same agent; hang handlers on it with ``@agent.action(…)``.

    Raises: CommandError if a name cannot be used.
    """
    return offer_agent(name, tuple(capabilities))
