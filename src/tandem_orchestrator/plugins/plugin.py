"""``TandemPlugin``: SPEC's base class."""

from __future__ import annotations

from typing import Any

from tandem_orchestrator.model.commands import CommandSet

HOOKS = ("on_command_start", "on_command_complete", "on_conflict")
"""What a plugin may have; any object with one of them is one."""


class TandemPlugin:
    """Base class of plugins; override the hooks that you need.

    Hooks are ``async def``, or plain functions, which then run in a thread. Each gets a copy of its
    own: what a plugin changes in it, nobody else sees. A hook that raises, or takes longer than
    ``orchestrator.plugin_timeout_s``, is reported in the log, in ``plugin_health()`` and in
    ``get_metrics()["plugins"]``; the run goes on as if it had returned.
    """

    # Any: results hold values of any kind. Overrides may be plain functions.
    async def on_command_start(self, command_set: CommandSet) -> Any:
        """Look at a run that was taken in, before its first step starts."""

    async def on_command_complete(self, command_set: CommandSet, result: dict[str, Any]) -> Any:
        """Look at a run that has ended, before whoever waits for its result gets it.

        ``command_set`` is the object that ``on_command_start`` of this plugin got for this run.
        """

    async def on_conflict(self, python_result: dict[str, Any], c_result: dict[str, Any]) -> Any:
        """Look at two twins that gave different things.

        Each is a dict: ``run_id, step, item, implementation, outcome, output, failure, seconds``.
        Twins other than python and c come in the order in which the step names them.
        """
