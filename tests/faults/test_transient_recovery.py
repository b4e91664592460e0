"""A run whose transient objects died with their process: their producers run again."""

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

from tandem_orchestrator import Agent, TandemOrchestrator

WAIT_S = 30.0
PROGRAM = '''
"""Holds objects for steps that never get to use them."""

import asyncio, os, sys
from tandem_orchestrator import Agent, CommandSet, CommandStep, Ref, TandemOrchestrator

agent = Agent("work")

@agent.action("base", effects="none", transient=True)
def base(payload):
    return {"it": object(), "plain": 1}

@agent.action("made", effects="none", transient=True)
def made(payload):
    return object()

@agent.action("wait", effects="none")
async def wait(payload):
    os.write(1, b"waiting\\n")
    await asyncio.Event().wait()

@agent.action("use", effects="none")
def use(payload):
    return None

async def main():
    async with TandemOrchestrator({"journal": {"path": sys.argv[1]}}) as tandem:
        tandem.add_agent(agent)
        run = await tandem.submit(CommandSet(
            name="long", type="sequence", durability="group", timeout=3600,
            steps=[
                CommandStep(id="base", agent="work", action="base"),
                CommandStep(id="made", agent="work", action="made",
                            payload={"from": Ref("base", "it"), "n": Ref("item")},
                            for_each=[10, 20]),
                CommandStep(id="wait", agent="work", action="wait"),
                CommandStep(id="use", agent="work", action="use",
                            payload={"all": Ref("made"), "n": Ref("base", "plain")}),
            ],
            dependencies={"made": ["base"], "wait": ["made"], "use": ["wait", "made", "base"]},
        ))
        os.write(1, f"{run.id}\\n".encode())
        await run.result()

asyncio.run(main())
'''


class Thing:
    """No value."""

    def __init__(self, label: str) -> None:
        self.label = label


async def test_producers_of_lost_objects_run_again_each_once(tmp_path: Path) -> None:
    journal = tmp_path / "journal.db"
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, "-P", str(program), str(journal)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    said = {process.stdout.readline().strip() for _ in range(2)}
    (run_id,) = said - {"waiting"}
    give_up_at = time.monotonic() + WAIT_S
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        while reader.execute("SELECT min(steps_done) FROM runs").fetchone() != (2,):
            assert time.monotonic() < give_up_at
            time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(WAIT_S)
    process.stdout.close()

    ran: list[str] = []
    agent = Agent("work")

    @agent.action("base", effects="none", transient=True)
    def base(payload: Any) -> Any:
        ran.append("base")
        return {"it": Thing("base"), "plain": 1}

    @agent.action("made", effects="none", transient=True)
    def made(payload: Any) -> Any:
        ran.append(f"made {payload['n']}")
        return Thing(f"{payload['from'].label} {payload['n']}")

    @agent.action("wait", effects="none")
    def wait(payload: Any) -> str:
        return "waited"

    @agent.action("use", effects="none")
    def use(payload: Any) -> Any:
        return [thing.label for thing in payload["all"]] + [payload["n"]]

    config = {"journal": {"path": str(journal)}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        tandem.add_agent(agent)
        give_up_at = time.monotonic() + WAIT_S
        while True:
            (row,) = [row for row in await tandem.runs() if row.run_id == run_id]
            if row.status in ("completed", "failed"):
                break
            assert time.monotonic() < give_up_at, row
            await asyncio.sleep(0.02)
        result = await tandem.run(run_id).result()

    assert result["status"] == "completed", result["error"]
    assert result["results"]["use"] == ["base 10", "base 20", 1]
    assert sorted(ran) == ["base", "made 10", "made 20"]
    assert result["steps"]["made"]["outcome"] == "succeeded"
