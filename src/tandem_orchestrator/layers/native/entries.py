"""What a bridge offers, as entries of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from tandem_orchestrator.layers.native.session import NativeAction
from tandem_orchestrator.model.catalogue import Action, Implementation
from tandem_orchestrator.model.effects import EFFECTS

BUILT_IN = frozenset({"docgen", "router", "system"})
"""Agents that are compiled into the bridge."""
CONNECTED = "connected agent"
"""Source of what a plug-in or a program of the user's own offers."""
HIDDEN = "@library/"
"""How the agents of library hosts begin: their functions are implementations of other actions."""


def catalogue_entries(offered: Mapping[tuple[str, str], NativeAction]) -> tuple[Action, ...]:
    """Describe each action that a session offers."""
    return tuple(
        Action(
            agent=action.agent,
            name=action.name,
            effects=EFFECTS[action.effects],
            deterministic=action.deterministic,
            version=action.version,
            implementations=(
                Implementation(
                    "c",
                    "c",
                    source="agent_bridge" if action.agent in BUILT_IN else CONNECTED,
                    in_programs=action.in_programs,
                ),
            ),
        )
        for action in offered.values()
        if not action.agent.startswith(HIDDEN)
    )
