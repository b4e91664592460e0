"""Counters of one orchestrator, really counted from what happened; SPEC's ``get_metrics``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tandem_orchestrator.model.events import (
    AnyEvent,
    AttemptEnded,
    AttemptStarted,
    Judged,
    RunAccepted,
    RunEnded,
    SegmentEnded,
    StepEnded,
    StepsRan,
)

_UNCOUNTED = (AttemptStarted, StepEnded)
"""The most frequent ones of which nothing is counted."""


@dataclass(slots=True)
class _LayerCount:
    attempts: int = 0
    seconds: float = 0.0

    @property
    def average_s(self) -> float:
        return self.seconds / self.attempts if self.attempts else 0.0


@dataclass(slots=True)
class _ModeCount:
    runs: int = 0
    completed: int = 0
    failed: int = 0
    ended: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Metrics:
    """Counts events as they happen; memory does not grow with them."""

    _layers: dict[str, _LayerCount] = field(default_factory=dict)
    _modes: dict[str, _ModeCount] = field(default_factory=dict)
    _mode_of: dict[str, str] = field(default_factory=dict)
    """Of runs that have not ended."""
    _agreements: int = 0
    _conflicts: int = 0

    def apply(self, run_id: str, event: AnyEvent) -> None:
        """Count one event."""
        if type(event) in _UNCOUNTED:
            return
        match event:
            case AttemptEnded(layer=layer, seconds=seconds, outcome=outcome, cached=cached):
                if outcome != "not_started" and not cached:  # else nothing ran
                    count = self._layers.setdefault(layer, _LayerCount())
                    count.attempts += 1
                    count.seconds += seconds
            case SegmentEnded(layer=layer, rows=rows) | StepsRan(layer=layer, rows=rows):
                count = self._layers.setdefault(layer, _LayerCount())
                for row in rows:
                    if row.outcome not in ("not_started", "skipped"):
                        count.attempts += 1
                        count.seconds += row.seconds
            case RunAccepted(mode=mode):
                self._mode_of[run_id] = mode
                self._modes.setdefault(mode, _ModeCount()).runs += 1
            case RunEnded(status=status, duration=duration):
                mode_count = self._modes[self._mode_of.pop(run_id)]
                mode_count.ended += 1
                mode_count.completed += status == "completed"
                mode_count.failed += status != "completed"
                mode_count.seconds += duration
            case Judged(verdict="agreed", count=items):
                self._agreements += items
            case Judged(verdict="conflict"):
                self._conflicts += 1

    def count_run(
        self, mode: str, layer: str, attempts: int, seconds: float, duration: float
    ) -> None:
        """Count a completed run that told no events: its attempts, all in one layer."""
        count = self._layers.setdefault(layer, _LayerCount())
        count.attempts += attempts
        count.seconds += seconds
        of_mode = self._modes.setdefault(mode, _ModeCount())
        of_mode.runs += 1
        of_mode.ended += 1
        of_mode.completed += 1
        of_mode.seconds += duration

    def forget(self, run_id: str) -> None:
        """Take back a run that will never end here, as when its acceptance was refused."""
        mode = self._mode_of.pop(run_id, None)
        if mode is not None:
            self._modes[mode].runs -= 1
            if not self._modes[mode].runs:
                del self._modes[mode]

    # Any: numbers, and a table of them.
    def read(self) -> dict[str, Any]:
        """Give SPEC's keys; latencies in seconds, 0.0 before the first message."""
        python = self._layers.get("python", _LayerCount())
        native = self._layers.get("c", _LayerCount())
        return {
            "python_msgs_processed": python.attempts,
            "c_msgs_processed": native.attempts,
            "redundant_agreements": self._agreements,
            "redundant_conflicts": self._conflicts,
            "avg_python_latency": python.average_s,
            "avg_c_latency": native.average_s,
            "execution_stats": {
                mode: {
                    "runs": count.runs,
                    "completed": count.completed,
                    "failed": count.failed,
                    "avg_duration": count.seconds / count.ended if count.ended else 0.0,
                }
                for mode, count in self._modes.items()
            },
        }
