"""What a journal in PostgreSQL promises beside the contract of all journals."""

import asyncio
import builtins
import struct
import sys
from collections.abc import AsyncIterator

import psycopg
import pytest

from tandem_orchestrator.errors import JournalError, NotAValue
from tandem_orchestrator.journal import Bounds, OwnerChanged, postgres_journal
from tandem_orchestrator.journal.postgres import PostgresJournal, schema
from tandem_orchestrator.journal.postgres.arrays import Blobs, Booleans, Floats, Integers, Texts
from tandem_orchestrator.journal.postgres.connection import Place, connect, select
from tandem_orchestrator.journal.postgres.transaction import Transaction
from tandem_orchestrator.model.events import RunEnded, RunStarted
from tandem_orchestrator.testing.journal_events import accepted, ended
from tandem_orchestrator.testing.postgres_server import PostgresServer


@pytest.fixture
async def journal(postgres_url: str) -> AsyncIterator[PostgresJournal]:
    one = postgres_journal(postgres_url)
    await one.open("owner-a")
    yield one
    await one.close()


def ask(url: str, query: str) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


async def test_eight_that_open_an_empty_database_at_once_make_the_tables_once(
    postgres_url: str,
) -> None:
    journals = [postgres_journal(postgres_url) for _ in range(8)]
    await asyncio.gather(*(one.open(f"owner-{n}") for n, one in enumerate(journals)))
    assert ask(postgres_url, "SELECT version FROM tandem.schema_version") == [
        (schema.SCHEMA_VERSION,)
    ]
    owners = await journals[0].owners()
    assert {owner.id for owner in owners if owner.alive} == {f"owner-{n}" for n in range(8)}
    assert len({owner.token for owner in owners}) == 8
    await asyncio.gather(*(one.close() for one in journals))


async def test_who_only_reads_makes_no_tables(postgres_url: str) -> None:
    visitor = postgres_journal(postgres_url)
    await visitor.open(None)
    assert await visitor.runs() == []
    assert await visitor.check() == []
    assert ask(postgres_url, "SELECT to_regnamespace('tandem')") == [(None,)]
    await visitor.close()


async def test_a_script_that_is_added_is_carried_out_on_a_database_that_is_there(
    journal: PostgresJournal, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.append("r1", [accepted("r1")], "group").durable()
    more = (*schema.MIGRATIONS, "CREATE TABLE added (n bigint)")
    monkeypatch.setattr(schema, "MIGRATIONS", more)
    monkeypatch.setattr(schema, "SCHEMA_VERSION", len(more))
    newer = postgres_journal(postgres_url)
    await newer.open("owner-b")
    assert [record.seq for record in await newer.records("r1")] == [1]
    assert ask(postgres_url, "SELECT max(version) FROM tandem.schema_version") == [(len(more),)]
    assert ask(postgres_url, "SELECT count(*) FROM tandem.added") == [(0,)]
    await newer.close()


async def test_tables_of_a_newer_tandem_are_refused(
    journal: PostgresJournal, postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("INSERT INTO tandem.schema_version (version) VALUES (99)")
    other = postgres_journal(postgres_url)
    with pytest.raises(JournalError, match="version 99 and were made by a newer Tandem"):
        await other.open("owner-b")
    await other.open(None)
    with pytest.raises(JournalError, match="newer Tandem"):
        await other.runs()
    await other.close()


async def test_tables_of_another_program_are_refused(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA tandem; CREATE TABLE tandem.runs (n int)")
    journal = postgres_journal(postgres_url)
    with pytest.raises(JournalError, match="another program's tables"):
        await journal.open("owner-a")


async def test_a_database_of_another_encoding_is_refused(postgres_server: PostgresServer) -> None:
    postgres_server.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        with pytest.raises(JournalError, match="encoding LATIN1; UTF8 is needed"):
            await postgres_journal(postgres_server.url("latin")).open("owner-a")
    finally:
        postgres_server.execute("DROP DATABASE latin WITH (FORCE)")


async def test_a_server_told_to_answer_before_the_flush_does_not_for_us(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    postgres_server.execute("ALTER ROLE tandem SET synchronous_commit = off")
    try:
        assert ask(postgres_url, "SHOW synchronous_commit") == [("off",)]
        session = connect(Place(postgres_url), application="t", lock_wait_s=1.0, idle_s=1.0)
        assert session.execute("SHOW synchronous_commit").fetchall() == [("on",)]
        session.close()
    finally:
        postgres_server.execute("ALTER ROLE tandem RESET synchronous_commit")


async def test_a_changed_bit_is_found(journal: PostgresJournal, postgres_url: str) -> None:
    for run_id in ("r1", "r2", "r3"):
        await journal.append(run_id, [accepted(run_id), ended("a")], "group").durable()
    await journal.put_schedule("s", {"n": 1}, 5)
    assert await journal.check() == []
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE tandem.records SET body = set_byte(body, 3, get_byte(body, 3) # 1)"
            " WHERE seq = 2 AND run = (SELECT id FROM tandem.runs WHERE run_id = 'r1')"
        )
        connection.execute("UPDATE tandem.runs SET steps_total = 7 WHERE run_id = 'r2'")
        connection.execute("DELETE FROM tandem.runs WHERE run_id = 'r3'")
        connection.execute("UPDATE tandem.schedules SET done_ns = 6")
        connection.execute("UPDATE tandem.leases SET pid = pid + 1")

    faults = "\n".join(await journal.check())

    assert "run r1, record 2 was changed" in faults
    assert "run r2: its row says steps_total 7" in faults
    assert "have no row in runs" in faults
    assert "schedule 's' was changed" in faults
    assert "lease 1 was changed" in faults
    with pytest.raises(JournalError, match="run r1, record 2 was changed, lost or damaged"):
        await journal.records("r1")


async def test_a_zero_character_in_a_name_is_refused_by_name(journal: PostgresJournal) -> None:
    with pytest.raises(NotAValue, match="run r1: run_accepted has a name with a zero character"):
        journal.append("r1", [accepted("r1", name="a\0b")], "group")
    await journal.append("r1", [accepted("r1")], "group").durable()
    with pytest.raises(NotAValue, match="run r1: attempt_ended"):
        journal.append("r1", [ended("a\0")], "group")
    await journal.append("r1", [ended("a", output="\0")], "group").durable()


async def test_a_commit_whose_answer_was_lost_is_known_and_not_written_again(
    journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.append("r1", [accepted("r1")], "group").durable()
    together, lost = Transaction._together, []

    def lose_the_answer(self, connection, appends, known):
        result = together(self, connection, appends, known)
        if not lost:
            lost.append(len(appends))
            connection.close()
            raise psycopg.OperationalError("the server closed the connection unexpectedly")
        return result

    monkeypatch.setattr(Transaction, "_together", lose_the_answer)
    await journal.append("r1", [RunStarted(), ended("a")], "group").durable()
    await journal.append("r1", [ended("b")], "group").durable()

    assert lost == [1]
    assert [record.seq for record in await journal.records("r1")] == [1, 2, 3, 4]
    assert await journal.check() == []
    assert journal.health()


async def test_a_write_that_failed_before_its_commit_is_written_once(
    journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    await journal.append("r1", [accepted("r1")], "group").durable()
    together, failed = Transaction._together, []

    def fail_first(self, connection, appends, known):
        if not failed:
            failed.append(True)
            connection.close()
        return together(self, connection, appends, known)

    monkeypatch.setattr(Transaction, "_together", fail_first)
    await journal.append("r1", [ended("a")], "group").durable()
    assert [record.seq for record in await journal.records("r1")] == [1, 2]
    assert await journal.check() == []


async def test_an_append_to_a_run_that_was_taken_over_is_refused_by_the_database(
    journal: PostgresJournal, postgres_url: str
) -> None:
    await journal.append("r1", [accepted("r1")], "group").durable()
    await journal.append("r2", [accepted("r2")], "group").durable()
    other = postgres_journal(postgres_url)
    await other.open("owner-b")
    # As if the first had paused for longer than its lease: the row alone says so, not its memory.
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE tandem.leases SET expires_at = now() - interval '1 s' WHERE owner = 'owner-a'"
        )
    assert await other.adopt("r1")

    tickets = [journal.append(run_id, [RunStarted()], "group") for run_id in ("r1", "r2")]
    with pytest.raises(OwnerChanged, match="belongs to owner owner-b"):
        await tickets[0].durable()
    await tickets[1].durable()  # the run that nobody took is ours as before

    await other.append("r1", [RunEnded(status="completed")], "group").durable()
    assert [r.kind for r in await other.records("r1")] == ["run_accepted", "run_ended"]
    assert await other.check() == []
    await other.close()


async def test_a_living_owners_run_cannot_be_taken_while_it_writes(
    journal: PostgresJournal, postgres_url: str
) -> None:
    other = postgres_journal(postgres_url, lease_s=1.0)
    await other.open("owner-b")
    await other.append("r1", [accepted("r1")], "group").durable()
    for n in range(30):
        await other.append("r1", [ended(f"s{n}")], "group").durable()
        assert not await journal.adopt("r1")
    await other.close()
    assert await journal.adopt("r1")


async def test_without_psycopg_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if "journal.postgres" in name]:
        monkeypatch.delitem(sys.modules, name)
    imported = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> object:
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return imported(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(JournalError, match=r"pip install 'tandem-orchestrator\[postgres\]'"):
        postgres_journal("postgresql://host/db")


async def test_the_bounds_hold(postgres_url: str) -> None:
    journal = PostgresJournal(postgres_url, bounds=Bounds(event_bytes_max=1000))
    await journal.open("owner-a")
    with pytest.raises(NotAValue, match="event_bytes_max"):
        journal.append("r1", [accepted("r1", document={"x": b"y" * 2000})], "group")
    assert journal.health().commit_seconds_max == 0.0
    await journal.append("r1", [accepted("r1")], "sync").durable()
    health = journal.health()
    assert (health.kind, health.commits_total, health.events_total) == ("postgres", 1, 1)
    assert health.commit_seconds_p50 > 0
    await journal.close()
    with pytest.raises(ValueError, match=r"lease_s=0.5: 1 or more"):
        PostgresJournal(postgres_url, lease_s=0.5)


def test_arrays_are_read_by_the_server_as_they_were_packed(postgres_url: str) -> None:
    session = connect(Place(postgres_url), application="t", lock_wait_s=1.0, idle_s=1.0)
    rows = select(
        session,
        "SELECT * FROM unnest(%s, %s, %s, %s, %s)",
        (
            Integers([1, None, -(2**63)]),
            Texts(["ä", None, ""]),
            Blobs([b"\0\xff", b"", b"x" * 100_000]),
            Floats([0.5, None, float("inf")]),
            Booleans([True, False, True]),
        ),
    )
    assert rows == [
        (1, "ä", b"\0\xff", 0.5, True),
        (None, None, b"", None, False),
        (-(2**63), "", b"x" * 100_000, float("inf"), True),
    ]
    assert select(session, "SELECT * FROM unnest(%s, %s)", (Integers([]), Texts([]))) == []
    with pytest.raises(struct.error):
        Integers([2**63])
    session.close()
