"""``register_plugin`` and what goes with it, as an orchestrator offers them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

from tandem_orchestrator.engine import RunRequest
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.observe import RunView
from tandem_orchestrator.plugins import PluginHealth, Plugins


class PluginDoors(ABC):
    """The part of ``TandemOrchestrator`` that plugins come in by."""

    _plugins: Plugins

    @abstractmethod
    def _here(self) -> None:
        """Refuse a call from a forked child."""

    # Any: any object with hooks.
    def register_plugin(self, plugin: Any, *, name: str | None = None) -> None:
        """Have a plugin's hooks called for every run that is submitted from now on.

        Works before ``initialize`` and after it. Hooks of several plugins are called one after
        another, in the order of registration; those that packages offer come last. Messages and
        nested command sets call none.

        Args:
            plugin: A ``TandemPlugin``, or any object with at least one of its hooks.
            name: For logs, health and metrics; the default is its class's.

        Raises: CommandError if it has no hook, or is registered already. ConfigError past 64.
        """
        self._here()
        self._plugins.register(plugin, name)

    # Any: what was registered.
    def unregister_plugin(self, plugin: Any) -> None:
        """Take a plugin away; none of its hooks is called any more, also of runs in progress.

        Raises: CommandError if it is not registered.
        """
        self._here()
        self._plugins.unregister(plugin)

    def plugin_health(self) -> dict[str, PluginHealth]:
        """Describe each plugin by name; one that could not be loaded, or hangs, is falsy."""
        self._here()
        return self._plugins.health()

    def _with_hooks(
        self, request: RunRequest, command_set: CommandSet, view: RunView
    ) -> RunRequest:
        """Have the plugins told of a run, if there are any."""
        if not self._plugins:
            return request
        hooks = self._plugins.of_run(request.run_id, command_set)
        return replace(
            request, before_start=hooks.start, after_end=lambda: hooks.complete(view.result())
        )
