"""A program is killed with kill -9 in the middle of a run; the next one finishes the run."""

import asyncio
import json
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

from tandem_orchestrator import (
    Agent,
    CommandError,
    CommandSet,
    CommandStep,
    OutcomeUnknown,
    TandemOrchestrator,
)
from tandem_orchestrator.cli.app import run_app

WAIT_S = 30.0
PROGRAM = '''
"""Takes one run in, and stays in the middle of its step ``wait`` for ever."""

import asyncio, json, os, sys
from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator

agent = Agent("work")

def say(text):
    os.write(1, f"{text}\\n".encode())  # one write: threads say something, too

@agent.action("first", effects="none")
def first(payload):
    say("first")
    return {"n": 1}

@agent.action("wait", effects=sys.argv[2])
async def wait(payload):
    say("waiting")
    await asyncio.Event().wait()

@agent.action("last", effects="none")
def last(payload, ctx):
    return ctx.inputs

async def main():
    async with TandemOrchestrator({"journal": {"path": sys.argv[1]}}) as tandem:
        tandem.add_agent(agent)
        retry = json.loads(sys.argv[3])
        run = await tandem.submit(CommandSet(
            name="long", type="sequence", durability="group", timeout=3600, idempotency_key="k",
            steps=[CommandStep(id="first", agent="work", action="first"),
                   CommandStep(id="wait", agent="work", action="wait", payload={"k": "v"},
                               retry_policy=retry),
                   CommandStep(id="last", agent="work", action="last")],
        ))
        say(run.id)
        await run.result()

asyncio.run(main())
'''


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def until_the_first_step_is_durable(journal: Path) -> None:
    """Pure steps need no barrier: what is in the file may lag behind what runs."""
    give_up_at = time.monotonic() + WAIT_S
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        while reader.execute("SELECT min(steps_done) FROM runs").fetchone() != (1,):
            assert time.monotonic() < give_up_at
            time.sleep(0.005)


def killed_in_the_middle(
    folder: Path, journal: Path, effects: str = "none", retry: dict[str, Any] | None = None
) -> str:
    """Run the program until it waits, kill it with SIGKILL, and give the run's id."""
    program = folder / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "-P", str(program), str(journal), effects, json.dumps(retry or {})],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    assert process.stdout is not None
    said = {process.stdout.readline().strip() for _ in range(3)}
    until_the_first_step_is_durable(journal)
    process.send_signal(signal.SIGKILL)
    process.wait(WAIT_S)
    process.stdout.close()
    (run_id,) = said - {"first", "waiting"}
    return run_id


class Work:
    """The same agent in this process; counts what runs."""

    def __init__(self, version: str = "1", effects: Any = "none") -> None:
        self.ran: list[str] = []
        self.agent = Agent("work")

        @self.agent.action("first", effects="none")
        def first(payload: Any) -> Any:
            self.ran.append("first")
            return {"n": 1}

        @self.agent.action("wait", effects=effects, version=version)
        def wait(payload: Any, ctx: Any) -> Any:
            self.ran.append("wait")
            self.attempt, self.payload = ctx.attempt, payload
            return "waited"

        @self.agent.action("last", effects="none")
        def last(payload: Any, ctx: Any) -> Any:
            self.ran.append("last")
            return ctx.inputs


def settings(journal: Path, **more: Any) -> dict[str, Any]:
    return {"journal": {"path": str(journal), **more}, "c_layer": {"enabled": False}}


async def until_row(tandem: TandemOrchestrator, run_id: str, **wanted: Any) -> Any:
    """Wait for what the journal says of a run: the recovery looks twice a second."""
    give_up_at = time.monotonic() + WAIT_S
    while True:
        (row,) = [row for row in await tandem.runs() if row.run_id == run_id]
        if all(getattr(row, name) == value for name, value in wanted.items()):
            return row
        assert time.monotonic() < give_up_at, row
        await asyncio.sleep(0.02)


async def test_the_next_program_finishes_the_run_and_repeats_nothing(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    work = Work()
    tandem = TandemOrchestrator(settings(journal))
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):
        result = await tandem.run(run_id).result()
    assert result["status"] == "completed", result["error"]
    assert work.ran == ["wait", "last"], "what had ended does not run again"
    assert (work.attempt, work.payload) == (2, {"k": "v"})
    assert result["results"]["last"]["wait"] == "waited"
    assert result["steps"]["wait"]["attempts"] == 2
    assert result["duration"] > 0


async def test_a_run_waits_until_its_actions_are_registered_and_says_for_which(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    async with TandemOrchestrator(settings(journal)) as tandem, asyncio.timeout(WAIT_S):
        row = await until_row(tandem, run_id, waiting_for=("work.wait", "work.last"))
        assert row.status == "interrupted"
        with pytest.raises(OutcomeUnknown, match=r"waits for work\.wait, work\.last"):
            await tandem.run(run_id).result()
        with pytest.raises(CommandError, match=r"waits for work\.wait, work\.last"):
            await tandem.resume(run_id)
        tandem.add_agent(Work().agent)
        await until_row(tandem, run_id, status="completed", waiting_for=())


def test_show_says_how_a_run_goes_on_whose_program_died(
    tmp_path: Path, journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed_in_the_middle(tmp_path, journal)

    assert run_app(["runs", "show", "last", "--journal", str(journal)]) == 0

    told = capsys.readouterr().out
    assert "note: its program died; it goes on in the next program that opens this journal" in told
    assert "registers what it still needs: work.wait, work.last" in told


async def test_a_result_waited_for_right_after_registering_arrives(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    work = Work()
    async with TandemOrchestrator(settings(journal)) as tandem:
        await until_row(tandem, run_id, waiting_for=("work.wait", "work.last"))
        tandem.add_agent(work.agent)
        result = await tandem.run(run_id).result()  # before the recovery has looked again

    assert result["status"] == "completed"
    assert work.ran == ["wait", "last"]


async def test_external_work_in_flight_is_held_and_a_person_decides(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed_in_the_middle(tmp_path, journal, "external")
    work = Work(effects="external")
    tandem = TandemOrchestrator(settings(journal))
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):
        await until_row(tandem, run_id, status="held")
        assert work.ran == []
        await tandem.run(run_id).resolve("wait", output="paid by hand", by="ann")
        result = await tandem.run(run_id).result()
    assert result["status"] == "completed"
    assert work.ran == ["last"]
    assert result["results"]["wait"] == "paid by hand"
    assert result["steps"]["wait"]["reason"] == "decided by ann"


async def test_external_work_runs_again_where_its_policy_names_unknown(
    tmp_path: Path, journal: Path
) -> None:
    retry = {"max_retries": 1, "retry_on": ["unknown"], "initial_delay": 0.001}
    run_id = killed_in_the_middle(tmp_path, journal, "external", retry)
    work = Work(effects="external")
    tandem = TandemOrchestrator(settings(journal))
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):
        result = await tandem.run(run_id).result()
    assert result["status"] == "completed"
    assert work.ran == ["wait", "last"]


async def test_a_held_run_is_found_held_by_the_next_program(tmp_path: Path, journal: Path) -> None:
    run_id = killed_in_the_middle(tmp_path, journal, "external")
    for _ in range(2):
        tandem = TandemOrchestrator(settings(journal))
        tandem.add_agent(Work(effects="external").agent)
        async with tandem, asyncio.timeout(WAIT_S):
            row = await until_row(tandem, run_id, status="held")
            while not tandem.run(run_id).is_here:
                await asyncio.sleep(0.02)
    assert row.steps_done == 1


async def test_another_version_of_an_action_holds_the_run_until_somebody_says_go_on(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    work = Work(version="2")
    tandem = TandemOrchestrator(settings(journal))
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):
        said = "work.wait version 1 (here: 2); 'tandem runs resume' goes on"
        await until_row(tandem, run_id, status="interrupted", waiting_for=(said,))
        run = await tandem.resume(run_id)
        assert (await run.result())["status"] == "completed"
    assert work.ran == ["wait", "last"]


async def test_two_orchestrators_never_take_over_the_same_run(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    works = [Work() for _ in range(3)]
    open_ones = [TandemOrchestrator(settings(journal)) for _ in works]
    try:
        for tandem, work in zip(open_ones, works, strict=True):
            tandem.add_agent(work.agent)
        await asyncio.gather(*(tandem.initialize() for tandem in open_ones))
        async with asyncio.timeout(WAIT_S):
            results = [await tandem.run(run_id).result() for tandem in open_ones]
    finally:
        for tandem in open_ones:
            await tandem.close()
    assert [result["status"] for result in results] == ["completed"] * 3
    assert sorted(name for work in works for name in work.ran) == ["last", "wait"]


async def test_a_recovery_that_is_killed_itself_is_recovered(tmp_path: Path, journal: Path) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    source = PROGRAM.replace('run = await tandem.submit(CommandSet(', "run = tandem.run(sys.argv[4])\n"
        "        await asyncio.Event().wait()\n        never = (CommandSet(")  # fmt: skip
    program = tmp_path / "again.py"
    program.write_text(source)
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-P", str(program), str(journal), "none", "{}", run_id],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(tmp_path)},
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n", "it was taken over"
        process.kill()
        process.wait(WAIT_S)
        process.stdout.close()
    work = Work()
    tandem = TandemOrchestrator(settings(journal))
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):
        result = await tandem.run(run_id).result()
    # One for each owner, but what the last moments of one noted may not have reached the file.
    assert 2 <= result["steps"]["wait"]["attempts"] <= 5
    assert work.ran == ["wait", "last"]


async def test_recovery_can_be_switched_off(tmp_path: Path, journal: Path) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    tandem = TandemOrchestrator(settings(journal, recover=False))
    work = Work()
    tandem.add_agent(work.agent)
    async with tandem, asyncio.timeout(WAIT_S):
        await until_row(tandem, run_id, status="interrupted")
        assert work.ran == []
        assert (await (await tandem.resume(run_id)).result())["status"] == "completed"


async def test_asking_again_with_the_same_key_goes_on_with_the_run_that_was_interrupted(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    tandem = TandemOrchestrator(settings(journal, recover=False))
    work = Work()
    tandem.add_agent(work.agent)
    same = CommandSet(
        name="long", type="sequence", durability="group", timeout=3600, idempotency_key="k",
        steps=[
            CommandStep(id="first", agent="work", action="first"),
            CommandStep(
                id="wait", agent="work", action="wait", payload={"k": "v"}, retry_policy={}
            ),
            CommandStep(id="last", agent="work", action="last"),
        ],
    )  # fmt: skip
    async with tandem, asyncio.timeout(WAIT_S):
        result = await tandem.execute_command_set(same)
    assert (result["run_id"], result["status"]) == (run_id, "completed")
    assert work.ran == ["wait", "last"]


def test_a_command_that_runs_something_else_leaves_interrupted_runs_alone(
    tmp_path: Path, journal: Path
) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    (tmp_path / "work.py").write_text(
        PROGRAM.partition("async def main")[0].replace("sys.argv[2]", "'none'")
    )
    (tmp_path / "other.yaml").write_text("steps:\n  - {id: a, agent: work, action: first}\n")
    command = [sys.executable, "-m", "tandem_orchestrator"]
    for arguments in (["run", "other.yaml", "--import", "work"], ["runs", "list", "--json"]):
        done = subprocess.run(
            [*command, *arguments, "--journal", str(journal)],
            cwd=tmp_path, capture_output=True, text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    found = {row["run_id"]: row["status"] for row in json.loads(done.stdout)}
    assert found.pop(run_id) == "interrupted"
    assert list(found.values()) == ["completed"]


async def test_cancelling_a_run_that_was_taken_over_stops_it(tmp_path: Path, journal: Path) -> None:
    run_id = killed_in_the_middle(tmp_path, journal)
    work, started = Work(), asyncio.Event()

    slow = Agent("work")

    @slow.action("wait", effects="none")
    async def wait(payload: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    @slow.action("last", effects="none")
    def last(payload: Any) -> None:
        work.ran.append("last")

    tandem = TandemOrchestrator(settings(journal))
    tandem.add_agent(slow)
    async with tandem, asyncio.timeout(WAIT_S):
        await started.wait()
        run = tandem.run(run_id)
        await run.cancel()
        assert (await run.result())["status"] == "cancelled"
    assert work.ran == []


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
