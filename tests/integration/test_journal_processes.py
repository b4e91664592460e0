"""One journal file, several real processes."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tandem_orchestrator.errors import Forked, JournalError
from tandem_orchestrator.journal import Control
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.testing.journal_events import accepted, ended

PROCESSES = 8
RUNS = 4
EVENTS = 60

BUSY = f"""
import asyncio, sys
from pathlib import Path
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.testing.journal_events import accepted, ended

async def work(journal, run_id):
    await journal.append(run_id, [accepted(run_id)], "group").durable()
    for n in range({EVENTS}):
        await journal.append(run_id, [ended(f"s{{n}}")], ("group", "sync")[n % 10 == 0]).durable()
        if n % 20 == 0:
            assert len(await journal.records(run_id)) == n + 2
            await journal.runs(limit=5)

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    await journal.open(sys.argv[2])
    async with asyncio.TaskGroup() as group:
        for k in range({RUNS}):
            group.create_task(work(journal, f"{{sys.argv[2]}}-r{{k}}"))
    await journal.close()
    print("slowest", journal.health().commit_seconds_max)

asyncio.run(main())
"""

IDLE = """
import asyncio, sys
from pathlib import Path
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.testing.journal_events import accepted

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    await journal.open("other")
    await journal.append("r", [accepted("r")], "group").durable()
    print("ready", flush=True)
    while True:
        for wish in await journal.controls(wait_s=60.0):
            await journal.answer(wish.id, f"{wish.kind} taken up")

asyncio.run(main())
"""

FORKING = """
import asyncio, os, signal, sys
from pathlib import Path
from tandem_orchestrator.journal.sqlite import SqliteJournal

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    await journal.open("other")
    pid = os.fork()
    if pid == 0:
        os.read(0, 1)  # lives until the test closes the pipe
        os._exit(0)
    print(pid, flush=True)
    signal.pause()

asyncio.run(main())
"""

UNCLOSED = """
import asyncio, sys
from pathlib import Path
from tandem_orchestrator.journal import Bounds
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.testing.journal_events import accepted, ended

async def main():
    journal = SqliteJournal(Path(sys.argv[1]), bounds=Bounds(sync_interval_ms=60_000.0))
    await journal.open("other")
    journal.append("r", [accepted("r")], "async")
    for n in range(500):
        journal.append("r", [ended(f"s{n}")], "async")
    return journal

kept = asyncio.run(main())
"""


def start(code: str, *arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def opened(path: Path, owner: str | None = "here") -> SqliteJournal:
    journal = SqliteJournal(path)
    await journal.open(owner)
    return journal


@pytest.fixture
def other(tmp_path: Path):
    """Another process that owns the run ``r`` and takes up what is asked of it."""
    child = start(IDLE, tmp_path / "j.db")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    yield child
    child.kill()
    child.communicate(timeout=10)


async def test_eight_processes_on_one_new_file_never_meet_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "state" / "j.db"
    children = [start(BUSY, path, f"p{n}") for n in range(PROCESSES)]
    for child in children:
        out, err = await asyncio.to_thread(child.communicate, timeout=50)
        assert child.returncode == 0, err
        assert re.match(r"slowest \d", out)

    journal = await opened(path)
    rows = await journal.runs(limit=100)
    assert len(rows) == PROCESSES * RUNS
    assert {row.records for row in rows} == {EVENTS + 1}
    assert await journal.check() == []
    assert [owner.id for owner in await journal.owners() if owner.alive] == ["here"]
    await journal.close()


async def test_a_wish_from_another_process_is_taken_up_within_a_second(
    tmp_path: Path, other: subprocess.Popen
) -> None:
    journal = await opened(tmp_path / "j.db", None)
    began = time.monotonic()
    await journal.request(Control(id="w1", run_id="r", kind="cancel"))
    async with asyncio.timeout(10):
        while (await journal.control("w1")).answer is None:
            await asyncio.sleep(0.005)
    assert time.monotonic() - began < 1.0
    assert (await journal.control("w1")).answer == "cancel taken up"
    await journal.close()


async def test_a_killed_owner_is_dead_at_once_and_a_stopped_one_is_not(
    tmp_path: Path, other: subprocess.Popen
) -> None:
    journal = await opened(tmp_path / "j.db")
    assert journal.is_alive("other")
    other.send_signal(signal.SIGSTOP)
    assert journal.is_alive("other")
    assert not await journal.adopt("r")
    other.kill()
    other.wait(10)

    assert not journal.is_alive("other")
    assert (await journal.run("r")).status == "interrupted"
    assert await journal.adopt("r")
    await journal.append("r", [ended("s")], "group").durable()
    await journal.close()


async def test_a_journal_that_is_never_closed_flushes_at_exit_within_a_second(
    tmp_path: Path,
) -> None:
    child = start(UNCLOSED, tmp_path / "j.db")
    _, err = await asyncio.to_thread(child.communicate, timeout=20)
    assert (child.returncode, err) == (0, "")

    journal = await opened(tmp_path / "j.db")
    assert len(await journal.records("r")) == 501
    assert (await journal.run("r")).status == "interrupted"
    await journal.close()


async def test_a_forked_child_gets_a_typed_error_and_keeps_no_owner_alive(tmp_path: Path) -> None:
    journal = await opened(tmp_path / "j.db")
    await journal.append("r", [accepted("r")], "group").durable()
    await journal.records("r")
    told, tell = os.pipe()
    hold, release = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child must not return into pytest
        answer = b"no error"
        try:
            journal.append("r", [ended("s")], "group")
        except Forked as error:
            answer = b"Forked" if "opened by process" in str(error) else b"unclear"
        finally:
            os.write(tell, answer)
            os.close(release)
            os.read(hold, 1)
            os._exit(0)
    os.close(hold)

    assert await asyncio.to_thread(os.read, told, 100) == b"Forked"
    await journal.append("r", [ended("s")], "group").durable()
    assert journal.is_alive("here")
    await journal.close()
    assert not journal.is_alive("here")  # while the child still lives
    for descriptor in (release, told, tell):
        os.close(descriptor)
    os.waitpid(pid, 0)


async def test_a_child_that_outlives_its_parent_does_not_keep_the_owner_alive(
    tmp_path: Path,
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(tmp_path / "j.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    grandchild = int(await asyncio.to_thread(child.stdout.readline))
    journal = await opened(tmp_path / "j.db")
    assert journal.is_alive("other")
    child.kill()
    child.wait(10)

    os.kill(grandchild, 0)  # it is there
    assert not journal.is_alive("other")
    child.stdin.close()
    child.stdout.close()
    await journal.close()


async def test_a_visitor_does_not_make_a_file_and_sees_it_once_it_is_there(tmp_path: Path) -> None:
    path = tmp_path / "state" / "j.db"
    visitor = await opened(path, None)
    assert await visitor.runs() == []
    assert await visitor.run("r") is None
    assert await visitor.check() == []
    with pytest.raises(JournalError, match="does not exist"):
        await visitor.request(Control(id="w", run_id="r", kind="cancel"))
    assert not path.parent.exists()

    journal = await opened(path)
    await journal.append("r", [accepted("r")], "group").durable()
    assert [row.run_id for row in await visitor.runs()] == ["r"]
    await journal.close()
    await visitor.close()


async def test_the_file_and_its_folder_are_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "j.db"
    before = os.umask(0)
    try:
        journal = await opened(path)
        await journal.append("r", [accepted("r")], "group").durable()
        modes = {
            str(each.relative_to(tmp_path)): oct(each.stat().st_mode & 0o777)
            for each in tmp_path.rglob("*")
        }
        await journal.close()
    finally:
        os.umask(before)

    assert modes.pop("state") == "0o700"
    assert modes.pop("state/j.db.leases") == "0o700"
    assert set(modes.values()) == {"0o600"}
    assert {"state/j.db", "state/j.db-wal", "state/j.db-shm"} <= set(modes)
    assert [each.name for each in path.parent.iterdir() if each.is_file()] == ["j.db"]


async def test_runs_without_durability_stay_in_this_process(tmp_path: Path) -> None:
    journal, visitor = await opened(tmp_path / "j.db"), await opened(tmp_path / "j.db", None)
    await journal.append("kept", [accepted("kept", at_ns=1)], "group").durable()
    first = accepted("mine", at_ns=2, idempotency_key="k")
    await journal.append("mine", [first, ended("s")], "none").durable()

    assert [row.run_id for row in await journal.runs()] == ["mine", "kept"]
    assert [row.run_id for row in await journal.runs(before="mine")] == ["kept"]
    assert [record.seq for record in await journal.follow("mine", after=1)] == [2]
    assert [row.run_id for row in await visitor.runs()] == ["kept"]
    await journal.request(Control(id="w", run_id="mine", kind="cancel"))
    assert [wish.id for wish in await journal.controls()] == ["w"]
    await journal.answer("w", "done")
    assert (await journal.control("w")).answer == "done"

    await journal.close()
    assert [row.run_id for row in await visitor.runs()] == ["kept"]
    await visitor.close()


def test_importing_tandem_does_not_load_sqlite() -> None:
    code = "import sys, tandem_orchestrator, tandem_orchestrator.journal; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "tandem_orchestrator.journal.journal" in done.stdout.split()
    assert "apsw" not in done.stdout.split()
