"""What a person and a program see: prints of actions, ASCII terminals, conflicts, dead owners."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    OutcomeUnknown,
    TandemOrchestrator,
)
from tandem_orchestrator.cli.run_table import print_result

SHOP = """
import subprocess, sys
from tandem_orchestrator import Agent
agent = Agent("shop")

@agent.action("loud", effects="none")
def loud(payload):
    print("printed by an action", flush=True)
    subprocess.run([sys.executable, "-c", "print('printed by its child')"], check=True)
    return {"done": True}
"""
SET = "name: µ loud\nsteps:\n  - {id: a, agent: shop, action: loud}\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "set.yaml").write_text(SET)
    return tmp_path


def tandem(shop: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable, "-m", "tandem_orchestrator", "run", "set.yaml", "--import", "shop",
            "--journal", ":memory:", "--set", "c_layer.enabled=false", *arguments,
        ],
        cwd=shop, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_what_actions_and_their_children_print_goes_to_stderr(shop):
    done = tandem(shop, "--json")
    assert json.loads(done.stdout)["status"] == "completed"
    assert "printed by an action" in done.stderr
    assert "printed by its child" in done.stderr


def test_a_terminal_that_only_knows_ascii_gets_escapes_and_no_traceback(shop):
    done = tandem(shop, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout and "Traceback" not in done.stderr


async def test_a_conflict_is_shown_with_its_place_and_whose_output_was_taken(capsys):
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        agent = tandem.register_agent("twice")

        @agent.action("sum", effects="none")
        def exact(payload):
            return {"total": 5.0}

        exact.twin("fast")(lambda payload: {"total": 5.5})
        steps = [CommandStep(id="p", agent="twice", action="sum")]
        result = await tandem.execute_command_set(CommandSet(mode="redundant", steps=steps))
    print_result(result, ["p"])
    shown = capsys.readouterr().out
    assert "p: /total: python 5.0, fast 5.5; python's was taken" in shown


PROGRAM = """
import asyncio, os
from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator
gone = Agent("gone")
@gone.action("wait", effects="none")
async def wait(payload):
    await asyncio.Event().wait()
async def main():
    async with TandemOrchestrator({"c_layer": {"enabled": False}}) as tandem:
        tandem.add_agent(gone)
        steps = [CommandStep(agent="gone", action="wait")]
        run = await tandem.submit(CommandSet(steps=steps, name="dies"))
        print(run.id, flush=True)
        os._exit(9)
asyncio.run(main())
"""


async def test_a_run_that_nobody_here_can_go_on_with_is_told_and_not_waited_for():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    run_id = done.stdout.strip()
    async with TandemOrchestrator({"c_layer": {"enabled": False}}) as tandem:
        with pytest.raises(OutcomeUnknown, match=rf"{run_id}.* waits for gone\.wait"):
            await tandem.run(run_id).result()
