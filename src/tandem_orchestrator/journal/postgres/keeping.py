"""The part of ``PostgresJournal`` that keeps house: a check, old runs that go, schedules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg

from tandem_orchestrator.journal.journal import ScheduleRow, encoded_schedule
from tandem_orchestrator.journal.postgres import reading, retention, timetable
from tandem_orchestrator.journal.postgres.connection import Place

_T = TypeVar("_T")


class Keeping(ABC):
    """Retention and schedules, on the journal's one writer and its readers."""

    _place: Place
    _token: int

    _lost: Callable[[frozenset[str]], None] = staticmethod(lambda runs: None)

    def use_lost(self, lost: Callable[[frozenset[str]], None]) -> None:
        """Have ``lost`` told of the runs that it leaves to recovery after the server was away."""
        self._lost = lost

    @abstractmethod
    async def _write(self, work: Callable[[psycopg.Connection[Any]], _T] | None) -> _T:
        """Run ``work`` as a transaction of its own on the writer's thread."""

    @abstractmethod
    async def _read(self, look: Callable[[psycopg.Connection[Any]], _T], nothing: _T) -> _T:
        """Run ``look`` on a reader; ``nothing`` where there are no tables."""

    @abstractmethod
    def _require_lease(self) -> None:
        """Refuse without a lease."""

    @abstractmethod
    async def _ready(self) -> None:
        """Make or migrate the tables if that was not done yet."""

    async def remove_runs(
        self, *, before_ns: int | None = None, bytes_max: int | None = None, runs_max: int = 32
    ) -> int:
        """Remove finished runs; those of durability ``none`` have bounds of their own."""
        await self._ready()
        return await self._write(
            lambda at: retention.remove_runs(at, before_ns, bytes_max, runs_max)
        )

    async def remove_outputs(self, *, grace_s: float = 60.0) -> int:
        """Remove nothing: a large output is in its record, and goes with it."""
        return 0

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
        self._require_lease()
        token = self._token
        return await self._write(lambda at: timetable.claim(at, name, done_ns, at_ns, token))

    async def settle_occurrence(
        self, name: str, *, at_ns: int, run_id: str | None = None, left_out: int = 0
    ) -> bool:
        """Note what became of an occurrence."""
        self._require_lease()
        token = self._token
        return await self._write(
            lambda at: timetable.settle(at, name, at_ns, token, run_id, left_out)
        )

    async def check(self) -> list[str]:
        """Verify chains and rows; takes as long as reading everything."""
        return await self._read(lambda at: list(reading.faults_of(at, self._place)), [])
