"""Schedules in a dict: what ``MemoryStore`` keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from tandem_orchestrator.journal.journal import ScheduleRow, encoded_schedule


class MemoryTimetable:
    """Schedules and who decides which occurrence. One thread at a time."""

    def __init__(self, is_alive: Callable[[str], bool]) -> None:
        self._is_alive = is_alive
        self.rows: dict[str, ScheduleRow] = {}
        """By name."""
        self._claims: dict[str, tuple[int, str]] = {}

    # Any: values of any kind.
    def put(self, name: str, body: Mapping[str, Any], done_ns: int) -> bool:
        """Keep one; False if it is there like that."""
        encoded = encoded_schedule(name, body)
        known = self.rows.get(name)
        if known is not None and encoded_schedule(name, known.body) == encoded:
            return False
        kept = msgspec.msgpack.decode(encoded)
        if known is None:
            self.rows[name] = ScheduleRow(name, kept, done_ns)
        else:
            self.rows[name] = replace(known, body=kept, done_ns=max(done_ns, known.done_ns))
        self._claims.pop(name, None)
        return True

    def remove(self, name: str) -> bool:
        """Drop one; False if there is none."""
        self._claims.pop(name, None)
        return self.rows.pop(name, None) is not None

    def claim(self, name: str, done_ns: int, at_ns: int, owner: str) -> bool:
        """Take an occurrence on, from nobody, from itself or from the dead."""
        row, (_, holder) = self.rows.get(name), self._claims.get(name, (0, owner))
        if row is None or row.done_ns != done_ns or at_ns <= done_ns:
            return False
        if holder != owner and self._is_alive(holder):
            return False
        self._claims[name] = (at_ns, owner)
        return True

    def settle(self, name: str, at_ns: int, owner: str, run_id: str | None, left_out: int) -> bool:
        """Note what became of an occurrence; False if the claim is not the owner's."""
        if self._claims.get(name) != (at_ns, owner):
            return False
        row = self.rows[name]
        self.rows[name] = replace(
            row,
            done_ns=at_ns,
            last_run=run_id or row.last_run,
            fired=row.fired + (run_id is not None),
            left_out=row.left_out + left_out,
        )
        del self._claims[name]
        return True
