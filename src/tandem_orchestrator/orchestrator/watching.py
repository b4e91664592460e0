"""Who is told what happens: the views of active runs, the counters, and listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tandem_orchestrator.model.events import AnyEvent, RunEnded, kind_of
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.observe import Metrics, RunView

_log = logging.getLogger(__name__)

EventListener = Callable[[str, AnyEvent], None]
"""Called with (run id, event)."""
ProgressListener = Callable[[str, str, int | None, int, int], None]
"""Called with (run id, step id, item, done, total)."""


class Watching:
    """Passes events and progress on, on the loop, in the order in which they happen."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._views: dict[str, RunView] = {}
        self.hearers: list[object] = []
        """Whoever wants to hear of runs while they go on: listeners, and plugins."""
        self._event_listeners: list[EventListener] = []
        self._progress_listeners: list[ProgressListener] = []

    def begin(self, run_id: str, plan: Plan | None = None) -> RunView:
        """Make the view of a run that is about to be accepted."""
        view = self._views[run_id] = RunView(plan)
        return view

    def resume(self, run_id: str, events: Sequence[AnyEvent], plan: Plan) -> RunView:
        """Make the view of a run that another process began, of all that happened to it."""
        view = self.begin(run_id, plan)
        for event in events:
            view.apply(event)
        self.metrics.apply(run_id, events[0])
        return view

    def view(self, run_id: str) -> RunView | None:
        """Find the view of an active run."""
        return self._views.get(run_id)

    def forget(self, run_id: str) -> None:
        """Drop a run that was refused after all."""
        self._views.pop(run_id, None)
        self.metrics.forget(run_id)

    def event(self, run_id: str, event: AnyEvent) -> None:
        """Tell everybody what happened."""
        self.metrics.apply(run_id, event)
        view = self._views.get(run_id)
        if view is not None:
            view.apply(event)
            if isinstance(event, RunEnded):
                del self._views[run_id]  # Whoever holds the Run holds the view.
        for listener in tuple(self._event_listeners) if self._event_listeners else ():
            try:
                listener(run_id, event)
            except Exception:  # noqa: BLE001 - a stranger's code must not hurt the run
                _log.exception("a listener raised at %s of run %s", kind_of(event), run_id)

    def progress(self, run_id: str, step: str, item: int | None, done: int, total: int) -> None:
        """Tell listeners how far a step is."""
        for listener in tuple(self._progress_listeners):
            try:
                listener(run_id, step, item, done, total)
            except Exception:  # noqa: BLE001 - likewise
                _log.exception("a progress listener raised for run %s", run_id)

    @contextmanager
    def listening(
        self, on_event: EventListener | None, on_progress: ProgressListener | None
    ) -> Iterator[None]:
        """Have listeners called for as long as the context lasts."""
        if on_event is not None:
            self._event_listeners.append(on_event)
            self.hearers.append(on_event)
        if on_progress is not None:
            self._progress_listeners.append(on_progress)
        try:
            yield
        finally:
            if on_event is not None:
                self._event_listeners.remove(on_event)
                self.hearers.remove(on_event)
            if on_progress is not None:
                self._progress_listeners.remove(on_progress)
