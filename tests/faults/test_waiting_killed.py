"""A program is killed with kill -9 while its run waits; what is asked meanwhile is obeyed by the next."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from tandem_orchestrator import TandemOrchestrator

WAIT_S = 30.0
PROGRAM = """
import asyncio, os, sys
from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator

async def main():
    config = {"journal": {"path": sys.argv[1]}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        run = await tandem.submit(CommandSet(type="sequence", durability="group", steps=[
            CommandStep(id="ok", agent="system", action="approval", timeout=float(sys.argv[2])),
            CommandStep(id="sig", agent="system", action="wait_signal", payload={"name": "go"}),
        ]))
        await run.result_or_held()
        if sys.argv[3] == "pause":
            await run.pause()
        os.write(1, f"{run.id}\\n".encode())
        await asyncio.Event().wait()

asyncio.run(main())
"""


def killed_while_it_waits(folder, journal, timeout_s, then="wait"):
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-P", "program.py", journal, str(timeout_s), then]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    process.send_signal(signal.SIGKILL)
    process.wait(WAIT_S)
    process.stdout.close()
    assert run_id
    return run_id


async def tandem_runs(*arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "tandem_orchestrator", "runs", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=dict(os.environ),
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), WAIT_S)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def journal(tmp_path):
    return str(tmp_path / "j.db")


def next_one(journal):
    return TandemOrchestrator({"journal": {"path": journal}, "c_layer": {"enabled": False}})


async def test_an_approval_that_came_while_nobody_was_there_is_obeyed(tmp_path, journal):
    run_id = killed_while_it_waits(tmp_path, journal, 3600)
    code, out, err = await tandem_runs("approve", run_id, "ok", "--by", "Eve", "--journal", journal)
    assert (code, err) == (0, "") and "is kept" in out
    async with next_one(journal) as tandem, asyncio.timeout(WAIT_S):
        while (await tandem.view(run_id)).steps.keys() != {"ok"}:
            await asyncio.sleep(0.02)
        code, _, err = await tandem_runs(
            "signal", run_id, "go", "--payload", "7", "--journal", journal
        )
        assert (code, err) == (0, "")
        result = await tandem.run(run_id).result()
    assert result["status"] == "completed" and result["results"]["sig"] == 7
    assert result["results"]["ok"]["by"] == "Eve"


async def test_a_deadline_that_passed_while_nobody_was_there_fails_the_step(tmp_path, journal):
    run_id = killed_while_it_waits(tmp_path, journal, 0.5)
    async with next_one(journal) as tandem, asyncio.timeout(WAIT_S):
        result = await tandem.run(run_id).result()
    assert result["status"] == "failed" and result["steps"]["ok"]["outcome"] == "failed"


async def test_a_paused_run_is_paused_after_its_program_was_killed(tmp_path, journal):
    run_id = killed_while_it_waits(tmp_path, journal, 3600, "pause")
    async with next_one(journal) as tandem, asyncio.timeout(WAIT_S):
        while not (paused := await tandem.runs(status="paused")):
            await asyncio.sleep(0.02)
        assert paused[0].run_id == run_id
        code, _, err = await tandem_runs("continue", run_id, "--journal", journal)
        assert (code, err) == (0, "")
        run = tandem.run(run_id)
        await run.signal("go", 1)
        await run.approve("ok")
        assert (await run.result())["status"] == "completed"
