"""Routes: where messages for one action go, found once and kept until something changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tandem_orchestrator.errors import Fault, InvalidCommandSet, LayerUnavailable
from tandem_orchestrator.layers.native import NativeLayer, Session
from tandem_orchestrator.model.catalogue import Action, Catalogue, Implementation, nearest


@dataclass(frozen=True, slots=True)
class Route:
    """Where messages for one action go."""

    agent: str
    action: str
    implementation: str
    native: bool
    hosted: bool
    """In C, and an attempt: it waits for a library's host or a limit, or is ``watched``."""
    session: Session | None
    """None for Python, and while the C layer is away."""
    action_id: int
    watched: bool = False
    """Hosted since it has crashed a host: a crash is counted by the input of an attempt."""


class Routes:
    """Finds routes, and forgets them all when agents, handlers or the C layer change.

    Args:
        catalogue: Gives what can be asked for.
        native: Gives the C layer, once there is one.
        on_session: Told of the session of a new route.
    """

    def __init__(
        self,
        catalogue: Callable[[], Catalogue],
        native: Callable[[], NativeLayer | None],
        on_session: Callable[[Session], None],
    ) -> None:
        self._catalogue, self._native, self._on_session = catalogue, native, on_session
        self._known: dict[tuple[str, str, str | None], Route] = {}
        self.known = self._known.get
        """The route of (agent, action, implementation) if it was found already, else None."""

    def forget(self) -> None:
        """Have the next messages look anew where they go."""
        self._known.clear()

    def find(self, agent: str, action: str, implementation: str | None) -> Route:
        """Find where messages go.

        Raises: InvalidCommandSet, with the nearest names.
        """
        entry = self._entry(agent, action)
        chosen = _choose(entry, implementation, self._catalogue().away)
        native, session, action_id = chosen.layer == "c", None, 0
        layer = self._native()
        watched = native and layer is not None and layer.quarantine.watches_action(agent, action)
        hosted = (
            native
            and layer is not None
            and (watched or entry.limited or layer.hosts(agent, action, chosen.name))
        )
        if native and not hosted:
            session = None if layer is None else layer.session
            if session is not None:
                offered = session.actions.get((agent, action))
                session = session if offered is not None else None
                action_id = 0 if offered is None else offered.action_id
        route = Route(agent, action, chosen.name, native, hosted, session, action_id, watched)
        if session is not None:
            self._on_session(session)
        if (
            session is not None or not native or hosted
        ):  # Without a session the next message asks anew.
            self._known[agent, action, implementation] = route
        return route

    def away(self, route: Route) -> LayerUnavailable:
        """Say why a native route has no session."""
        layer = self._native()
        if layer is None:
            why = "switched off"
        elif layer.session is not None:
            why = layer.missing() or "its agent's process is being restarted"
        else:
            why = layer.away or "the bridge is being restarted"
        return LayerUnavailable(f"{route.agent}.{route.action}: C layer: {why}")

    def _entry(self, agent: str, action: str) -> Action:
        catalogue = self._catalogue()
        entry = catalogue.action(agent, action)
        if entry is not None and entry.implementations:
            return entry
        if agent not in catalogue.agents:
            text = f"agent {agent!r} is not registered"
            fault = Fault("unknown_agent", "agent", text, agent, catalogue.nearest_agents(agent))
        else:
            text = f"agent {agent!r} has no action {action!r} with a handler"
            near = catalogue.nearest_actions(agent, action)
            fault = Fault("unknown_action", "action", text, action, near)
        raise InvalidCommandSet(faults=(fault,))


def _choose(entry: Action, name: str | None, away: Mapping[str, str]) -> Implementation:
    """Take the named implementation; else c where its rung is native or it is alone; else python."""
    if name is not None:
        found = entry.implementation(name)
        if found is None and name == "c" and away.get("c"):
            found = Implementation("c", "c")  # Only its layer knows whether it is there.
        if found is not None:
            return found
        have = [i.name for i in entry.implementations]
        text = (
            f"{entry.agent}.{entry.name} has no implementation {name!r}, it has: {', '.join(have)}"
        )
        code = "no_native" if name == "c" else "bad_reference"
        raise InvalidCommandSet(
            faults=(Fault(code, "implementation", text, name, nearest(name, have)),)
        )
    native = entry.implementation("c")
    if native is not None and (native.rung == "native" or len(entry.implementations) == 1):
        return native
    return entry.implementation("python") or entry.implementations[0]
