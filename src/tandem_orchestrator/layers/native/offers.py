"""What the bridge offers, and what it will offer again once a host has been restarted."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.layers.native.entries import catalogue_entries
from tandem_orchestrator.layers.native.hosts import PluginHosts
from tandem_orchestrator.layers.native.session import NativeAction
from tandem_orchestrator.model.catalogue import Action

LEARN_S = 0.5
"""Seconds within which a host's death is known here after the bridge took its actions away."""
SEEN_MAX = 4096
"""Actions whose versions are remembered while nobody offers them."""

Key = tuple[str, str]
"""Agent and action."""


class Offers:
    """The catalogue's entries of one layer.

    What vanished stays while a host of this layer is being restarted, so that a run or a message
    of that tenth of a second is not refused as if the agent had never been there.

    Args:
        hosts: Gives the hosts of plug-ins, once there are any.
    """

    def __init__(self, clock: Clock, hosts: Callable[[], PluginHosts | None]) -> None:
        self._clock, self._hosts = clock, hosts
        self._of: Mapping[Key, NativeAction] = {}
        self._kept: dict[Key, NativeAction] = {}
        self._vanished_ns = 0
        self._entries: tuple[Action, ...] = ()
        self._seen: dict[Key, str] = {}

    def entries(self, offered: Mapping[Key, NativeAction]) -> tuple[Action, ...]:
        """Give the entries; the same tuple as long as nothing changed."""
        if self._of is not offered:
            self._changed(offered)
        elif self._kept and not self._is_restarting():
            self._kept = {}
            self._entries = catalogue_entries(offered)
        return self._entries

    def version(self, key: Key) -> str | None:
        """Give the version of an action that is, or was, offered; None if it never was."""
        return self._seen.get(key)

    def _changed(self, offered: Mapping[Key, NativeAction]) -> None:
        if self._hosts() is not None:
            gone = {key: action for key, action in self._of.items() if key not in offered}
            if gone:
                self._vanished_ns = self._clock.monotonic_ns()
            self._kept = {
                key: action for key, action in (self._kept | gone).items() if key not in offered
            }
        self._of, self._entries = offered, catalogue_entries({**offered, **self._kept})
        if len(self._seen) > SEEN_MAX:
            self._seen.clear()
        self._seen.update((key, action.version) for key, action in offered.items())

    def _is_restarting(self) -> bool:
        hosts, now_ns = self._hosts(), self._clock.monotonic_ns()
        if hosts is None:
            return False
        return now_ns - self._vanished_ns < LEARN_S * 1e9 or hosts.are_restarting
