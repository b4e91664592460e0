import asyncio

import pytest

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.model.events import RunStarted
from tandem_orchestrator.testing.journal_events import accepted
from tandem_orchestrator.testing.journal_gate import GatedJournal


async def test_a_closed_gate_neither_writes_nor_acknowledges_until_it_opens() -> None:
    journal = GatedJournal()
    await journal.open("owner-a")
    journal.hold()
    first = journal.append("r1", [accepted("r1")], "group")
    waiting = asyncio.ensure_future(first.durable())
    await asyncio.sleep(0)
    await journal.append("r1", [RunStarted()], "async").durable()

    assert not waiting.done()
    assert await journal.records("r1") == []
    assert [type(event).__name__ for event in journal.waiting] == ["RunAccepted", "RunStarted"]

    journal.release()
    await waiting
    assert [r.seq for r in await journal.records("r1")] == [1, 2]
    assert journal.waiting == []


async def test_a_broken_one_acknowledges_nothing_until_it_is_opened_again() -> None:
    journal = GatedJournal()
    await journal.open("owner-a")
    journal.hold()
    held = journal.append("r1", [accepted("r1")], "group")
    journal.fail("disk full")

    for ticket in (held, journal.append("r1", [RunStarted()], "group")):
        with pytest.raises(JournalError, match="disk full"):
            await ticket.durable()
    assert not journal.health()

    await journal.close()
    await journal.open("owner-b")
    await journal.append("r2", [accepted("r2")], "group").durable()
    assert journal.health()
