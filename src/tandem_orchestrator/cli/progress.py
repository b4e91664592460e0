"""Live progress on stderr: a moving picture on a terminal, one line a step elsewhere."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tandem_orchestrator.cli.output import console, show_took, visible
from tandem_orchestrator.cli.run_table import last_steps
from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptStarted,
    FallbackPlanned,
    LayerChanged,
    RunAccepted,
    SegmentEnded,
    SegmentStarted,
    StepEnded,
    StepsRan,
    steps_ended,
)
from tandem_orchestrator.model.plans import plan_from_value

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

FULL_SCREEN_AGENTS = frozenset({"tui"})
"""While one of these is at work the picture stands aside: it may need the whole terminal."""


class ProgressView:
    """Shows one run while it goes on; give its methods to ``TandemOrchestrator.listening``."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bars: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._agents: dict[str, str] = {}
        self._overall: TaskID | None = None
        self._began_ns = 0
        self.run_id = ""
        """Of the run that was seen; empty before it was accepted."""
        self.last_steps: frozenset[str] = frozenset()
        """Of the run that was seen: the steps that no other depends on."""

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            from rich.progress import (
                BarColumn,
                Progress,
                SpinnerColumn,
                TextColumn,
                TimeElapsedColumn,
            )
            from rich.table import Column

            screen = console(stderr=True)
            bar_width = 24 if screen.width >= 100 else 12
            name = Column(
                no_wrap=True, overflow="ellipsis", max_width=screen.width - bar_width - 24
            )
            self._bars = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False, table_column=name),
                BarColumn(bar_width, table_column=Column(min_width=bar_width)),
                TextColumn("{task.fields[note]}", markup=False, table_column=Column(no_wrap=True)),
                TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
                console=screen,
                transient=True,
            )
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def on_event(self, run_id: str, event: AnyEvent) -> None:
        """Take in an event of the run."""
        match event:
            case RunAccepted():
                self.run_id, self._began_ns = run_id, event.at_ns
                plan = plan_from_value(event.plan)
                self._agents = {step.id: step.agent for step in plan.steps}
                self.last_steps = last_steps(plan.steps)
                if self._bars is not None:
                    title = visible(event.name or run_id)
                    self._overall = self._bars.add_task(title, total=event.steps_total, note="")
            case AttemptStarted():
                self._started(event)
            case SegmentStarted():
                for step_id in event.steps:
                    self._started(AttemptStarted(step=step_id, layer="c"))
            case StepEnded() | SegmentEnded() | StepsRan():
                within_s = (event.at_ns - self._began_ns) / 1e9
                for ended in steps_ended(event):
                    self._ended(ended, within_s)
            case LayerChanged():
                self._say(f"the {event.layer} layer {event.change}: {event.detail}")
            case FallbackPlanned():
                self._say(f"{event.step}: {event.left} -> {event.right}: {event.reason}")

    def on_progress(self, run_id: str, step: str, item: int | None, done: int, total: int) -> None:
        """Take in how far a step is."""
        if self._bars is not None and step in self._tasks:
            self._bars.update(self._tasks[step], completed=done, total=total or None)

    def _started(self, event: AttemptStarted) -> None:
        if self._bars is None:
            again = f", attempt {event.attempt}" if event.attempt > 1 else ""
            if event.item is None:
                self._say(f"{event.step}: started in {event.layer}{again}")
            return
        if self._agents.get(event.step) in FULL_SCREEN_AGENTS:
            self._bars.stop()
        if event.step not in self._tasks:
            note = f"in {event.layer}"
            name = f"  {visible(event.step)}"
            self._tasks[event.step] = self._bars.add_task(name, total=None, note=note)

    def _ended(self, event: StepEnded, within_s: float) -> None:
        if self._bars is None:
            if event.outcome == "skipped":
                self._say(f"{event.step}: skipped, {event.reason}")
            elif not event.layer:
                self._say(f"{event.step}: {event.outcome}")  # a group, or nothing was tried
            else:
                took = show_took(event.seconds, event.attempts, within_s)
                self._say(f"{event.step}: {event.outcome} in {event.layer}, {took}")
            return
        if self._agents.get(event.step) in FULL_SCREEN_AGENTS:
            self._bars.start()
        if self._overall is not None:
            self._bars.advance(self._overall)
        if (task := self._tasks.pop(event.step, None)) is not None:
            self._bars.remove_task(task)

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        if self._bars is not None:
            self._bars.console.print(visible(text))
        else:
            print(visible(text), file=sys.stderr, flush=True)
