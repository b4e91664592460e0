"""Bounds of the journal in memory: ended runs make room, running ones never."""

import pytest

from tandem_orchestrator.errors import Busy
from tandem_orchestrator.journal import Bounds, MemoryJournal, MemoryStore
from tandem_orchestrator.model.events import RunEnded
from tandem_orchestrator.testing.journal_events import accepted, ended


async def opened(**bounds: int) -> MemoryJournal:
    journal = MemoryJournal(MemoryStore(Bounds(**bounds)))
    await journal.open("owner-a")
    return journal


async def write(journal: MemoryJournal, run_id: str, *events) -> None:
    await journal.append(run_id, events, "none").durable()


async def test_the_oldest_ended_runs_are_dropped_beyond_the_bound() -> None:
    journal = await opened(memory_runs_max=3)
    for n in range(10):
        first = accepted(f"r{n}", at_ns=n, idempotency_key=f"k{n}")
        await write(journal, f"r{n}", first, *([RunEnded(status="completed")] if n != 1 else []))

    assert [row.run_id for row in await journal.runs()] == ["r9", "r8", "r7", "r1"]
    assert await journal.find_by_idempotency_key("k2") is None
    assert (await journal.find_by_idempotency_key("k9")).run_id == "r9"


async def test_bytes_are_bounded_and_a_full_store_is_busy_by_name() -> None:
    journal = await opened(memory_bytes_max=10_000)
    big = [ended("s", output=b"x" * 3_000)]
    for n in range(5):
        await write(journal, f"r{n}", accepted(f"r{n}"), *big, RunEnded(status="completed"))
    assert 1 <= len(await journal.runs()) <= 3

    await write(journal, "live", accepted("live"))
    for n in range(3):
        await write(journal, "live", ended(f"s{n}", output=b"x" * 3_000))
    with pytest.raises(Busy, match="memory_bytes_max=10000"):
        journal.append("live", [ended("more", output=b"x" * 3_000)], "none")
    assert [row.run_id for row in await journal.runs()] == ["live"]
    assert len(await journal.records("live")) == 4
