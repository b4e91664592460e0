"""One journal in PostgreSQL, several real processes: nobody shares a run, and the dead are followed."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tandem_orchestrator import TandemOrchestrator
from tandem_orchestrator.errors import Forked
from tandem_orchestrator.journal import Control, postgres_journal
from tandem_orchestrator.testing.journal_events import accepted, ended

LEASE_S = 1.0

OWNER = f"""
import asyncio, sys
from tandem_orchestrator.errors import JournalError
from tandem_orchestrator.journal import postgres_journal
from tandem_orchestrator.testing.journal_events import accepted, ended

async def main():
    journal = postgres_journal(sys.argv[1], lease_s={LEASE_S})
    await journal.open("other")
    await journal.append("r", [accepted("r")], "group").durable()
    await journal.append("mine", [accepted("mine")], "group").durable()
    print("ready", flush=True)

    async def obey():
        while True:
            for wish in await journal.controls(wait_s=60.0):
                await journal.answer(wish.id, f"{{wish.kind}} taken up")

    obeying = asyncio.create_task(obey())
    loop, n = asyncio.get_running_loop(), 0
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        n += 1
        try:
            await journal.append(line.strip(), [ended(f"s{{n}}")], "group").durable()
        except JournalError as error:
            print(type(error).__name__, flush=True)
        else:
            print("written", flush=True)
    obeying.cancel()
    await asyncio.wait((obeying,))
    await journal.close()

asyncio.run(main())
"""

LOADED = """
import asyncio, sys
from tandem_orchestrator.journal import postgres_journal
from tandem_orchestrator.testing.journal_events import accepted, ended

async def work(journal, run_id):
    await journal.append(run_id, [accepted(run_id)], "group").durable()
    n = 0
    while True:
        n += 1
        await journal.append(run_id, [ended(f"s{n}", output=b"x" * 500)], "group").durable()
        if n == 20:
            print(run_id, flush=True)

async def main():
    journal = postgres_journal(sys.argv[1], lease_s=1.0)
    await journal.open("loaded")
    await asyncio.gather(*(work(journal, f"r{k}") for k in range(8)))

asyncio.run(main())
"""

UNCLOSED = """
import asyncio, sys
from tandem_orchestrator.journal import Bounds, postgres_journal
from tandem_orchestrator.testing.journal_events import accepted, ended

async def main():
    journal = postgres_journal(sys.argv[1], bounds=Bounds(sync_interval_ms=60_000.0))
    await journal.open("other")
    journal.append("r", [accepted("r")], "async")
    for n in range(500):
        journal.append("r", [ended(f"s{n}")], "async")
    return journal

kept = asyncio.run(main())
"""

PROGRAM = """
import asyncio, sys
from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator import TandemOrchestrator

async def main():
    config = {"journal": {"path": sys.argv[1], "lease_s": 1.0}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("t")

        @agent.action("quick", effects="none")
        async def quick(payload):
            return payload + 1

        @agent.action("slow", effects="none")
        async def slow(payload):
            print("slow", flush=True)
            await asyncio.sleep(600)

        steps = [
            CommandStep(id="a", agent="t", action="quick", payload=1),
            CommandStep(id="b", agent="t", action="slow", payload=2),
        ]
        run = await tandem.submit(CommandSet(name="left", steps=steps, dependencies={"b": ["a"]}))
        print(run.id, flush=True)
        await run.result()

asyncio.run(main())
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "error", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def ask(child: subprocess.Popen[str], run_id: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{run_id}\n")
    child.stdin.flush()


def heard(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.fixture
def other(postgres_url: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that owns the runs ``r`` and ``mine``."""
    child = start(OWNER, postgres_url)
    assert heard(child) == "ready", child.communicate(timeout=10)
    yield child
    child.send_signal(signal.SIGCONT)
    child.kill()
    child.communicate(timeout=10)


async def until_dead(journal, owner: str) -> None:
    async with asyncio.timeout(20):
        while any(o.id == owner and o.alive for o in await journal.owners()):
            await asyncio.sleep(0.02)


async def test_a_stopped_owner_that_wakes_after_its_lease_was_taken_cannot_write(
    postgres_url: str, other: subprocess.Popen[str]
) -> None:
    journal = postgres_journal(postgres_url)
    await journal.open("here")
    assert journal.is_alive("other")
    assert not await journal.adopt("r")

    other.send_signal(signal.SIGSTOP)
    ask(other, "r")  # it wakes up with this in its hands
    await until_dead(journal, "other")
    assert not journal.is_alive("other")
    assert await journal.adopt("r")
    await journal.append("r", [ended("taken")], "group").durable()
    other.send_signal(signal.SIGCONT)

    assert await asyncio.to_thread(heard, other) == "OwnerChanged"
    ask(other, "mine")
    assert await asyncio.to_thread(heard, other) == "written", "nobody took this one"
    await journal.append("r", [ended("more")], "group").durable()
    units = [record.unit for record in await journal.records("r")]
    assert units == [None, "taken/python", "more/python"]
    assert await journal.check() == []
    await journal.close()


async def test_an_owner_that_is_stopped_in_the_middle_of_writing_holds_nobody_up(
    postgres_url: str,
) -> None:
    child = start(LOADED, postgres_url)
    try:
        for _ in range(8):
            assert await asyncio.to_thread(heard, child), child.communicate(timeout=10)
        child.send_signal(signal.SIGSTOP)
        journal = postgres_journal(postgres_url)
        await journal.open("here")
        await until_dead(journal, "loaded")
        counts = {}
        async with asyncio.timeout(10):
            for k in range(8):
                assert await journal.adopt(f"r{k}")
                await journal.append(f"r{k}", [ended("taken")], "group").durable()
                counts[f"r{k}"] = len(await journal.records(f"r{k}"))
        child.send_signal(signal.SIGCONT)
        _, complaint = await asyncio.to_thread(child.communicate, timeout=20)
        assert "OwnerChanged" in complaint
        assert {run_id: len(await journal.records(run_id)) for run_id in counts} == counts
        assert await journal.check() == []
        await journal.close()
    finally:
        child.kill()
        child.communicate(timeout=10)


async def test_a_wish_from_another_process_is_taken_up_within_a_second(
    postgres_url: str, other: subprocess.Popen[str]
) -> None:
    journal = postgres_journal(postgres_url)
    await journal.open(None)
    began = time.monotonic()
    await journal.request(Control(id="w1", run_id="r", kind="cancel"))
    async with asyncio.timeout(10):
        while (await journal.control("w1")).answer is None:
            await asyncio.sleep(0.005)
    assert time.monotonic() - began < 1.0
    await journal.close()


async def test_a_journal_that_is_never_closed_flushes_at_exit(postgres_url: str) -> None:
    child = start(UNCLOSED, postgres_url)
    _, complaint = await asyncio.to_thread(child.communicate, timeout=20)
    assert (child.returncode, complaint) == (0, "")
    journal = postgres_journal(postgres_url)
    await journal.open("here")
    assert len(await journal.records("r")) == 501
    await journal.close()


async def test_a_forked_child_gets_a_typed_error_and_leaves_our_sessions_alone(
    postgres_url: str,
) -> None:
    journal = postgres_journal(postgres_url)
    await journal.open("here")
    await journal.append("r", [accepted("r")], "group").durable()
    await journal.records("r")
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:  # the child must not return into pytest
        answer = b"no error"
        try:
            journal.append("r", [ended("a")], "group")
        except Forked:
            answer = b"Forked"
        os.write(tell, answer)
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(told, 20) == b"Forked"
    os.close(told)
    os.close(tell)
    await journal.append("r", [ended("a")], "group").durable()
    assert len(await journal.records("r")) == 2
    await journal.close()


async def test_a_killed_programs_run_is_taken_over_and_finishes_within_five_seconds(
    postgres_url: str,
) -> None:
    child = start(PROGRAM, postgres_url)
    said = {await asyncio.to_thread(heard, child), await asyncio.to_thread(heard, child)}
    assert "slow" in said, child.communicate(timeout=10)
    (run_id,) = said - {"slow"}
    calls = []
    config = {
        "journal": {"path": postgres_url, "lease_s": LEASE_S},
        "c_layer": {"enabled": False},
    }
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("t")

        @agent.action("quick", effects="none")
        async def quick(payload):
            calls.append("quick")
            return payload + 1

        @agent.action("slow", effects="none")
        async def slow(payload):
            calls.append("slow")
            return payload * 10

        child.kill()
        killed_at = time.monotonic()
        child.communicate(timeout=10)
        async with asyncio.timeout(15):
            while (await tandem.runs())[0].finished_at_ns is None:
                await asyncio.sleep(0.02)
        assert time.monotonic() - killed_at < 5.0
        result = await tandem.run(run_id).result()
        assert (result["status"], result["results"]) == ("completed", {"a": 2, "b": 20})
        assert calls == ["slow"], "what had ended is not run again"
        assert (await tandem.runs())[0].owner == tandem.journal_health().owner
