"""The runs that dead owners left here, and what each waits for; by what they need, not one by one.

Many runs of one kind need the same, so that a look after something was registered asks once for
each kind. A run is read when it is found, and again only when it can go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from tandem_orchestrator.journal import RunRow
from tandem_orchestrator.orchestrator.needs import Needs

RUNS_KEPT_MAX = 100_000
"""Runs of which it is kept what they need; one beyond is read anew at each look."""

READ_AGAIN = ""
"""Of a run of which something else went wrong: it is read anew when something is registered."""
Waits = Needs | str
"""What a run needs; ``READ_AGAIN``; or why it cannot go on here whatever is registered."""


class LeftBehind:
    """Knows the interrupted runs, from one listing to the next."""

    def __init__(self) -> None:
        self._unread: dict[str, RunRow] = {}
        self._waits: dict[str, Waits] = {}
        self._alike: dict[Waits, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._unread) + len(self._waits)

    def list_anew(self, rows: Iterable[RunRow], rank: Callable[[RunRow], object]) -> None:
        """Take in what there is by now; what was read of a run that is still there is kept."""
        found = {row.run_id: row for row in rows}
        for run_id in [one for one in self._waits if one not in found]:
            self.forget(run_id)
        unread = [row for run_id, row in found.items() if run_id not in self._waits]
        self._unread = {row.run_id: row for row in sorted(unread, key=rank)}  # type: ignore[arg-type]

    @property
    def has_unread(self) -> bool:
        """Whether there are runs of which nobody knows what they need."""
        return bool(self._unread)

    def next_unread(self) -> RunRow:
        """Give the first of those; it counts as one until it is put or forgotten."""
        return next(iter(self._unread.values()))

    def put(self, run_id: str, waits: Waits) -> None:
        """Keep what a run waits for."""
        self.forget(run_id)
        if len(self._waits) < RUNS_KEPT_MAX:
            self._waits[run_id] = waits
            self._alike.setdefault(waits, {})[run_id] = None

    def forget(self, run_id: str) -> None:
        """Drop a run: it goes on, here or elsewhere."""
        self._unread.pop(run_id, None)
        waits = self._waits.pop(run_id, None)
        if waits is not None:
            alike = self._alike[waits]
            del alike[run_id]
            if not alike:
                del self._alike[waits]

    def kinds(self) -> Iterator[tuple[Waits, tuple[str, ...]]]:
        """Give what is waited for, and the runs that wait for it."""
        for waits, runs in list(self._alike.items()):
            yield waits, tuple(runs)
