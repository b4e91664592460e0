"""A disk that fails under running programs: nothing acknowledged is lost, nothing else is claimed.

What was acknowledged is what a caller got back before the failure; what is there is what another
orchestrator finds in the file afterwards.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, JournalError, TandemOrchestrator
from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.journal import Journal
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.model.events import AttemptStarted
from tandem_orchestrator.settings import Settings
from tandem_orchestrator.testing.journal_disk import FaultyDisk

WAIT_S = 20.0
FULL = "the disk is full; make room: a journal that is open goes on then"
BROKEN = "open the journal again to read what is there"


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    with FaultyDisk() as one:
        yield one


@pytest.fixture
def on_disk(disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    """Let every orchestrator's journal lie on the faulty disk."""

    def make(settings: Settings) -> Journal:
        return SqliteJournal(Path(str(settings.journal.path)), vfs=disk.name)

    monkeypatch.setattr("tandem_orchestrator.orchestrator.parts.make_journal", make)
    return disk


def open_on(path: Path) -> TandemOrchestrator:
    return TandemOrchestrator({"journal": {"path": str(path)}, "c_layer": {"enabled": False}})


class Counter:
    """An agent with an external action that counts how often it was really called."""

    def __init__(self, tandem: TandemOrchestrator) -> None:
        self.calls: list[Any] = []
        agent = tandem.register_agent("t")

        @agent.action("pay", effects="external")
        async def pay(payload: Any) -> Any:
            self.calls.append(payload)
            return {"paid": payload, "receipt": "x" * 3000}


def paying(n: int) -> CommandSet:
    return CommandSet(
        name=f"n{n}",
        durability="sync" if n % 2 else "group",
        steps=[CommandStep(id="pay", agent="t", action="pay", payload=n)],
    )


@pytest.mark.parametrize(("operation", "full"), [("write", True), ("sync", False)])
@pytest.mark.parametrize(
    "after", [0, 1, 4, *(pytest.param(n, marks=pytest.mark.long) for n in (9, 17))]
)
async def test_a_disk_that_fails_between_runs_loses_nothing_that_was_acknowledged(
    tmp_path: Path, on_disk: FaultyDisk, operation: str, full: bool, after: int
) -> None:
    path, told = tmp_path / "j.db", {}
    tandem = open_on(path)
    await tandem.initialize()
    counter = Counter(tandem)
    on_disk.fail(operation, full=full, after=after)
    refusals = []
    for n in range(12):
        try:
            result = await asyncio.wait_for(tandem.execute_command_set(paying(n)), WAIT_S)
        except JournalError as error:
            refusals.append(str(error))
        else:
            told[result["run_id"]] = result["results"]
    assert refusals and len(told) + len(refusals) == 12
    for refusal in refusals:
        assert str(path) in refusal
        assert (FULL if full else BROKEN) in refusal
    health = tandem.journal_health()
    assert not health and str(path) in health.reason

    on_disk.heal()
    if full:
        async with asyncio.timeout(WAIT_S):
            while not tandem.journal_health():
                await asyncio.sleep(0.02)  # it tries twice a second
        result = await tandem.execute_command_set(paying(99))
        assert result["status"] == "completed" and 99 in counter.calls
        told[result["run_id"]] = result["results"]
    else:
        # After a failed fsync that is not enough: pages may count as clean that never were kept.
        before = len(counter.calls)
        with pytest.raises(JournalError, match=re.escape(str(path))):
            await tandem.execute_command_set(paying(99))
        assert len(counter.calls) == before
    await tandem.close()

    again = open_on(path)
    await again.initialize()
    assert again.journal_health()
    rows = {row.run_id: row for row in await again.runs(limit=100)}
    for run_id, results in told.items():
        assert rows[run_id].status == "completed"
        assert (await again.run(run_id).result())["results"] == results
    may_start = 0
    for run_id in rows:
        view = await again._parts.journal.records(run_id)  # type: ignore[union-attr]
        may_start += sum(isinstance(record.event, AttemptStarted) for record in view)
    assert len(counter.calls) <= may_start  # none ran without a durable word that it may
    second = Counter(again)
    result = await again.execute_command_set(paying(100))
    assert result["status"] == "completed" and 100 in second.calls
    # One that was taken in, though its caller heard of the error only, goes on here: once.
    assert len({*counter.calls, *second.calls}) == len(counter.calls) + len(second.calls)
    await again.close()


async def test_runs_that_a_full_disk_stopped_go_on_in_the_same_program_when_there_is_room(
    tmp_path: Path, on_disk: FaultyDisk
) -> None:
    tandem = open_on(tmp_path / "j.db")
    await tandem.initialize()
    counter, door, begun = Counter(tandem), asyncio.Event(), asyncio.Semaphore(0)
    agent = tandem.register_agent("g")

    @agent.action("wait", effects="none")
    async def wait(payload: Any) -> None:
        begun.release()
        await (door if payload else asyncio.Event()).wait()

    def waiting(n: int) -> CommandSet:
        steps = [
            CommandStep(id="wait", agent="g", action="wait", payload=n),
            CommandStep(id="pay", agent="t", action="pay", payload=n),
        ]
        return CommandSet(name=f"r{n}", type="SEQUENCE", steps=steps)

    async with asyncio.timeout(WAIT_S):
        quiet = await tandem.submit(waiting(0))
        runs = [await tandem.submit(waiting(n)) for n in range(1, 4)]
        for _ in range(4):
            await begun.acquire()
        on_disk.fail("write", full=True)
        door.set()
        results = await asyncio.gather(*(run.result() for run in runs), return_exceptions=True)
        assert {type(result) for result in results} == {JournalError}
        assert counter.calls == [] and not tandem.journal_health()

        on_disk.heal()
        again = [await tandem.run(run.id).result() for run in runs]
        assert {result["status"] for result in again} == {"completed"}
        assert sorted(counter.calls) == [1, 2, 3]
        # What lost nothing was never stopped.
        assert quiet.is_here
        (row,) = [row for row in await tandem.runs() if row.run_id == quiet.id]
        assert row.status == "running"
        await quiet.cancel()
        assert (await quiet.result())["status"] == "cancelled"
    await tandem.close()


async def test_a_run_that_lost_a_record_stops_before_it_is_taken_over(
    tmp_path: Path, on_disk: FaultyDisk
) -> None:
    tandem = open_on(tmp_path / "j.db")
    await tandem.initialize()
    door, begun, log = asyncio.Event(), asyncio.Semaphore(0), []
    agent = tandem.register_agent("g")

    @agent.action("short", effects="none")
    async def short(payload: Any) -> None:
        await door.wait()

    @agent.action("long", effects="none")
    async def long(payload: Any) -> None:
        log.append("begins")
        begun.release()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("ends")

    steps = [CommandStep(id=name, agent="g", action=name, payload={}) for name in ("short", "long")]
    async with asyncio.timeout(WAIT_S):
        run = await tandem.submit(CommandSet(name="r", steps=steps))
        await begun.acquire()
        on_disk.fail("write", full=True)
        door.set()  # its end is written in vain, and nobody waits for that
        while tandem.journal_health():
            await asyncio.sleep(0)
        on_disk.heal()
        with pytest.raises(JournalError, match="not all of it could be written"):
            await run.result()
        await begun.acquire()
        assert log == ["begins", "ends", "begins"]
        await tandem.run(run.id).cancel()
        assert (await tandem.run(run.id).result())["status"] == "cancelled"
    await tandem.close()


async def test_runs_in_progress_end_with_the_error_and_their_next_steps_never_start(
    tmp_path: Path, on_disk: FaultyDisk
) -> None:
    path = tmp_path / "j.db"
    tandem = open_on(path)
    await tandem.initialize()
    counter, door = Counter(tandem), asyncio.Event()
    begun = asyncio.Semaphore(0)
    agent = tandem.register_agent("g")

    @agent.action("wait", effects="none")
    async def wait(payload: Any) -> None:
        begun.release()
        await door.wait()

    steps = [
        CommandStep(id="wait", agent="g", action="wait"),
        CommandStep(id="pay", agent="t", action="pay", payload=1),
    ]
    runs = [
        await tandem.submit(CommandSet(name=f"r{n}", type="SEQUENCE", steps=steps))
        for n in range(4)
    ]
    async with asyncio.timeout(WAIT_S):
        for _ in runs:
            await begun.acquire()
        on_disk.fail("sync", full=True)
        door.set()
        results = await asyncio.gather(*(run.result() for run in runs), return_exceptions=True)
    assert {type(result) for result in results} == {JournalError}
    assert all(str(path) in str(result) for result in results)
    assert counter.calls == []
    await asyncio.wait_for(tandem.close(), WAIT_S)

    on_disk.heal()
    async with open_on(path) as again:
        rows = {row.run_id: row.status for row in await again.runs()}
        assert {rows[run.id] for run in runs} == {"interrupted"}  # known, and not claimed done


# --- at the command line -------------------------------------------------------------------------


@pytest.fixture
def one(tmp_path: Path) -> Path:
    file = tmp_path / "one.json"
    step = {"id": "a", "agent": "system", "action": "echo", "payload": {"x": 1}}
    file.write_text(json.dumps({"name": "one", "steps": [step]}))
    return file


def test_the_command_line_ends_with_5_and_says_which_file_and_what_to_do(
    tmp_path: Path, one: Path, on_disk: FaultyDisk, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j.db"
    options = ["--journal", str(path), "--set", "c_layer.enabled=false"]
    assert run_app(["run", str(one), "--json", *options]) == 0
    kept = json.loads(capsys.readouterr().out)["run_id"]

    on_disk.fail("sync", full=True)
    assert run_app(["run", str(one), *options]) == 5
    said = capsys.readouterr().err
    assert said.startswith("tandem: journal ") and said.count("\n") == 1
    assert str(path) in said and FULL in said
    assert run_app(["run", str(one), "--json", *options]) == 5
    shown = json.loads(capsys.readouterr().out)
    assert (shown["status"], shown["error_type"]) == ("refused", "JournalError")
    assert run_app(["doctor", "--json", *options]) == 5
    findings = {f["what"]: f for f in json.loads(capsys.readouterr().out)["findings"]}
    assert findings["journal"]["state"] == "broken" and FULL in findings["journal"]["detail"]

    on_disk.heal()
    assert run_app(["run", str(one), *options]) == 0
    capsys.readouterr()
    assert run_app(["runs", "list", "--json", "--journal", str(path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in rows if row["run_id"] == kept] == ["completed"]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A real file system of one MiB."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)],
            check=False, stderr=subprocess.DEVNULL,
        ).returncode == 0
    )  # fmt: skip
    if not mounted:
        pytest.skip("mounting a file system needs root; FaultyDisk stands for it above")
    yield place
    subprocess.run(["umount", str(place)], check=True)


CLI = "import tandem_orchestrator.cli as c; raise SystemExit(c.main())"


def tandem_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", CLI, *arguments],
        check=False, timeout=WAIT_S, capture_output=True, text=True,
    )  # fmt: skip


def fill(place: Path) -> Path:
    """Leave no byte of room."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


def test_a_file_system_that_is_really_full_refuses_and_works_again_when_there_is_room(
    small: Path, one: Path
) -> None:
    path = small / "j.db"
    options = ["--journal", str(path), "--set", "c_layer.enabled=false", "--json"]
    kept = [json.loads(tandem_cli("run", str(one), *options).stdout)["run_id"] for _ in range(2)]
    ballast = fill(small)
    refused = tandem_cli("run", str(one), *options)
    assert refused.returncode == 5, refused
    shown = json.loads(refused.stdout)
    assert (shown["status"], shown["error_type"]) == ("refused", "JournalError")
    assert str(path) in shown["error"] and FULL in shown["error"]

    ballast.unlink()
    kept.append(json.loads(tandem_cli("run", str(one), *options).stdout)["run_id"])
    rows = json.loads(tandem_cli("runs", "list", "--json", "--journal", str(path)).stdout)
    assert {row["run_id"]: row["status"] for row in rows} == dict.fromkeys(kept, "completed")


async def test_a_file_system_that_fills_up_under_a_program_keeps_what_it_acknowledged(
    small: Path,
) -> None:
    path, told = small / "j.db", []
    ballast = small / "ballast"
    ballast.write_bytes(b"x" * 300_000)
    tandem = open_on(path)
    await tandem.initialize()
    counter = Counter(tandem)

    async def pay_on() -> None:
        for n in range(500):
            told.append((await tandem.execute_command_set(paying(n)))["run_id"])

    with pytest.raises(JournalError) as caught:
        await pay_on()
    assert str(path) in str(caught.value) and FULL in str(caught.value)
    assert 0 < len(told) < 500 and len(counter.calls) - len(told) in (0, 1)
    await tandem.close()

    ballast.unlink()
    async with open_on(path) as again:
        rows = {row.run_id: row.status for row in await again.runs(limit=1000)}
        assert {rows[run_id] for run_id in told} == {"completed"}
        second = Counter(again)
        assert (await again.execute_command_set(paying(1)))["status"] == "completed"
        assert second.calls == [1]
