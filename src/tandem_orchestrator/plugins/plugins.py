"""The plugins of one orchestrator: registered by hand, or offered by installed packages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from weakref import WeakValueDictionary

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.errors import CommandError, ConfigError
from tandem_orchestrator.layers.python.threads import ThreadRunner
from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.plugins.plugin import HOOKS
from tandem_orchestrator.plugins.run_hooks import RunHooks
from tandem_orchestrator.plugins.seat import PluginHealth, Seat

PLUGINS_MAX = 64
"""Plugins of one orchestrator."""
NAME_CHARS_MAX = 100
"""Of a plugin's name."""
THREADS = 8
"""Hooks that are plain functions and run at one time, of all plugins."""


class Plugins:
    """Knows the plugins, in the order of registration, and calls their hooks.

    Args:
        clock: For the time limits.
        limit_s: Gives the seconds that one hook may take, at this moment.
        hearers: Holds something for each plugin that wants to hear of every run, so that whoever
            runs a set sees in one look whether there are any.
    """

    def __init__(
        self, clock: Clock, limit_s: Callable[[], float], hearers: list[object] | None = None
    ) -> None:
        self._clock, self._limit_s = clock, limit_s
        self._hearers: list[object] = [] if hearers is None else hearers
        self._seats: tuple[Seat, ...] = ()
        self._threads: ThreadRunner | None = None
        # Weak: an engine that drops a run drops its hooks, whatever became of it.
        self._runs: WeakValueDictionary[str, RunHooks] = WeakValueDictionary()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loaded: set[str] = set()
        """Entry points that need not be loaded again."""
        self.broken: dict[str, str] = {}
        """Entry points that could not be loaded, with the reason."""

    def __bool__(self) -> bool:
        return bool(self._seats)

    # Any: any object with hooks.
    def register(self, plugin: Any, name: str | None = None) -> None:
        """Add a plugin; its hooks are called after those of the plugins before it.

        Raises: CommandError if it has no hook, one that cannot be called, or is registered
            already, and for a name that is no printable text. ConfigError past ``PLUGINS_MAX``.
        """
        if name is not None:
            _check_name(name)
        if isinstance(plugin, type):
            text = f"plugin {plugin.__name__}: expected an object, got the class; add ()"
            raise CommandError(text)
        kind = type(plugin).__name__
        hooks = [hook for hook in HOOKS if getattr(plugin, hook, None) is not None]
        if not hooks:
            raise CommandError(f"plugin {kind}: it has none of the hooks {', '.join(HOOKS)}")
        for hook in hooks:
            if not callable(getattr(plugin, hook)):
                raise CommandError(f"plugin {kind}: {hook} cannot be called")
        if any(seat.plugin is plugin for seat in self._seats):
            raise CommandError(f"plugin {kind}: this object is registered already")
        if len(self._seats) >= PLUGINS_MAX:
            raise ConfigError(f"plugin {kind}: {PLUGINS_MAX} plugins are registered already")
        seat = Seat(plugin, self._free_name(name or kind))
        self._seats = (*self._seats, seat)
        if seat.has("on_command_start") or seat.has("on_command_complete"):
            self._hearers.append(seat)

    # Any: what was registered.
    def unregister(self, plugin: Any) -> None:
        """Take a plugin away; none of its hooks is called any more.

        Raises: CommandError if it is not registered.
        """
        seat = next((seat for seat in self._seats if seat.plugin is plugin), None)
        if seat is None:
            names = ", ".join(seat.name for seat in self._seats) or "none"
            text = f"plugin {type(plugin).__name__}: not registered; registered are: {names}"
            raise CommandError(text)
        seat.removed = True
        self._seats = tuple(other for other in self._seats if other is not seat)
        if seat in self._hearers:
            self._hearers.remove(seat)

    def add_offered(self, group: str = "tandem.plugins") -> None:
        """Load the plugins that installed packages offer by entry point: an object, or its class.

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
            if point.name in self._loaded:
                continue
            try:
                plugin = point.load()
                self.register(plugin() if isinstance(plugin, type) else plugin, point.name)
                self._loaded.add(point.name)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's; shown in health
                self.broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"

    def of_run(self, run_id: str, command_set: CommandSet) -> RunHooks:
        """Give the hooks of one run, of the plugins that are registered now."""
        hooks = RunHooks(self._seats, run_id, command_set, self._call, self._spawn, self._in_thread)
        self._runs[run_id] = hooks
        return hooks

    # Any: plain values.
    def conflict(self, conflict: dict[str, Any], outcomes: list[dict[str, Any]]) -> None:
        """Have ``on_conflict`` of a run's plugins called soon; ``conflict`` names its ``run_id``."""
        hooks = self._runs.get(conflict["run_id"])
        if hooks is not None:
            hooks.conflict(conflict, outcomes)

    def health(self) -> dict[str, PluginHealth]:
        """Describe each plugin by name, those that could not be loaded as well."""
        health = {seat.name: seat.health() for seat in self._seats}
        for name, why in self.broken.items():
            health[name] = PluginHealth(name, False, f"entry point: {why}")
        return health

    # Any: a table of numbers.
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Count the calls of each plugin, by name."""
        return {seat.name: seat.metrics() for seat in self._seats}

    async def close(self) -> None:
        """Stop what is still being told, and let idle threads end."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        if self._threads is not None:
            self._threads.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Any: what hooks take.
    async def _call(self, seat: Seat, hook: str, arguments: tuple[Any, ...]) -> None:
        await seat.call(hook, arguments, self._limit_s(), self._clock, self._runner())

    # Any: whatever the function gives.
    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        runner = self._runner()
        await runner.permits.acquire()
        given, error = await runner.start(function).future
        if error is not None:
            raise error
        return given

    def _runner(self) -> ThreadRunner:
        if self._threads is None:
            self._threads = ThreadRunner(THREADS)
        return self._threads

    def _free_name(self, name: str) -> str:
        taken = {seat.name for seat in self._seats}
        if name not in taken:
            return name
        return next(f"{name}-{n}" for n in range(2, PLUGINS_MAX + 2) if f"{name}-{n}" not in taken)


def _check_name(name: object) -> None:
    """Raises: CommandError if it cannot stand in a line of a log."""
    if isinstance(name, str) and 0 < len(name) <= NAME_CHARS_MAX and name.isprintable():
        return
    text = f"plugin name {name!r:.80}: expected 1 to {NAME_CHARS_MAX} printable characters"
    raise CommandError(text)
