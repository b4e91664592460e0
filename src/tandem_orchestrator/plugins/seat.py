"""A seat: one registered plugin, the calls of its hooks, and what became of them."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tandem_orchestrator.clock import Clock
from tandem_orchestrator.layers.python.threads import ThreadRunner
from tandem_orchestrator.plugins.plugin import TandemPlugin

_log = logging.getLogger("tandem_orchestrator.plugins")

ERROR_CHARS_MAX = 500
"""Characters of the newest failure that health keeps."""


@dataclass(frozen=True, slots=True)
class PluginHealth:
    """How a plugin is; falsy where it could not be loaded, or hangs."""

    name: str
    healthy: bool
    reason: str = ""
    """Why it is not well, or what went wrong last; empty when nothing has."""
    calls: int = 0
    """Hooks that were called."""
    failed: int = 0
    """Of them: those that raised."""
    late: int = 0
    """Of them: those that took longer than they may."""
    skipped: int = 0
    """Hooks that were not called, since an earlier one hangs or too much waits."""

    def __bool__(self) -> bool:
        return self.healthy


class Seat:
    """One plugin of one orchestrator. Belongs to the loop.

    Args:
        plugin: An object with at least one hook.
        name: What it is called in logs, health and metrics.
    """

    # Any: any object with hooks.
    def __init__(self, plugin: Any, name: str) -> None:
        self.plugin, self.name = plugin, name
        self.removed = False
        self.calls = self.failed = self.late = self.skipped = 0
        self.seconds = 0.0
        self._reason = ""
        self._hanging: set[asyncio.Future[Any]] = set()
        """Of calls that were told to stop and have not."""

    def has(self, hook: str) -> bool:
        """Whether the plugin does something at a hook."""
        function = getattr(self.plugin, hook, None)
        return function is not None and getattr(type(self.plugin), hook, None) is not getattr(
            TandemPlugin, hook
        )

    def health(self) -> PluginHealth:
        """Describe it, without waiting."""
        hanging = len(self._hanging)
        reason = f"{hanging} calls hang; {self._reason}" if hanging else self._reason
        return PluginHealth(
            self.name, not hanging, reason, self.calls, self.failed, self.late, self.skipped
        )

    # Any: numbers.
    def metrics(self) -> dict[str, Any]:
        """Count its calls; ``avg_seconds`` is 0.0 before the first."""
        return {
            "calls": self.calls,
            "failed": self.failed,
            "late": self.late,
            "skipped": self.skipped,
            "avg_seconds": self.seconds / self.calls if self.calls else 0.0,
        }

    def skip(self, hook: str, why: str) -> None:
        """Leave a call out, and say so."""
        self.skipped += 1
        self._tell(hook, f"not called: {why}")

    async def call(
        self, hook: str, arguments: tuple[Any, ...], limit_s: float, clock: Clock, run: ThreadRunner
    ) -> None:
        """Call a hook and wait for its end, but not beyond its limit; never raises for what it did.

        Args:
            limit_s: Seconds; then it is cancelled, or its thread is left alone.
            run: For hooks that are plain functions.
        """
        if self.removed or not self.has(hook):
            return
        if self._hanging:
            self.skip(hook, "an earlier call hangs")
            return
        self.calls += 1
        began_ns = clock.monotonic_ns()
        call = asyncio.ensure_future(self._perform(getattr(self.plugin, hook), arguments, run))
        expired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = clock.call_later(limit_s, lambda: _end(expired))
        either: set[asyncio.Future[Any]] = {call, expired}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            expired.cancel()
            if not call.done():
                call.cancel()
        self.seconds += (clock.monotonic_ns() - began_ns) / 1e9
        if not call.done():
            await asyncio.sleep(0)  # It gets one turn to stop.
        if not call.done():
            self._hangs(call)
        if not call.done() or call.cancelled():
            self.late += 1
            self._tell(hook, f"took longer than its {limit_s:g} s (orchestrator.plugin_timeout_s)")
        elif (error := call.result()) is not None:
            self.failed += 1
            self._tell(hook, f"raised {_shown(error)}", error)

    async def _perform(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], run: ThreadRunner
    ) -> BaseException | None:
        """Call a function, on the loop or in a thread; gives what it raised."""
        try:
            if inspect.iscoroutinefunction(function):
                await function(*arguments)
                return None
            given, error = await self._in_thread(lambda: function(*arguments), run)
            if error is not None:
                return error
            if isinstance(given, Awaitable):
                await given
        except asyncio.CancelledError as stopped:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return stopped  # Its own doing, not ours.
        except (Exception, SystemExit) as raised:  # noqa: BLE001 - a stranger's code; it is reported
            return raised
        return None

    # Any: whatever the hook gives.
    async def _in_thread(
        self, function: Callable[[], Any], run: ThreadRunner
    ) -> tuple[Any, BaseException | None]:
        await run.permits.acquire()
        job = run.start(function)
        try:
            await asyncio.wait({job.future})
        except asyncio.CancelledError:
            job.abandon()
            self._hangs(job.future)
            raise
        return job.future.result()

    def _hangs(self, future: asyncio.Future[Any]) -> None:
        self._hanging.add(future)
        future.add_done_callback(self._hanging.discard)

    def _tell(self, hook: str, text: str, error: BaseException | None = None) -> None:
        self._reason = f"{hook} {text}"[:ERROR_CHARS_MAX]
        _log.warning("plugin %s: %s %s", self.name, hook, text, exc_info=error)


def _end(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _shown(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as odd:  # noqa: BLE001 - a foreign __str__; what it hides must be told
        return f"{type(error).__name__} (its text cannot be shown: {type(odd).__name__})"
