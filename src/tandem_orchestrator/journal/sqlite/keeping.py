"""The part of ``SqliteJournal`` that keeps house: a check, old runs that go, schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw

from tandem_orchestrator.journal.backlog import Backlog, Counters
from tandem_orchestrator.journal.journal import ScheduleRow, encoded_schedule
from tandem_orchestrator.journal.outputs import GRACE_S, OutputFile
from tandem_orchestrator.journal.sqlite import outputs, reading, retention, timetable
from tandem_orchestrator.journal.sqlite.pool import ReaderPool
from tandem_orchestrator.journal.sqlite.writer import Writer

_T = TypeVar("_T")


class Keeping(ABC):
    """Retention and schedules, on the journal's one writer and its readers."""

    _path: Path
    _token: int
    _counters: Counters

    _lost: Callable[[frozenset[str]], None] = staticmethod(lambda runs: None)

    def use_lost(self, lost: Callable[[frozenset[str]], None]) -> None:
        """Have ``lost`` told of the runs that it leaves to recovery after a full disk."""
        self._lost = lost

    @abstractmethod
    async def _write(
        self, work: Callable[[apsw.Connection], _T] | None, writer: Writer | None = None
    ) -> _T:
        """Run ``work`` as a transaction of its own on the writer's thread."""

    @abstractmethod
    async def _read(self, look: Callable[[apsw.Connection], _T], nothing: _T) -> _T:
        """Run ``look`` on a reader; ``nothing`` where there is no file."""

    @abstractmethod
    def _opened(self) -> ReaderPool:
        """Refuse at the wrong time and place."""

    @abstractmethod
    def _owned(self) -> tuple[Writer, Backlog, str]:
        """Refuse without a lease."""

    @abstractmethod
    def _prepare(self) -> None:
        """Make or migrate the file if that was not done yet; blocks."""

    async def _ready(self) -> None:
        await self._opened().run(self._prepare)

    def _claiming_token(self) -> int:
        self._owned()
        return self._token

    @abstractmethod
    def is_alive(self, owner: str) -> bool:
        """Tell whether an owner's lease is held."""

    async def remove_runs(
        self, *, before_ns: int | None = None, bytes_max: int | None = None, runs_max: int = 32
    ) -> int:
        """Remove finished runs from the file; those of durability ``none`` have bounds of their own."""
        await self._ready()
        return await self._write(
            lambda at: retention.remove_runs(at, before_ns, bytes_max, runs_max)
        )

    async def remove_outputs(self, *, grace_s: float = GRACE_S) -> int:
        """Remove files that no record names, a batch at a time; counts the others anew."""
        removed = 0
        found = await self._read(
            lambda at: outputs.removable(at, self._path, grace_s), list[OutputFile]()
        )
        for first in range(0, len(found), outputs.FILES_A_BATCH):
            batch = found[first : first + outputs.FILES_A_BATCH]
            removed += await self._write(partial(outputs.remove, files=batch))
        self._counters.outputs = await self._read(outputs.count, (0, 0))
        return removed

    # Any: values of any kind.
    async def put_schedule(self, name: str, body: Mapping[str, Any], done_ns: int) -> bool:
        """Keep a schedule; committed on return."""
        encoded = encoded_schedule(name, body)
        await self._ready()
        return await self._write(lambda at: timetable.put_schedule(at, name, encoded, done_ns))

    async def remove_schedule(self, name: str) -> bool:
        """Drop a schedule."""
        await self._ready()
        return await self._write(lambda at: timetable.remove_schedule(at, name))

    async def schedules(self) -> list[ScheduleRow]:
        """List all schedules by name."""
        return await self._read(timetable.read_schedules, [])

    async def claim_occurrence(self, name: str, *, done_ns: int, at_ns: int) -> bool:
        """Take an occurrence on."""
        token = self._claiming_token()
        return await self._write(
            lambda at: timetable.claim(at, name, done_ns, at_ns, token, self.is_alive)
        )

    async def settle_occurrence(
        self, name: str, *, at_ns: int, run_id: str | None = None, left_out: int = 0
    ) -> bool:
        """Note what became of an occurrence."""
        token = self._claiming_token()
        return await self._write(
            lambda at: timetable.settle(at, name, at_ns, token, run_id, left_out)
        )

    async def check(self) -> list[str]:
        """Verify file, chains and rows; takes as long as reading everything."""
        self._counters.outputs = await self._read(outputs.count, (0, 0))
        return await self._read(lambda at: list(reading.faults_of(at, self._path)), [])
