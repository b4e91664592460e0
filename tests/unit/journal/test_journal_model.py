"""Random histories: the SQLite journal says at every step what the one in memory says."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tandem_orchestrator.errors import TandemError
from tandem_orchestrator.journal import Control, Journal, MemoryJournal, MemoryStore
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.model.events import RunEnded, RunStarted, StepEnded
from tandem_orchestrator.testing.journal_events import accepted, ended

RUNS = st.sampled_from(["r1", "r2", "r3"])
EVENTS = st.one_of(
    st.builds(ended, st.sampled_from("ab"), st.integers(1, 2)),
    st.just(RunStarted(at_ns=5)),
    st.builds(lambda step: StepEnded(step=step, outcome="succeeded"), st.sampled_from("ab")),
    st.sampled_from([RunEnded(status=s, at_ns=9) for s in ("completed", "failed", "held")]),
)
OPERATIONS = st.one_of(
    st.tuples(st.just("accept"), RUNS, st.sampled_from([None, "k1", "k2"])),
    st.tuples(st.just("append"), RUNS, st.lists(EVENTS, min_size=1, max_size=4)),
    st.tuples(st.just("together"), st.lists(st.tuples(RUNS, EVENTS), min_size=2, max_size=6)),
    st.tuples(st.just("adopt"), RUNS),
    st.tuples(st.just("ask"), RUNS, st.sampled_from(["w1", "w2"]), st.sampled_from("xy")),
    st.tuples(st.just("answer"), st.sampled_from(["w1", "w2"])),
    st.tuples(st.just("reopen")),
)
DURABILITIES = st.sampled_from(["sync", "group", "async"])


async def tried(awaitable):
    """Give the result, or the kind of refusal."""
    try:
        return await awaitable
    except TandemError as error:
        return type(error).__name__


async def perform(journal: Journal, operation: tuple, durability: str, owner: str):
    match operation:
        case ("accept", run_id, key):
            event = accepted(run_id, idempotency_key=key, inputs={"run": run_id})
            result = await tried(journal.append(run_id, [event], "group").durable())
        case ("append", run_id, events):
            await tried(journal.append(run_id, events, durability).durable())
            result = None
        case ("together", pairs):
            tickets = [journal.append(run_id, [event], "group") for run_id, event in pairs]
            result = [await tried(ticket.durable()) for ticket in tickets]
        case ("adopt", run_id):
            result = await tried(journal.adopt(run_id))
        case ("ask", run_id, control_id, kind):
            result = await tried(journal.request(Control(control_id, run_id, kind)))
        case ("answer", control_id):
            result = await tried(journal.answer(control_id, "done"))
        case _:
            await journal.close()
            await journal.open(owner)
            result = None
    await journal.flush()
    records = {run_id: await journal.records(run_id) for run_id in ("r1", "r2", "r3")}
    return (
        result,
        records,
        await journal.runs(),
        await journal.runs(status="interrupted"),
        await journal.controls(),
        [await journal.find_by_idempotency_key(key) for key in ("k1", "k2")],
    )


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(OPERATIONS, DURABILITIES), max_size=25))
def test_both_journals_say_the_same_at_every_step(history) -> None:
    async def compare(folder: str) -> None:
        sqlite = SqliteJournal(Path(folder) / "j.db")
        memory = MemoryJournal(MemoryStore())
        journals = (sqlite, memory)
        for journal in journals:
            await journal.open("o")
        try:
            for n, (operation, durability) in enumerate(history):
                one, two = [await perform(j, operation, durability, f"o{n}") for j in journals]
                assert one == two
            assert await sqlite.check() == []
        finally:
            for journal in journals:
                await journal.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(folder))
