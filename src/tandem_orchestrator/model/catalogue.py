"""The catalogue: which agents, actions and implementations there are, as one immutable value.

Layers make entries, the planner reads them; neither knows the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from tandem_orchestrator.model.comparing import CompareRules
from tandem_orchestrator.model.effects import Effects
from tandem_orchestrator.model.policies import Policy

RUNGS = ("shadow", "verify", "canary", "native")
"""The promotion ladder, lowest first; the router picks only from ``native``."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """One way to do an action."""

    name: str
    """``python``, ``c``, or any other name."""
    layer: str
    """``python`` or ``c``: where it runs."""
    rung: str = "native"
    """One of ``RUNGS``."""
    source: str = ""
    """For people: ``module:qualname``, or the bridge's build id."""
    climbs: bool = False
    """Whether it began on the ladder below ``native``, so that evidence about it is gathered."""
    in_programs: bool = False
    """Whether C can run it as a step of a segment, in one crossing with others."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing an agent can do."""

    agent: str
    name: str
    effects: Effects = "external"
    deterministic: bool = False
    version: str = "1"
    batch: str | None = None
    """``items``: payload["items"] is a list and the output a list of equal length and order."""
    transient: bool = False
    """Passed by reference, never journaled; its producer runs again at recovery."""
    max_concurrency: int | None = None
    """Attempts at one time, or None."""
    limited: bool = False
    """Whether its attempts may have to wait for a limit: then no program holds it."""
    implementations: tuple[Implementation, ...] = ()
    """Empty for a capability that was announced and has no handler."""
    documentation: str = ""
    compare: CompareRules | None = None
    """What counts as equal for its twins, hooks by name; None: equal canonical bytes."""
    hooks: Mapping[str, Callable[..., Any]] = field(default_factory=dict, compare=False)
    """What the names of hooks in ``compare`` stand for."""

    def implementation(self, name: str) -> Implementation | None:
        """Find an implementation by name."""
        return next((i for i in self.implementations if i.name == name), None)

    def merged(self, other: Action) -> Action:
        """Join another layer's entry for the same action; this one's declarations win."""
        names = {i.name for i in self.implementations}
        added = tuple(i for i in other.implementations if i.name not in names)
        first = self if self.implementations else replace(other, implementations=())
        limited = self.limited or other.limited
        return replace(first, implementations=self.implementations + added, limited=limited)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Every action that can be asked for at this moment."""

    actions: Mapping[tuple[str, str], Action] = field(default_factory=dict)
    """By (agent, action)."""
    agents: frozenset[str] = frozenset()
    """Names, also of agents without any action yet."""
    policies: Mapping[str, Policy] = field(default_factory=dict)
    """By mode value."""
    away: Mapping[str, str] = field(default_factory=dict)
    """Layer name to the reason why it is not there; empty when all are."""

    def action(self, agent: str, name: str) -> Action | None:
        """Find an action."""
        return self.actions.get((agent, name))

    def nearest_agents(self, name: str) -> tuple[str, ...]:
        """Give up to three agent names that look like ``name``, best first."""
        return nearest(name, self.agents)

    def nearest_actions(self, agent: str, name: str) -> tuple[str, ...]:
        """Give up to three actions of an agent that look like ``name``, best first."""
        return nearest(name, (action for owner, action in self.actions if owner == agent))


def nearest(name: str, among: Iterable[str]) -> tuple[str, ...]:
    """Give up to three names that look alike, best first (difflib, cutoff 0.5)."""
    return tuple(get_close_matches(name, sorted(among), n=3, cutoff=0.5))


def merge_actions(groups: Iterable[Iterable[Action]]) -> dict[tuple[str, str], Action]:
    """Join the layers' entries into one table; earlier groups' declarations win."""
    table: dict[tuple[str, str], Action] = {}
    for group in groups:
        for action in group:
            key = (action.agent, action.name)
            known = table.get(key)
            table[key] = action if known is None else known.merged(action)
    return table
