"""What every journal promises, asked of each of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from tandem_orchestrator.errors import (
    Closed,
    CommandError,
    IdempotencyMismatch,
    JournalError,
    NotAValue,
    NotInitialized,
)
from tandem_orchestrator.journal import (
    CompletionTaken,
    Control,
    Journal,
    KeyTaken,
    MemoryJournal,
    MemoryStore,
    OwnerChanged,
    Record,
    postgres_journal,
    request_digest,
    sqlite_journal,
)
from tandem_orchestrator.model.events import AttemptStarted, Judged, RunEnded, RunStarted, StepEnded
from tandem_orchestrator.testing.journal_events import accepted, ended
from tandem_orchestrator.testing.journal_gate import GatedJournal

Make = Callable[[], Journal]
WAITING = ["sync", "group"]
ALL = [*WAITING, "async", "none"]


@pytest.fixture(params=["memory", "gated", "sqlite", "postgres"])
def make(request: pytest.FixtureRequest, tmp_path) -> Make:
    """A maker of journals that share one store, as several processes would."""
    if request.param == "memory":
        store = MemoryStore()
        return lambda: MemoryJournal(store)
    if request.param == "gated":
        store = MemoryStore()
        return lambda: GatedJournal(store)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        return lambda: postgres_journal(url)
    return lambda: sqlite_journal(tmp_path / "state" / "journal.db")


@pytest.fixture
async def journal(make: Make) -> AsyncIterator[Journal]:
    one = make()
    await one.open("owner-a")
    yield one
    await one.close()


async def write(journal: Journal, run_id: str, *events, durability: str = "group") -> None:
    await journal.append(run_id, events, durability).durable()
    await journal.flush()


@pytest.mark.parametrize("durability", ALL)
async def test_records_come_back_in_order_and_unchanged(journal: Journal, durability: str) -> None:
    events = [accepted("r1"), RunStarted(at_ns=2_000), ended("a", output=[float("inf"), b"\x00"])]
    for event in events:
        journal.append("r1", [event], durability)
    await journal.flush()

    records = await journal.records("r1")

    assert [record.seq for record in records] == [1, 2, 3]
    assert [record.event for record in records] == events
    assert [record.kind for record in records] == ["run_accepted", "run_started", "attempt_ended"]
    assert (records[2].unit, records[2].attempt) == ("a/python", 1)
    assert [record.at_ns for record in records] == [1_000, 2_000, 0]


async def test_records_are_read_from_where_the_reader_stopped(journal: Journal) -> None:
    await write(journal, "r1", accepted("r1"), *[RunStarted(at_ns=n) for n in range(1, 10)])

    assert [r.seq for r in await journal.records("r1", after=4, limit=3)] == [5, 6, 7]
    assert [r.seq for r in await journal.records("r1", after=9)] == [10]
    assert await journal.records("r1", after=10) == []
    assert await journal.records("unknown") == []


async def test_a_later_change_to_what_an_event_holds_does_not_reach_the_journal(
    journal: Journal,
) -> None:
    output = {"files": [1]}
    ticket = journal.append("r1", [accepted("r1"), ended("a", output=output)], "group")
    output["files"].append(2)
    await ticket.durable()

    assert (await journal.records("r1"))[1].event.output == {"files": [1]}


async def test_the_row_follows_the_events(journal: Journal) -> None:
    await write(journal, "r1", accepted("r1", waiting_for=("x.y",), resumable=False))
    row = await journal.run("r1")
    assert (row.status, row.steps_total, row.steps_done, row.owner) == ("queued", 2, 0, "owner-a")
    assert (row.waiting_for, row.resumable, row.started_at_ns) == (("x.y",), False, None)

    await write(journal, "r1", RunStarted(at_ns=2_000), StepEnded(step="a", outcome="succeeded"))
    row = await journal.run("r1")
    assert (row.status, row.started_at_ns, row.steps_done, row.records) == ("running", 2_000, 1, 3)

    await write(
        journal,
        "r1",
        StepEnded(step="b", outcome="failed"),
        RunEnded(at_ns=3_000, status="failed", duration=0.5),
    )
    row = await journal.run("r1")
    assert (row.status, row.finished_at_ns, row.duration) == ("failed", 3_000, 0.5)
    assert (row.steps_done, row.records) == (2, 5)
    assert row.to_value()["created_at"] == "1970-01-01T00:00:00.000001Z"


async def test_a_run_that_is_started_again_has_not_ended(journal: Journal) -> None:
    await write(journal, "r1", accepted("r1"), RunEnded(at_ns=5, status="failed", duration=1.0))
    await write(journal, "r1", RunStarted(at_ns=6))
    row = await journal.run("r1")
    assert (row.status, row.started_at_ns, row.finished_at_ns) == ("running", 6, None)
    await journal.request(Control(id="w1", run_id="r1", kind="cancel"))


async def test_runs_are_listed_newest_first_filtered_and_in_pages(journal: Journal) -> None:
    for n in range(6):
        name = "even" if n % 2 == 0 else "odd"
        await write(journal, f"r{n}", accepted(f"r{n}", at_ns=n, name=name))
    await write(journal, "r4", RunStarted(at_ns=9))

    assert [row.run_id for row in await journal.runs()] == ["r5", "r4", "r3", "r2", "r1", "r0"]
    assert [row.run_id for row in await journal.runs(name="even")] == ["r4", "r2", "r0"]
    assert [row.run_id for row in await journal.runs(status="running")] == ["r4"]
    assert [row.run_id for row in await journal.runs(limit=2, before="r4")] == ["r3", "r2"]
    assert await journal.run("r9") is None


@pytest.mark.parametrize("durability", WAITING)
async def test_a_unit_attempt_completes_once(journal: Journal, durability: str) -> None:
    await write(journal, "r1", accepted("r1"), AttemptStarted(step="a"), ended("a"))

    with pytest.raises(CompletionTaken) as raised:
        await journal.append("r1", [RunStarted(), ended("a", output=2)], durability).durable()

    assert (raised.value.unit, raised.value.attempt) == ("a/python", 1)
    assert [r.kind for r in await journal.records("r1")][-1] == "attempt_ended"
    await write(journal, "r1", ended("a", attempt=2), ended("a", item=1), ended("b"))
    assert len(await journal.records("r1")) == 6


async def test_a_refused_append_leaves_its_neighbours_alone(journal: Journal) -> None:
    await write(journal, "r1", accepted("r1"), ended("a"))

    tickets = [
        journal.append("r1", [ended("b")], "group"),
        journal.append("r1", [ended("c"), ended("a")], "group"),
        journal.append("r1", [ended("c")], "group"),
        journal.append("r2", [RunStarted()], "group"),
        journal.append("r3", [accepted("r3")], "group"),
    ]
    results = await asyncio.gather(*(t.durable() for t in tickets), return_exceptions=True)

    assert [type(result) for result in results] == [
        type(None),
        CompletionTaken,
        type(None),
        OwnerChanged,
        type(None),
    ]
    units = [record.unit for record in await journal.records("r1")]
    assert units == [None, "a/python", "b/python", "c/python"]
    assert journal.health().refused_total == 2
    assert journal.health().ok


async def test_a_run_is_accepted_once(journal: Journal) -> None:
    await write(journal, "r1", accepted("r1"))
    with pytest.raises(JournalError, match="r1 has been accepted already"):
        await journal.append("r1", [accepted("r1")], "group").durable()
    assert len(await journal.records("r1")) == 1


@pytest.mark.parametrize("durability", ALL)
async def test_an_idempotency_key_is_taken_by_one_run(journal: Journal, durability: str) -> None:
    first = accepted("r1", idempotency_key="k", inputs={"x": 1})
    await journal.append("r1", [first], durability).durable()

    with pytest.raises(KeyTaken) as raised:
        await journal.append("r2", [accepted("r2", idempotency_key="k")], durability).durable()

    assert raised.value.run_id == "r1"
    assert raised.value.digest == request_digest(first.document, {"x": 1})
    use = await journal.find_by_idempotency_key("k")
    assert (use.run_id, use.digest) == ("r1", raised.value.digest)
    assert await journal.run("r2") is None
    assert await journal.find_by_idempotency_key("other") is None


def test_a_request_digest_sees_inputs_and_steps_but_neither_id_nor_order() -> None:
    assert request_digest({"id": "1", "a": 1, "b": 2}, {}) == request_digest({"b": 2, "a": 1}, {})
    assert request_digest({"a": 1}, {}) != request_digest({"a": 2}, {})
    assert request_digest({"a": 1}, {}) != request_digest({"a": 1}, {"x": 1})


async def test_what_cannot_be_encoded_is_refused_by_name_before_anything_is_queued(
    journal: Journal,
) -> None:
    await write(journal, "r1", accepted("r1"))
    for output in (object(), {"big": 2**64}, "\ud800"):
        with pytest.raises(NotAValue, match="run r1: attempt_ended of step 'a'"):
            journal.append("r1", [RunStarted(), ended("a", output=output)], "group")
    with pytest.raises(ValueError, match="durability='quick': one of sync"):
        journal.append("r1", [RunStarted()], "quick")
    assert len(await journal.records("r1")) == 1


async def test_only_the_owner_may_append_and_a_living_owner_keeps_its_runs(make: Make) -> None:
    a, b = make(), make()
    await a.open("owner-a")
    await b.open("owner-b")
    await write(a, "r1", accepted("r1"))

    with pytest.raises(OwnerChanged, match="belongs to owner owner-a"):
        await b.append("r1", [RunStarted()], "group").durable()
    assert not await b.adopt("r1")
    assert (await b.run("r1")).status == "queued"

    await a.close()
    await b.close()


async def test_what_an_interrupted_run_waits_for_is_noted_until_it_is_adopted(make: Make) -> None:
    a, b = make(), make()
    await a.open("owner-a")
    await write(a, "r1", accepted("r1"), RunStarted())
    await b.open("owner-b")
    assert not await b.wait_for("r1", ["mail.send"]), "its owner lives"
    await a.close()
    assert await b.wait_for("r1", ["mail.send", "quotes.rate"])
    assert (await b.run("r1")).waiting_for == ("mail.send", "quotes.rate")
    assert not await b.wait_for("unknown", ["mail.send"])
    assert await b.adopt("r1")
    assert (await b.run("r1")).waiting_for == ()
    await b.close()


async def test_a_dead_owners_run_shows_interrupted_and_is_adopted_once(make: Make) -> None:
    a, b, c = make(), make(), make()
    await a.open("owner-a")
    await write(a, "r1", accepted("r1"), RunStarted())
    await write(a, "r2", accepted("r2"), RunEnded(status="completed"))
    await a.close()
    await b.open("owner-b")
    await c.open("owner-c")

    assert not b.is_alive("owner-a")
    assert b.is_alive("owner-b")
    assert (await b.run("r1")).status == "interrupted"
    assert [row.run_id for row in await b.runs(status="interrupted")] == ["r1"]
    assert (await b.run("r2")).status == "completed"
    assert [owner.id for owner in await b.owners() if not owner.alive] == ["owner-a"]
    assert sorted([await b.adopt("r1"), await c.adopt("r1")]) == [False, True]
    assert not await b.adopt("r2")
    assert not await b.adopt("unknown")
    assert (await c.run("r1")).owner == "owner-b"
    await write(b, "r1", ended("a"))
    assert [r.seq for r in await c.records("r1")] == [1, 2, 3]
    with pytest.raises(OwnerChanged):
        await c.append("r1", [ended("b")], "group").durable()

    await b.close()
    await c.close()


async def test_one_id_holds_one_lease(make: Make) -> None:
    a, b = make(), make()
    await a.open("owner-a")
    with pytest.raises(JournalError, match="owner-a"):
        await b.open("owner-a")
    await a.close()


async def test_controls_reach_the_owner_of_the_run_until_they_are_answered(make: Make) -> None:
    a, visitor = make(), make()
    await a.open("owner-a")
    await write(a, "r1", accepted("r1"))
    await visitor.open(None)
    wish = Control(id="w1", run_id="r1", kind="cancel", body={"steps": ["a"]}, by="me", at_ns=5)

    await visitor.request(wish)
    await visitor.request(replace(wish, body={"steps": ("a",)}, by="another", at_ns=6))
    assert await a.controls(wait_s=5.0) == [wish]
    assert await a.controls() == [wish]

    await a.answer("w1", "done")
    await a.answer("w1", "again")
    assert await a.controls() == []
    assert (await visitor.control("w1")).answer == "done"
    assert await visitor.control("w2") is None
    with pytest.raises(IdempotencyMismatch, match="w1"):
        await visitor.request(Control(id="w1", run_id="r1", kind="pause"))
    with pytest.raises(CommandError, match="run r9"):
        await visitor.request(Control(id="w9", run_id="r9", kind="cancel"))
    await write(a, "r1", RunEnded(status="completed"))
    with pytest.raises(CommandError, match="ended"):
        await visitor.request(Control(id="w3", run_id="r1", kind="cancel"))

    await visitor.close()
    await a.close()


async def test_controls_come_in_the_order_they_were_asked_in(journal: Journal) -> None:
    await write(journal, "r1", accepted("r1"))
    await write(journal, "r2", accepted("r2"))
    for name, run_id in (("z", "r1"), ("a", "r2"), ("m", "r1")):
        await journal.request(Control(id=name, run_id=run_id, kind="pause"))
    assert [wish.id for wish in await journal.controls()] == ["z", "a", "m"]
    with pytest.raises(CommandError, match="'w9' is not in this journal"):
        await journal.answer("w9", "done")
    with pytest.raises(NotAValue, match="control 'w2'"):
        await journal.request(Control(id="w2", run_id="r1", kind="x", body={"a": object()}))


async def test_waiting_for_controls_ends_when_one_comes(make: Make) -> None:
    a, visitor = make(), make()
    await a.open("owner-a")
    await visitor.open(None)
    await write(a, "r1", accepted("r1"))

    waiting = asyncio.ensure_future(a.controls(wait_s=30.0))
    await asyncio.sleep(0)
    await visitor.request(Control(id="w1", run_id="r1", kind="cancel"))
    async with asyncio.timeout(5):
        assert [wish.id for wish in await waiting] == ["w1"]

    await visitor.close()
    await a.close()


async def test_following_sees_what_another_journal_writes(make: Make) -> None:
    a, visitor = make(), make()
    await a.open("owner-a")
    await visitor.open(None)
    await write(a, "r1", accepted("r1"))

    assert [r.seq for r in await visitor.follow("r1", timeout_s=5.0)] == [1]
    following = asyncio.ensure_future(visitor.follow("r1", after=1, timeout_s=30.0))
    await asyncio.sleep(0)
    await write(a, "r1", RunStarted())
    async with asyncio.timeout(5):
        assert [r.kind for r in await following] == ["run_started"]
    assert await visitor.follow("r1", after=2, timeout_s=0.01) == []

    await visitor.close()
    await a.close()


async def test_a_visitor_may_not_append(make: Make) -> None:
    a = make()
    await a.open("owner-a")
    visitor = make()
    await visitor.open(None)
    with pytest.raises(JournalError, match="without an owner"):
        visitor.append("r1", [accepted("r1")], "group")
    await visitor.close()
    await a.close()


async def test_calls_before_open_and_after_close_are_typed(make: Make) -> None:
    journal = make()
    with pytest.raises(NotInitialized):
        journal.append("r1", [accepted("r1")], "group")
    assert not journal.health()
    await journal.open("owner-a")
    assert journal.health()
    await journal.close()
    await journal.close()
    with pytest.raises(Closed):
        await journal.records("r1")
    with pytest.raises(Closed):
        journal.append("r1", [accepted("r1")], "group")
    assert not journal.health()


async def test_what_was_written_is_there_after_opening_again(make: Make) -> None:
    a = make()
    await a.open("owner-a")
    await write(a, "r1", accepted("r1"), RunStarted())
    await a.close()
    await a.open("owner-b")

    assert [r.kind for r in await a.records("r1")] == ["run_accepted", "run_started"]
    assert await a.check() == []
    await a.close()


@pytest.mark.parametrize("durability", ALL)
async def test_records_of_one_kind_are_found_newest_first(
    journal: Journal, durability: str
) -> None:
    for n, run_id in enumerate(("r1", "r2", "r3"), 1):
        events = [
            accepted(run_id),
            *(Judged(step=f"s{i}", verdict="agreed", at_ns=n * 10 + i) for i in range(3)),
        ]
        await write(journal, run_id, *events, durability=durability)

    def steps(record: Record) -> str | None:
        assert isinstance(record.event, Judged)
        return None if record.event.step == "s1" else f"{record.run_id}.{record.event.step}"

    assert await journal.find("judged", steps) == [
        "r3.s2",
        "r3.s0",
        "r2.s2",
        "r2.s0",
        "r1.s2",
        "r1.s0",
    ]
    assert await journal.find("judged", steps, limit=3) == ["r3.s2", "r3.s0", "r2.s2"]
    assert await journal.find("judged", steps, limit=0) == []
    assert await journal.find("judged", steps, run_id="r2") == ["r2.s2", "r2.s0"]
    assert await journal.find("judged", steps, run_id="none") == []
    assert await journal.find("step_ended", steps) == []


async def finish(journal: Journal, run_id: str, at_ns: int, **changes) -> None:
    await write(journal, run_id, accepted(run_id, **changes), RunStarted(at_ns=at_ns - 1))
    await write(journal, run_id, RunEnded(at_ns=at_ns, status="completed"))


async def ids(journal: Journal) -> set[str]:
    return {row.run_id for row in await journal.runs()}


async def test_only_runs_that_ended_before_a_time_are_removed_the_oldest_end_first(
    journal: Journal,
) -> None:
    await finish(journal, "late", 5_000)
    await finish(journal, "early", 2_000)
    await finish(journal, "middle", 3_000)
    await write(journal, "running", accepted("running", at_ns=1))

    assert await journal.remove_runs(before_ns=3_001, runs_max=1) == 1
    assert await ids(journal) == {"late", "middle", "running"}
    assert await journal.remove_runs(before_ns=3_001) == 1
    assert await journal.remove_runs(before_ns=3_001) == 0
    assert await ids(journal) == {"late", "running"}
    assert await journal.records("early") == []
    assert await journal.check() == []
    await write(journal, "running", RunStarted())


async def test_nothing_is_removed_where_no_bound_is_given(journal: Journal) -> None:
    await finish(journal, "r1", 2_000)
    assert await journal.remove_runs() == 0
    assert await journal.remove_runs(before_ns=1_000, bytes_max=2**40) == 0
    assert await ids(journal) == {"r1"}


async def test_the_oldest_go_until_the_bytes_fit_and_unfinished_ones_never(
    journal: Journal,
) -> None:
    for n in range(20):
        payload = {"id": "c1", "blob": b"x" * 50_000}
        await finish(journal, f"r{n:02}", 10_000 + n, document=payload)
    await write(journal, "running", accepted("running", document={"id": "c1", "blob": b"x" * 5000}))

    while await journal.remove_runs(bytes_max=500_000, runs_max=3):
        pass

    left = sorted(await ids(journal) - {"running"})
    assert left == [f"r{n:02}" for n in range(20 - len(left), 20)]
    assert 5 <= len(left) <= 9
    while await journal.remove_runs(bytes_max=1, before_ns=10**18):
        pass
    assert await ids(journal) == {"running"}


async def test_wishes_and_idempotency_keys_go_with_their_run(journal: Journal) -> None:
    await write(journal, "r1", accepted("r1", idempotency_key="k"), RunStarted(at_ns=2))
    await journal.request(Control("w", "r1", "pause"))
    await write(journal, "r1", RunEnded(at_ns=3, status="completed"))

    assert await journal.remove_runs(before_ns=4) == 1

    assert await journal.control("w") is None
    assert await journal.find_by_idempotency_key("k") is None
    assert await journal.controls() == []
    await write(journal, "r2", accepted("r2", idempotency_key="k"))
    assert (await journal.find_by_idempotency_key("k")).run_id == "r2"


async def test_a_schedule_is_kept_until_it_is_removed_and_the_same_again_changes_nothing(
    journal: Journal, make: Make
) -> None:
    assert await journal.put_schedule(
        "nightly", {"cron": "0 3 * * *", "doc": {"b": 1, "a": b""}}, 5
    )
    assert await journal.put_schedule("hourly", {"every_s": 3600.0}, 7)
    assert not await journal.put_schedule(
        "nightly", {"doc": {"a": b"", "b": 1}, "cron": "0 3 * * *"}, 99
    )

    other = make()
    await other.open(None)
    assert [(row.name, row.done_ns) for row in await other.schedules()] == [
        ("hourly", 7),
        ("nightly", 5),
    ]
    assert (await other.schedules())[1].body["doc"] == {"b": 1, "a": b""}
    assert await other.put_schedule("nightly", {"cron": "0 4 * * *"}, 3)  # never back in time
    assert await other.put_schedule("hourly", {"every_s": 60.0}, 9)
    assert [row.done_ns for row in await journal.schedules()] == [9, 5]
    assert await other.remove_schedule("nightly")
    assert not await other.remove_schedule("nightly")
    assert [row.name for row in await journal.schedules()] == ["hourly"]
    await other.close()


async def test_an_occurrence_is_decided_by_one_owner_only(journal: Journal, make: Make) -> None:
    other = make()
    await other.open("owner-b")
    await journal.put_schedule("s", {}, 10)

    both = await asyncio.gather(
        journal.claim_occurrence("s", done_ns=10, at_ns=20),
        other.claim_occurrence("s", done_ns=10, at_ns=20),
    )
    assert sorted(both) == [False, True]
    winner, loser = (journal, other) if both[0] else (other, journal)
    assert await winner.claim_occurrence("s", done_ns=10, at_ns=20)  # asking again is allowed
    assert not await loser.settle_occurrence("s", at_ns=20, run_id="wrong")
    assert await winner.settle_occurrence("s", at_ns=20, run_id="r1", left_out=2)
    assert not await winner.settle_occurrence("s", at_ns=20, run_id="r1")

    assert not await loser.claim_occurrence("s", done_ns=10, at_ns=20)  # it saw too little
    assert not await loser.claim_occurrence("s", done_ns=20, at_ns=20)
    assert await loser.claim_occurrence("s", done_ns=20, at_ns=30)
    assert await loser.settle_occurrence("s", at_ns=30, left_out=1)
    (row,) = await journal.schedules()
    assert (row.done_ns, row.last_run, row.fired, row.left_out) == (30, "r1", 1, 3)
    await other.close()


async def test_a_dead_owners_claim_is_taken_over(journal: Journal, make: Make) -> None:
    other = make()
    await other.open("owner-b")
    await journal.put_schedule("s", {}, 10)
    assert await other.claim_occurrence("s", done_ns=10, at_ns=20)
    assert not await journal.claim_occurrence("s", done_ns=10, at_ns=20)
    await other.close()

    assert await journal.claim_occurrence("s", done_ns=10, at_ns=20)
    assert await journal.settle_occurrence("s", at_ns=20, run_id="r1")


async def test_a_schedule_that_is_replaced_or_removed_ends_the_claim(journal: Journal) -> None:
    await journal.put_schedule("s", {}, 10)
    assert await journal.claim_occurrence("s", done_ns=10, at_ns=20)
    await journal.put_schedule("s", {"new": True}, 15)
    assert not await journal.settle_occurrence("s", at_ns=20, run_id="r1")
    assert not await journal.claim_occurrence("t", done_ns=10, at_ns=20)
    assert await journal.claim_occurrence("s", done_ns=15, at_ns=20)
    await journal.remove_schedule("s")
    assert not await journal.settle_occurrence("s", at_ns=20, run_id="r1")


async def test_the_newest_run_of_a_schedule_stays(journal: Journal) -> None:
    await journal.put_schedule("s", {}, 10)
    for n in (1, 2):
        await finish(journal, f"r{n}", n * 1_000)
        assert await journal.claim_occurrence("s", done_ns=n * 10, at_ns=n * 10 + 10)
        assert await journal.settle_occurrence("s", at_ns=n * 10 + 10, run_id=f"r{n}")

    assert await journal.remove_runs(before_ns=10**9) == 1
    assert await ids(journal) == {"r2"}


async def test_who_has_no_lease_may_decide_nothing(journal: Journal, make: Make) -> None:
    other = make()
    await other.open(None)
    await journal.put_schedule("s", {}, 10)
    with pytest.raises(JournalError, match="without an owner"):
        await other.claim_occurrence("s", done_ns=10, at_ns=20)
    with pytest.raises(NotAValue, match="schedule 's'"):
        await other.put_schedule("s", {"x": object()}, 1)
    await other.close()
