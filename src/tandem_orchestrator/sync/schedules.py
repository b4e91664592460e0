"""``tandem.schedules``, blocking."""

from __future__ import annotations

from collections.abc import Callable

from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.orchestrator.schedules import Scheduled
from tandem_orchestrator.orchestrator.schedules import Schedules as AsyncSchedules
from tandem_orchestrator.sync.loop_thread import LoopThread


class Schedules:
    """See ``orchestrator.schedules.Schedules``; any thread may use it.

    Args:
        thread: Gives the loop's thread, or refuses while there is none.
    """

    def __init__(self, schedules: AsyncSchedules, thread: Callable[[], LoopThread]) -> None:
        self._schedules, self._thread = schedules, thread

    def add(
        self,
        name: str,
        command_set: CommandSet,
        *,
        cron: str | None = None,
        every_s: float | None = None,
        timezone: str = "UTC",
        overlap: str = "skip",
        catch_up: str = "none",
        jitter_s: float = 0.0,
    ) -> Scheduled:
        """Keep a schedule in the journal; its occurrences from now on become runs."""
        thread = self._thread()
        return thread.wait(
            self._schedules.add(
                name,
                command_set,
                cron=cron,
                every_s=every_s,
                timezone=timezone,
                overlap=overlap,
                catch_up=catch_up,
                jitter_s=jitter_s,
            )
        )

    def list(self) -> list[Scheduled]:
        """Read all schedules of the journal, by name."""
        thread = self._thread()
        return thread.wait(self._schedules.list())

    def remove(self, name: str) -> bool:
        """Drop a schedule; False if there is none."""
        thread = self._thread()
        return thread.wait(self._schedules.remove(name))
