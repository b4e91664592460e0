"""on_change=restart: a run whose action changed starts from the beginning in the next program."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tandem_orchestrator import Agent, TandemOrchestrator

WAIT_S = 30.0
PROGRAM = '''
"""Does ``first``, ``pay`` and then stays in ``wait`` for ever."""

import asyncio, os, sys
from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator

agent = Agent("work")

@agent.action("first", effects="none")
def first(payload):
    return {"version": 1}

@agent.action("pay", effects="external")
def pay(payload):
    return "paid"

@agent.action("wait", effects="none")
async def wait(payload):
    os.write(1, b"waiting\\n")
    await asyncio.Event().wait()

async def main():
    async with TandemOrchestrator({"journal": {"path": sys.argv[1]}}) as tandem:
        tandem.add_agent(agent)
        run = await tandem.submit(CommandSet(
            name="long", type="sequence", on_change=sys.argv[2], timeout=3600,
            steps=[CommandStep(id=name, agent="work", action=name)
                   for name in ("first", *sys.argv[3].split(","))],
        ))
        os.write(1, f"{run.id}\\n".encode())
        await run.result()

asyncio.run(main())
'''


def until_the_step_before_is_durable(journal: Path, steps: int) -> None:
    """Pure steps need no barrier: what is in the file may lag behind what runs."""
    give_up_at = time.monotonic() + WAIT_S
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        while reader.execute("SELECT min(steps_done) FROM runs").fetchone() != (steps,):
            assert time.monotonic() < give_up_at
            time.sleep(0.005)


def killed(folder: Path, journal: Path, policy: str, rest: str) -> str:
    """Run the program until it waits, kill it, and give the run's id."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "-P", str(program), str(journal), policy, rest],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    assert process.stdout is not None
    said = {process.stdout.readline().strip() for _ in range(2)}
    until_the_step_before_is_durable(journal, len(rest.split(",")))
    process.send_signal(signal.SIGKILL)
    process.wait(WAIT_S)
    process.stdout.close()
    (run_id,) = said - {"waiting"}
    return run_id


class Work:
    """The agent in this process, with another version of ``wait``."""

    def __init__(self, version: str, *, waits: bool = False) -> None:
        self.ran: list[str] = []
        self.agent = Agent("work")

        @self.agent.action("first", effects="none", version="1")
        def first(payload: Any) -> Any:
            self.ran.append("first")
            return {"version": 2}

        @self.agent.action("pay", effects="external")
        def pay(payload: Any) -> Any:
            self.ran.append("pay")
            return "paid again"

        @self.agent.action("wait", effects="none", version=version)
        async def wait(payload: Any) -> Any:
            self.ran.append("wait")
            if waits:
                await asyncio.Event().wait()
            return "waited"


def settings(journal: Path) -> dict[str, Any]:
    return {"journal": {"path": str(journal)}, "c_layer": {"enabled": False}}


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "journal.db"


async def until(condition: Any) -> None:
    give_up_at = time.monotonic() + WAIT_S
    while not await condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("policy", "ran"), [("restart", ["first", "wait"]), ("continue", ["wait"])]
)
async def test_a_run_whose_action_changed_does_as_its_policy_says(
    tmp_path: Path, journal: Path, policy: str, ran: list[str]
) -> None:
    run_id = killed(tmp_path, journal, policy, "wait")
    tandem, work = TandemOrchestrator(settings(journal)), Work("2")
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):
        result = await tandem.run(run_id).result()
        events = [event async for event in tandem.run(run_id).events()]
    assert result["status"] == "completed", result["error"]
    assert work.ran == ran
    anew = [event for event in events if event["kind"] == "run_restarted"]
    if policy == "restart":
        assert [list(event["changed"]) for event in anew] == [["work.wait version 1 (here: 2)"]]
        assert result["results"]["first"] == {"version": 2}
        said = "it started from the beginning: work.wait version 1 (here: 2)"
        assert said in result["notes"]
    else:
        assert anew == []


async def test_what_was_paid_is_not_paid_again_before_somebody_says_so(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed(tmp_path, journal, "restart", "pay,wait")
    tandem, work = TandemOrchestrator(settings(journal)), Work("2")
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):
        run = tandem.run(run_id)

        async def is_held() -> bool:
            (row,) = await tandem.runs()
            return row.status == "held"

        await until(is_held)
        assert work.ran == ["first"]
        await tandem.run(run_id).resolve("pay", output="paid", by="ann")
        result = await run.result()
    assert result["status"] == "completed"
    assert result["results"]["pay"] == "paid"
    assert work.ran == ["first", "wait"]


async def test_a_restarted_run_that_is_interrupted_again_goes_on_from_its_restart(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed(tmp_path, journal, "restart", "wait")
    source = PROGRAM.replace(
        'action("wait", effects="none"', 'action("wait", effects="none", version="2"'
    ).replace("run = await tandem.submit(CommandSet(", "await asyncio.Event().wait()\n"
              "        never = (CommandSet(")  # fmt: skip
    program = tmp_path / "again.py"
    program.write_text(source)
    process = subprocess.Popen(
        [sys.executable, "-P", str(program), str(journal), "restart", "wait"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    tandem, work = TandemOrchestrator(settings(journal)), Work("2")
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):

        async def first_is_done() -> bool:
            (row,) = await tandem.runs()
            return row.steps_done == 1

        await until(first_is_done)
        process.kill()
        process.wait(WAIT_S)
        process.stdout.close()
        result = await tandem.run(run_id).result()
    assert result["status"] == "completed", result["error"]
    assert work.ran == ["wait"], "what had ended since the restart does not run again"
