"""Plugins: code of others that is told when a run starts, ends, or its twins disagree.

This room knows the three hooks, in which order they are called and how long each may take. It never
knows how a run is planned or carried out, and nothing that a plugin does reaches one. It hands on
``TandemPlugin``, to derive from, and ``Plugins``, those of one orchestrator.
"""

from tandem_orchestrator.plugins.plugin import HOOKS, TandemPlugin
from tandem_orchestrator.plugins.plugins import PLUGINS_MAX, Plugins
from tandem_orchestrator.plugins.run_hooks import RunHooks
from tandem_orchestrator.plugins.seat import PluginHealth

__all__ = ["HOOKS", "PLUGINS_MAX", "PluginHealth", "Plugins", "RunHooks", "TandemPlugin"]
