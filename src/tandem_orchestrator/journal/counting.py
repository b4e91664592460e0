"""What health says of a journal's numbers."""

from __future__ import annotations

from dataclasses import replace

from tandem_orchestrator.journal.backlog import Backlog, Counters
from tandem_orchestrator.journal.journal import Bounds, JournalHealth
from tandem_orchestrator.journal.memory_outputs import MemoryOutputs


def with_counts(
    health: JournalHealth, counters: Counters, backlog: Backlog, bounds: Bounds
) -> JournalHealth:
    """Give ``health`` with what waits, what was written, and what commits took."""
    costs = sorted(counters.commit_seconds)
    return replace(
        health,
        backlog_events=backlog.events,
        backlog_bytes=backlog.body_bytes,
        backlog_events_max=bounds.backlog_events_max,
        backlog_bytes_max=bounds.backlog_bytes_max,
        commits_total=counters.commits,
        events_total=counters.events_kept,
        refused_total=counters.refused,
        commit_seconds_p50=costs[len(costs) // 2] if costs else 0.0,
        commit_seconds_max=costs[-1] if costs else 0.0,
    )


def with_outputs(
    health: JournalHealth, counters: Counters, in_memory: MemoryOutputs
) -> JournalHealth:
    """Give ``health`` with the large outputs, those in files and those in memory."""
    files, size = counters.outputs
    return replace(
        health,
        outputs_files=files + in_memory.files,
        outputs_bytes=size + in_memory.body_bytes,
    )
