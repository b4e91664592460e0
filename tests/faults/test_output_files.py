"""Large outputs under a disk that fills up or breaks, a program that is killed, and its successor."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import Agent, CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.cli.app import run_app
from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal.outputs import output_folder
from tandem_orchestrator.journal.parts import part_of
from tandem_orchestrator.journal.sqlite import SqliteJournal
from tandem_orchestrator.testing.journal_events import accepted, ended

WAIT_S = 20.0
LARGE = b"large" * 500_000


def files_of(path: Path) -> list[Path]:
    return sorted(each for each in output_folder(path).rglob("*") if each.is_file())


def _is_output(descriptor: int) -> bool:
    return ".outputs" in str(Path(f"/proc/self/fd/{descriptor}").readlink())


class Disk:
    """Let calls on output files fail: all of them, until ``heal``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing, self.code = "", 0
        for name in ("write", "fsync"):
            monkeypatch.setattr(os, name, self._may_fail(name, getattr(os, name)))

    def fail(self, call: str, code: int) -> None:
        self.failing, self.code = call, code

    def heal(self) -> None:
        self.failing = ""

    def _may_fail(self, name: str, real: Any) -> Any:
        def call(descriptor: int, *data: Any) -> Any:
            if name != self.failing or not _is_output(descriptor):
                return real(descriptor, *data)
            if name == "write" and len(data[0]) > 4096:
                return real(descriptor, data[0][:4096])  # some of it goes in, then no more
            raise OSError(self.code, os.strerror(self.code))

        return call


@pytest.mark.parametrize(
    ("call", "code", "what"),
    [
        ("write", errno.ENOSPC, "the disk is full; make room"),
        ("write", errno.EIO, "nothing more is acknowledged"),
        ("fsync", errno.EIO, "nothing more is acknowledged"),
        ("fsync", errno.EDQUOT, "the disk is full; make room"),
    ],
)
async def test_a_file_that_cannot_be_written_holds_its_acknowledgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, what: str
) -> None:
    path, disk = tmp_path / "j.db", Disk(monkeypatch)
    journal = SqliteJournal(path)
    await journal.open("owner-a")
    await journal.append("r1", [accepted("r1"), ended("a", output=LARGE)], "group").durable()
    disk.fail(call, code)

    with pytest.raises(JournalError, match=what):
        await journal.append("r1", [ended("b", output=LARGE + b"2")], "group").durable()
    assert not journal.health()
    assert len(files_of(path)) == 1, "nothing half-written is left"
    disk.heal()
    await journal.close()

    await journal.open("owner-b")
    assert [record.event.output for record in await journal.records("r1", after=1)] == [LARGE]
    assert await journal.check() == []
    await journal.close()


async def test_a_program_goes_on_with_its_run_when_there_is_room_for_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, disk = tmp_path / "j.db", Disk(monkeypatch)
    async with TandemOrchestrator({"journal": {"path": str(path)}}) as tandem:
        agent = tandem.register_agent("t")

        @agent.action("make", effects="none")
        async def make(payload: Any) -> bytes:
            return LARGE

        disk.fail("write", errno.ENOSPC)
        run = await tandem.submit(
            CommandSet(steps=[CommandStep(id="make", agent="t", action="make")])
        )
        with pytest.raises(JournalError, match="the disk is full"):
            await run.result()
        disk.heal()
        async with asyncio.timeout(WAIT_S):
            while not tandem.journal_health():
                await asyncio.sleep(0.02)  # it tries twice a second
            result = await tandem.run(run.id).result()
        assert (result["status"], result["results"]) == ("completed", {"make": LARGE})


KILLED = '''
"""Is killed when the file of its large output is there and the record is not; or is not killed."""

import asyncio, os, signal, sys
from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.journal.outputs import OutputFiles

moment = sys.argv[2]
keep, rename = OutputFiles.keep, os.rename

def kept(self, parts):
    parts = list(parts)
    keep(self, parts)
    if parts and moment == "record":
        os.kill(os.getpid(), signal.SIGKILL)

OutputFiles.keep = kept
if moment == "name":
    from pathlib import Path
    Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)

async def main():
    async with TandemOrchestrator({"journal": {"path": sys.argv[1]}}) as tandem:
        agent = tandem.register_agent("t")

        @agent.action("make", effects="none")
        async def make(payload):
            return b"large" * 500_000

        await tandem.execute_command_set(CommandSet(name="killed", steps=[
            CommandStep(id="make", agent="t", action="make")]))
        print("not killed")

asyncio.run(main())
'''


@pytest.mark.parametrize("moment", ["name", "record"])
async def test_a_kill_between_file_and_record_leaves_an_orphan_and_loses_nothing(
    tmp_path: Path, moment: str
) -> None:
    path = tmp_path / "j.db"
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", KILLED, str(path), moment],
        capture_output=True,
        timeout=40,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    (orphan,) = files_of(path)
    assert orphan.name.endswith(".new") == (moment == "name")

    journal = SqliteJournal(path)
    await journal.open("looks")
    assert await journal.check() == []
    assert await journal.remove_outputs() == 0, "within the grace"
    for each in files_of(path):
        os.utime(each, (0, 0))
    assert await journal.remove_outputs() == 1
    assert files_of(path) == []
    (row,) = await journal.runs()
    assert row.status == "interrupted"
    await journal.close()

    async with TandemOrchestrator({"journal": {"path": str(path)}}) as tandem:
        agent = tandem.register_agent("t")

        @agent.action("make", effects="none")
        async def make(payload: Any) -> bytes:
            return b"large" * 500_000

        async with asyncio.timeout(WAIT_S):
            result = await tandem.run(row.run_id).result()
        assert result["results"] == {"make": b"large" * 500_000}
        (kept,) = files_of(path)
        assert kept.name == part_of(b"\xc6" + (2_500_000).to_bytes(4, "big") + LARGE).name


def making(calls: list[Any]) -> Agent:
    agent = Agent("t")

    @agent.action("make", effects="none")
    async def make(payload: Any) -> Any:
        calls.append("make")
        return {"data": LARGE, "more": payload}

    @agent.action("use", effects="none")
    async def use(payload: Any) -> Any:
        calls.append("use")
        if payload["fails"]:
            raise RuntimeError("as asked")
        return len(payload["data"])

    return agent


def set_of(fails: bool) -> CommandSet:
    return CommandSet(
        name="large",
        steps=[
            CommandStep(id="make", agent="t", action="make", payload="x" * 1_500_000),
            CommandStep(
                id="use",
                agent="t",
                action="use",
                payload={"data": Ref("make", "data"), "fails": fails},
            ),
        ],
        dependencies={"use": ["make"]},
    )


async def test_runs_with_large_outputs_are_shown_retried_forked_packed_and_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, calls = tmp_path / "j.db", list[Any]()
    config = {"journal": {"path": str(path)}}
    async with TandemOrchestrator(config) as tandem:
        tandem.add_agent(making(calls))
        failed = await tandem.execute_command_set(set_of(fails=True))
        assert failed["status"] == "failed"
        assert tandem.get_metrics()["journal"]["outputs"]["files"] == 2  # the payload, the output
    kept = files_of(path)
    assert len(kept) == 2 and calls == ["make", "use"]

    async with TandemOrchestrator(config) as tandem:  # another program, which reads it all back
        tandem.add_agent(making(calls))
        run = tandem.run(failed["run_id"])
        shown = await run.result()
        assert shown["results"]["make"] == {"data": LARGE, "more": "x" * 1_500_000}
        await run.retry("use")
        again = await run.result()
        assert again["status"] == "failed" and calls == ["make", "use", "use"]
        fork = await run.fork("use", {"data": Ref("make", "data"), "fails": False})
        forked = await fork.result()
        assert (forked["status"], forked["results"]["use"]) == ("completed", len(LARGE))
        assert calls == ["make", "use", "use", "use"]
        assert files_of(path) == kept, "the same bytes are kept once"
        assert (await tandem._parts.journal.check()) == []  # type: ignore[union-attr]

    def tell(*words: str) -> str:
        assert run_app([*words, "--journal", str(path)]) in (0, 1)
        return capsys.readouterr().out

    told = json.loads(await asyncio.to_thread(tell, "journal", "check", "--json"))
    sizes = sum(file.stat().st_size for file in kept)
    assert told["ok"] and told["outputs"] == {"files": 2, "bytes": sizes}
    shown_text = await asyncio.to_thread(tell, "runs", "show", forked["run_id"], "--json")
    assert json.loads(shown_text)["results"]["use"] == len(LARGE)
    export = await asyncio.to_thread(tell, "journal", "export")
    outputs = [
        line["event"].get("output")
        for line in map(json.loads, export.splitlines())
        if line["line"] == "record" and line["kind"] == "step_ended"
    ]
    assert {"data", "more"} in [set(each) for each in outputs if isinstance(each, dict)]

    pack = tmp_path / "one.pack"
    await asyncio.to_thread(tell, "runs", "pack", forked["run_id"], str(pack))
    for file in kept:
        file.unlink()
    async with TandemOrchestrator({"journal": {"path": str(pack)}}) as elsewhere:
        packed = await elsewhere.run(forked["run_id"]).result()
        assert packed["results"]["make"]["data"] == LARGE
    async with TandemOrchestrator(config) as tandem:
        with pytest.raises(JournalError, match=r"the output in .* is missing"):
            await tandem.run(forked["run_id"]).result()
    lost = json.loads(await asyncio.to_thread(lambda: _lost(path, capsys)))
    assert not lost["ok"] and len(lost["faults"]) == 2
    assert all("is missing" in fault for fault in lost["faults"])


def _lost(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run_app(["journal", "check", "--json", "--journal", str(path)]) == 5
    return capsys.readouterr().out


async def test_one_damaged_output_holds_up_no_other_run(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    journal = SqliteJournal(path)
    await journal.open("gone")
    for run_id, data in (("r1", LARGE), ("r2", b"other" * 500_000)):
        events = [accepted(run_id), ended("a", output=data)]
        await journal.append(run_id, events, "group").durable()
    await journal.close()
    (first, _) = files_of(path)
    first.write_bytes(b"damaged")

    async with TandemOrchestrator({"journal": {"path": str(path)}}) as tandem:
        async with asyncio.timeout(WAIT_S):
            while not all(row.waiting_for for row in await tandem.runs()):
                await asyncio.sleep(0.02)
        told = [row.waiting_for[0] for row in await tandem.runs()]
    assert sum(first.name in text and "OutputLost" in text for text in told) == 1
