"""The server is killed, stopped, refused, full, or away for long: nothing acknowledged is lost."""

import asyncio
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal import Bounds, postgres_journal
from tandem_orchestrator.journal.postgres import PostgresJournal
from tandem_orchestrator.model.events import RunStarted
from tandem_orchestrator.testing.journal_events import accepted, ended
from tandem_orchestrator.testing.postgres_server import PostgresServer

SECRET = "wry%@/:?#s3cret"
RUNS = 4


@pytest.fixture
def server(postgres_server: PostgresServer, postgres_url: str) -> Iterator[PostgresServer]:
    """The session's server; it runs again afterwards, whatever the test did to it."""
    yield postgres_server
    if postgres_server.pid is None:
        postgres_server.start()


@pytest.fixture
async def journal(server: PostgresServer) -> AsyncIterator[PostgresJournal]:
    one = postgres_journal(server.url(), bounds=Bounds(lock_wait_s=20.0), lease_s=30.0)
    await one.open("owner-a")
    yield one
    await one.close()


async def work(journal: PostgresJournal, run_id: str, told: dict[str, int]) -> None:
    """Append for ever, and note what was acknowledged."""
    await journal.append(run_id, [accepted(run_id)], "group").durable()
    n = told[run_id] = 1
    while True:
        n += 1
        event = ended(f"s{n}", output=b"x" * (n * 37 % 3000))
        await journal.append(run_id, [event], "sync" if n % 10 == 0 else "group").durable()
        told[run_id] = n


async def until_more(told: dict[str, int], by: int) -> None:
    wanted = sum(told.values()) + by
    async with asyncio.timeout(30):
        while sum(told.values()) < wanted or len(told) < RUNS:
            await asyncio.sleep(0.002)


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT])
async def test_nothing_acknowledged_is_lost_when_the_server_dies_under_load_and_all_goes_on(
    server: PostgresServer, journal: PostgresJournal, by: signal.Signals
) -> None:
    told: dict[str, int] = {}
    clients = [asyncio.create_task(work(journal, f"r{k}", told)) for k in range(RUNS)]
    for pause_s in (0.0, 0.003):
        await until_more(told, 30)
        await asyncio.sleep(pause_s)
        server.stop(by)
        server.start()
    await until_more(told, 30)
    assert not any(client.done() for client in clients)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    await journal.flush()

    assert journal.health(), journal.health().reason
    assert await journal.check() == []
    for run_id, acknowledged in told.items():
        records = await journal.records(run_id)
        # One more may have been under way when its client was cancelled; none is there twice.
        assert acknowledged <= len(records) <= acknowledged + 1
        assert [r.unit for r in records[1:]] == [f"s{r.seq}/python" for r in records[1:]]
        assert (await journal.run(run_id)).owner == "owner-a"


async def test_a_server_that_stays_away_is_told_and_its_runs_go_on_when_it_is_back(
    server: PostgresServer,
) -> None:
    journal = postgres_journal(server.url(), bounds=Bounds(lock_wait_s=0.5), lease_s=30.0)
    await journal.open("owner-a")
    for run_id in ("kept", "left"):
        await journal.append(run_id, [accepted(run_id), RunStarted()], "group").durable()
    server.stop()

    with pytest.raises(JournalError, match="the server is away") as raised:
        await journal.append("left", [ended("a")], "group").durable()
    assert "goes on when it is back" in str(raised.value)
    assert not journal.health()
    assert journal.health().reason == str(raised.value)
    with pytest.raises(JournalError, match="the server is away"):
        await journal.runs()
    with pytest.raises(JournalError):
        await journal.append("left", [ended("b")], "group").durable()

    server.start()
    async with asyncio.timeout(20):
        while not journal.health():
            await asyncio.sleep(0.01)
    await journal.append("kept", [ended("a")], "group").durable()
    assert (await journal.run("kept")).owner == "owner-a.1"
    # What was appended in vain left its run behind: it is taken up as a dead owner's.
    assert (await journal.run("left")).status == "interrupted"
    assert await journal.adopt("left")
    await journal.append("left", [ended("a")], "group").durable()
    assert [r.seq for r in await journal.records("left")] == [1, 2, 3]
    assert await journal.check() == []
    await journal.close()


async def test_a_read_waits_for_a_server_that_starts_anew(
    server: PostgresServer, journal: PostgresJournal
) -> None:
    await journal.append("r", [accepted("r")], "group").durable()
    assert len(await journal.runs()) == 1
    server.stop(signal.SIGKILL)
    reading = asyncio.create_task(journal.records("r"))
    await asyncio.sleep(0.02)
    server.start()
    assert [record.seq for record in await reading] == [1]


async def test_an_idle_journal_notices_that_the_server_is_away_and_back(
    server: PostgresServer,
) -> None:
    journal = postgres_journal(server.url(), lease_s=1.0)
    await journal.open("owner-a")
    server.stop(signal.SIGQUIT)
    async with asyncio.timeout(10):
        while journal.health():
            await asyncio.sleep(0.01)
    assert "renewing the lease" in journal.health().reason
    server.start()
    async with asyncio.timeout(10):
        while not journal.health():
            await asyncio.sleep(0.01)
    await journal.append("r", [accepted("r")], "group").durable()
    assert (await journal.run("r")).owner == "owner-a"
    await journal.close()


async def test_closing_while_the_server_is_away_takes_no_time_and_says_what_was_not_written(
    server: PostgresServer,
) -> None:
    journal = postgres_journal(server.url(), bounds=Bounds(lock_wait_s=60.0))
    await journal.open("owner-a")
    await journal.append("r", [accepted("r")], "group").durable()
    server.stop()
    ticket = journal.append("r", [RunStarted()], "group")
    async with asyncio.timeout(5):
        await journal.close()
        with pytest.raises(JournalError, match="the server is away"):
            await ticket.durable()
    server.start()
    await journal.open("owner-b")
    assert [record.seq for record in await journal.records("r")] == [1]
    await journal.close()


async def test_refusals_at_open_are_typed_and_show_no_password(
    server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    hba = server.data / "pg_hba.conf"
    before = hba.read_text()
    server.execute("CREATE ROLE guarded LOGIN PASSWORD 'another'")
    hba.write_text("local all guarded scram-sha-256\n" + before)
    server.execute("SELECT pg_reload_conf()")
    shown = {
        "wrong password": server.url(user="guarded", password=SECRET),
        "no such role": server.url(user="nobody-here", password=SECRET),
        "no such database": server.url("not_there", password=SECRET),
        "nobody listens": f"postgresql://u:{'s3cret%40x'}@127.0.0.1:1/db",
        "no such place": f"postgresql://u:s3cret@/db?host=/nowhere&password={'s3cret'}",
        "no URL": "postgresql://u:s3cret@[oops/db",
        "bad option": "postgresql://u:s3cret@h/db?nonsense=1",
    }
    try:
        for why, url in shown.items():
            journal = postgres_journal(url)
            with pytest.raises(JournalError) as raised:
                await journal.open("owner-a")
            texts = [str(raised.value), repr(raised.value), repr(journal.health())]
            texts += [str(raised.value.__cause__), str(raised.value.__context__)]
            for text in texts:
                assert "s3cret" not in text, why
            assert "postgresql://" in texts[0], why
            assert "\n" not in texts[0], why
        assert "s3cret" not in caplog.text
        with pytest.raises(JournalError, match="PGPASSWORD"):
            await postgres_journal(shown["wrong password"]).open("owner-a")
        with pytest.raises(JournalError, match="make the database and the role first"):
            await postgres_journal(shown["no such database"]).open("owner-a")
        with pytest.raises(JournalError, match="the role needs CREATE on the database"):
            await postgres_journal(server.url(user="guarded", password="another")).open("owner-a")
    finally:
        hba.write_text(before)
        server.execute("DROP ROLE guarded")
        server.execute("SELECT pg_reload_conf()")


async def test_a_server_whose_disk_is_full_is_told_and_writes_again_when_there_is_room(
    server: PostgresServer,
) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", name],
            check=False, capture_output=True,
        )  # fmt: skip
        if mounted.returncode != 0:
            pytest.skip(f"no small file system here: {mounted.stderr.decode().strip()}")
        try:
            await fill_up(server, Path(name))
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


async def large(journal: PostgresJournal, told: dict[str, int]) -> None:
    for n in range(10_000):
        event = ended(f"s{n}", output=os.urandom(5_000))
        await journal.append("r", [event], "group").durable()
        told["r"] += 1


async def fill_up(server: PostgresServer, place: Path) -> None:
    space = place / "space"
    space.mkdir()
    owner = server.data.stat()
    os.chown(space, owner.st_uid, owner.st_gid)
    server.execute(f"CREATE TABLESPACE small LOCATION '{space}'")
    server.execute("CREATE DATABASE full_up TABLESPACE small")
    url = server.url("full_up")
    journal = postgres_journal(url, bounds=Bounds(lock_wait_s=0.3), lease_s=30.0)
    try:
        await journal.open("owner-a")
        await journal.append("r", [accepted("r")], "group").durable()
        ballast = place / "ballast"
        room = os.statvfs(place)
        ballast.write_bytes(b"x" * (room.f_bavail * room.f_frsize - 2**20))
        told = {"r": 1}
        with pytest.raises(JournalError, match="the server is full; make room") as raised:
            await large(journal, told)
        acknowledged = told["r"]
        assert "DiskFull" in str(raised.value)
        assert not journal.health()

        ballast.unlink()
        async with asyncio.timeout(20):
            while not journal.health():
                await asyncio.sleep(0.01)
        assert len(await journal.records("r")) == acknowledged
        assert await journal.adopt("r")
        await journal.append("r", [ended("after")], "group").durable()
        assert await journal.check() == []
    finally:
        await journal.close()
        server.execute("DROP DATABASE full_up WITH (FORCE)")
        server.execute("DROP TABLESPACE small")
