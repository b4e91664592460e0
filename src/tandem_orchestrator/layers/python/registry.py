"""Which agents are here: the users' own first, then those that packages offer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tandem_orchestrator.errors import ConfigError
from tandem_orchestrator.layers.libraries import BoundTwin, LibraryTwin
from tandem_orchestrator.layers.python.agents import ActionHandle, Agent
from tandem_orchestrator.layers.python.handler import PythonImplementation
from tandem_orchestrator.model.catalogue import Action
from tandem_orchestrator.model.limits import AttemptLimits, Limits

_NO_LIMITS = Limits()

AGENTS_MAX = 10_000
"""Agents of one orchestrator."""


class Registry:
    """The agents of one orchestrator."""

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}
        self.version = 0
        """A number that changes whenever anything was added."""
        self._twins: tuple[BoundTwin, ...] = ()
        self._twins_at = 0
        self.on_change: Callable[[], None] | None = None
        """Called after each change."""
        self.broken: dict[str, str] = {}
        """Entry points that could not be loaded, with the reason; shown in health."""

    @property
    def agents(self) -> Iterable[Agent]:
        """Every agent, in the order of registration."""
        return self._agents.values()

    def register(
        self,
        name: str,
        capabilities: Iterable[str],
        max_concurrency: int | None,
        rate_per_s: float | None = None,
    ) -> Agent:
        """Make an agent, or find the one of that name and add to its capabilities.

        Raises: CommandError if the name cannot be used. ConfigError past ``AGENTS_MAX``.
        """
        agent = Agent(name, capabilities, max_concurrency=max_concurrency, rate_per_s=rate_per_s)
        known = self._agents.get(name)
        if known is None:
            return self.add(agent)
        if max_concurrency is not None:
            known.max_concurrency = max_concurrency  # checked by Agent
        if rate_per_s is not None:
            known.rate_per_s = rate_per_s
        known.join(agent)
        return known

    def limits_of(self, agent: str, action: str) -> AttemptLimits | None:
        """Give what an attempt has to wait for; None where it never waits."""
        owner = self._agents.get(agent)
        if owner is None:
            return None
        handle = owner.actions.get(action)
        own = _NO_LIMITS if handle is None else handle.limits
        if not own.bind and owner.max_concurrency is None and owner.rate_per_s is None:
            return None
        whole = owner.limits
        return AttemptLimits(whole, own) if whole.bind or own.bind else None

    def add(self, agent: Agent) -> Agent:
        """Add an agent that was built elsewhere; what is declared here already stays."""
        known = self._agents.get(agent.name)
        if known is not None and known is not agent:
            known.join(agent)
            return known
        if known is None and len(self._agents) >= AGENTS_MAX:
            raise ConfigError(f"agent {agent.name!r}: {AGENTS_MAX} agents are registered already")
        self._agents[agent.name] = agent
        agent.watch(self._changed)
        self._changed()
        return agent

    def _changed(self) -> None:
        self.version += 1
        if self.on_change is not None:
            self.on_change()

    def add_offered(self, group: str = "tandem.agents") -> None:
        """Load the agents that installed packages offer by entry point.

        One that cannot be loaded is listed in ``broken`` and hurts nobody else.
        """
        # Imported here: it costs as much as ten rooms, and only this needs it.
        from importlib.metadata import entry_points

        try:
            offered = sorted(entry_points(group=group), key=lambda point: point.name)
        except OSError as error:
            self.broken[group] = f"the installed packages cannot be read: {error}"
            return
        for point in offered:
            try:
                agent = point.load()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's; shown in health
                self.broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
                continue
            if not isinstance(agent, Agent):
                kind = type(agent).__name__
                self.broken[point.name] = f"{point.value} is {kind}, expected an Agent"
                continue
            self.add_copy(agent)

    def add_copy(self, agent: Agent) -> Agent:
        """Add an agent that the whole process shares: what is hung on it here stays here.

        What this registry has declared under its name already stays.
        """
        known = self._agents.get(agent.name)
        if known is None:
            return self.add(agent.copied())
        if known is not agent:
            known.follow(agent)
        return known

    def entries(self) -> tuple[Action, ...]:
        """Give every catalogue entry."""
        # A list first: other threads may register meanwhile.
        return tuple(e for agent in list(self._agents.values()) for e in agent.catalogue_entries())

    def library_twins(self) -> Sequence[BoundTwin]:
        """List the functions of libraries that are implementations; anew when anything changed."""
        if self._twins_at != self.version:
            self._twins = tuple(
                bound
                for agent in list(self._agents.values())
                for handle in list(agent.actions.values())
                for bound in handle.bound_twins()
            )
            self._twins_at = self.version
        return self._twins

    def find(
        self, agent: str, action: str, implementation: str
    ) -> tuple[Agent, ActionHandle, PythonImplementation] | None:
        """Find what a piece of work names, or None."""
        owner = self._agents.get(agent)
        handle = owner.actions.get(action) if owner else None
        found = handle.implementations.get(implementation) if handle else None
        return None if owner is None or handle is None or found is None else (owner, handle, found)

    def library(self, agent: str, action: str, implementation: str) -> LibraryTwin | None:
        """Find the function of a library that is an implementation, or None."""
        owner = self._agents.get(agent)
        handle = owner.actions.get(action) if owner else None
        return handle.libraries.get(implementation) if handle else None
