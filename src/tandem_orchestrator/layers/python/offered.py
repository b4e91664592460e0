"""Agents that were made without an orchestrator at hand, for those that start later."""

from __future__ import annotations

from tandem_orchestrator.layers.python.agents import Agent

_agents: dict[str, Agent] = {}


def offer_agent(name: str, capabilities: tuple[str, ...] = ()) -> Agent:
    """Make an agent, or find the one offered under that name, for orchestrators to pick up."""
    agent = Agent(name, capabilities)
    known = _agents.setdefault(name, agent)
    if known is not agent:
        known.join(agent)
    return known


def offered_agents() -> tuple[Agent, ...]:
    """List the agents offered in this process."""
    return tuple(_agents.values())
