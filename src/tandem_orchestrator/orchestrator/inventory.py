"""The inventory: what can be asked for at this moment, from both layers, as one catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from tandem_orchestrator.errors import CommandError
from tandem_orchestrator.layers.native import CONNECTED
from tandem_orchestrator.layers.python import Registry
from tandem_orchestrator.model.catalogue import Action, Catalogue, merge_actions
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.policies import Policy, built_in_policies
from tandem_orchestrator.orchestrator.adaptive import adaptive_policy, learning_policy


class Ladder(Protocol):
    """Knows the rungs that twins have reached."""

    version: int
    """Changes when any rung does."""

    def rung(self, action: Action, implementation: str) -> str:
        """Give the rung of a twin that began below ``native``."""


class Inventory:
    """Agents, actions and policies, and a catalogue that is made anew when any of them changes.

    Args:
        registry: The Python layer's agents.
        native_actions: What the C layer offers; the same tuple as long as nothing changed.
        away: Layers that are not there, with the reason.
    """

    def __init__(
        self,
        registry: Registry,
        native_actions: Callable[[], tuple[Action, ...]],
        away: Callable[[], Mapping[str, str]],
    ) -> None:
        self.ladder: Ladder | None = None
        """Knows the rungs that twins have reached; None: they are where they began."""
        self._registry, self._native_actions, self._away = registry, native_actions, away
        self._policies = built_in_policies()
        self._made: tuple[object, Catalogue] | None = None
        self._kept: tuple[Action, ...] = ()

    def register_mode(self, mode: ExecutionMode | str, policy: Policy) -> ExecutionMode:
        """Give a mode its policy.

        Raises: CommandError if the mode has one already, or ``policy`` is none.
        """
        if not isinstance(policy, Policy):
            raise CommandError(f"mode {mode!r}: expected a Policy, got {type(policy).__name__}")
        key = ExecutionMode(mode)
        if key.value in self._policies:
            raise CommandError(f"mode {key.value!r} has a policy already")
        self._policies[key.value] = policy
        return key

    def add_usual_modes(self) -> None:
        """Register ADAPTIVE and LEARNING, as a user would; their own of that name come first."""
        for mode, policy in (("adaptive", adaptive_policy()), ("learning", learning_policy())):
            if mode not in self._policies:
                self.register_mode(mode, policy)

    def policies(self) -> Mapping[str, Policy]:
        """Give the policy of each mode, by its value."""
        return self._policies

    def stamp(self) -> object:
        """Give a value that changes with whatever the catalogue depends on."""
        away = self._away()
        return (
            self._registry.version,
            id(self._native_actions()),
            tuple(away.items()) if away else (),
            len(self._policies),
            self._rungs_version(),
        )

    def stamp_without_native(self) -> tuple[int, int, int]:
        """Give a value that changes with what the catalogue has from Python."""
        return self._registry.version, len(self._policies), self._rungs_version()

    def _rungs_version(self) -> int:
        return 0 if self.ladder is None else self.ladder.version

    def catalogue(self) -> Catalogue:
        """Give the catalogue of this moment."""
        stamp = self.stamp()
        if self._made is None or self._made[0] != stamp:
            # Kept with the stamp, so that its id cannot be used again meanwhile.
            self._kept = self._native_actions()
            entries = merge_actions((self._registry.entries(), self._kept))
            entries = {key: _climbed(_begun(entry), self.ladder) for key, entry in entries.items()}
            agents = {agent.name for agent in self._registry.agents}
            names = frozenset(agents | {entry.agent for entry in self._kept})
            catalogue = Catalogue(entries, names, dict(self._policies), dict(self._away()))
            self._made = (stamp, catalogue)
        return self._made[1]


def _begun(entry: Action) -> Action:
    """Have what a connected agent offers begin in shadow, beside a handler in Python."""
    if entry.implementation("python") is None:
        return entry
    return replace(
        entry,
        implementations=tuple(
            replace(one, rung="shadow") if one.source == CONNECTED else one
            for one in entry.implementations
        ),
    )


def _climbed(entry: Action, ladder: Ladder | None) -> Action:
    """Put an action's twins on the rungs that they have reached."""
    if all(one.rung == "native" for one in entry.implementations):
        return entry
    implementations = tuple(
        one
        if one.rung == "native"
        else replace(
            one, climbs=True, rung=one.rung if ladder is None else ladder.rung(entry, one.name)
        )
        for one in entry.implementations
    )
    return replace(entry, implementations=implementations)
