"""The backlog: what was appended and is not yet written, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, field

from tandem_orchestrator.errors import Busy
from tandem_orchestrator.journal.journal import Bounds


@dataclass(slots=True)
class Counters:
    """What the writer counts; written by its thread, read by any."""

    events_written: int = 0
    bytes_written: int = 0
    commits: int = 0
    events_kept: int = 0
    refused: int = 0
    commit_seconds: list[float] = field(default_factory=list)
    outputs: tuple[int, int] = (0, 0)
    """Large outputs that records name, and their bytes, as of the last look."""


class Backlog:
    """Counts what goes in; what came out is counted by the writer.

    Each side writes its own counters only, so that no lock is needed between the threads.
    """

    def __init__(self, bounds: Bounds, written: Counters) -> None:
        self._bounds = bounds
        self._written = written
        self._events = 0
        self._bytes = 0

    @property
    def events(self) -> int:
        """Events that wait."""
        return self._events - self._written.events_written

    @property
    def body_bytes(self) -> int:
        """Bytes that wait."""
        return self._bytes - self._written.bytes_written

    def admit(self, events: int, body_bytes: int) -> None:
        """Count an append in. When nothing waits, one of any size is admitted.

        Raises: Busy naming the bound; nothing was counted.
        """
        bounds, waiting, size = self._bounds, self.events, self.body_bytes
        if waiting and waiting + events > bounds.backlog_events_max:
            raise Busy(f"backlog_events_max={bounds.backlog_events_max}: {waiting} events wait")
        if waiting and size + body_bytes > bounds.backlog_bytes_max:
            raise Busy(f"backlog_bytes_max={bounds.backlog_bytes_max}: {size} bytes wait")
        self._events += events
        self._bytes += body_bytes
