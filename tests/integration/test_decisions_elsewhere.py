"""A held conflict is settled by ``tandem conflicts resolve``, in another process."""

import asyncio
import json
import sys

import pytest

from tandem_orchestrator import Agent, CommandSet, CommandStep, TandemOrchestrator


async def tandem_command(*arguments):
    command = (sys.executable, "-P", "-m", "tandem_orchestrator", "conflicts", "resolve")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def held(tmp_path):
    """An orchestrator with a run that one conflict holds up, and how to name both."""
    path = str(tmp_path / "j.db")
    config = {
        "journal": {"path": path}, "c_layer": {"enabled": False},
        "redundancy": {"conflict_resolution": "hold"},
    }  # fmt: skip
    async with TandemOrchestrator(config) as tandem:
        action = tandem.register_agent("a").action("do", effects="none")(lambda p: {"n": 1})
        action.twin("second")(lambda p: {"n": 2})
        asked = CommandSet(mode="REDUNDANT", steps=[CommandStep(id="a", agent="a", action="do")])
        run_id = (await tandem.execute_command_set(asked))["run_id"]
        yield tandem.run(run_id), ("--journal", path)


async def test_the_command_settles_a_conflict_of_another_process(held):
    run, journal = held
    code, _, err = await tandem_command(run.id, "c1", "--pick", "third", *journal)
    assert code == 4 and "expected one of left, right, python, second" in err
    code, _, err = await tandem_command(run.id, "c9", "--pick", "left", *journal)
    assert code == 4 and "c1 (step 'a')" in err
    code, _, err = await tandem_command(run.id, "c1", *journal)
    assert code == 2 and "--pick" in err
    code, _, err = await tandem_command(run.id, "c1", "--output", "{n: 1}", *journal)
    assert code == 2 and "JSON" in err
    code, out, err = await tandem_command(
        run.id, f"{run.id}.c1", "--output", '{"n": 3}', "--by", "Eve", "--note", "ok", "--json",
        *journal,
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert json.loads(out)["obeyed"] is True
    result = await asyncio.wait_for(run.result(), 20)
    assert result["results"] == {"a": {"n": 3}}
    conflict = result["conflicts"][0]
    assert (conflict["winner"], conflict["by"], conflict["note"]) == (None, "Eve", "ok")
    code, _, err = await tandem_command(run.id, "c1", "--pick", "left", *journal)
    assert code == 4 and "has ended" in err


async def test_where_the_owner_is_gone_the_decision_is_kept_for_who_takes_the_run_over(tmp_path):
    path = str(tmp_path / "j.db")
    config = {
        "journal": {"path": path}, "c_layer": {"enabled": False},
        "redundancy": {"conflict_resolution": "hold"},
    }  # fmt: skip
    agent = Agent("a")
    agent.action("do", effects="none")(lambda p: 1).twin("second")(lambda p: 2)
    async with TandemOrchestrator(config) as tandem:
        tandem.add_agent(agent)
        asked = CommandSet(mode="REDUNDANT", steps=[CommandStep(id="a", agent="a", action="do")])
        run_id = (await tandem.execute_command_set(asked))["run_id"]
    code, _, err = await tandem_command(run_id, "c1", "--pick", "third", "--journal", path)
    assert code == 4 and "expected one of left, right, python, second" in err
    code, _, err = await tandem_command(run_id, "c2", "--pick", "left", "--journal", path)
    assert code == 4 and "those that do: c1" in err
    code, out, err = await tandem_command(run_id, "c1", "--pick", "left", "--journal", path)
    assert (code, err) == (0, "")
    assert "the decision is kept" in out
    later = TandemOrchestrator(config)
    later.add_agent(agent)
    async with later:
        result = await asyncio.wait_for(later.run(run_id).result(), 20)
    assert result["status"] == "completed" and result["conflicts"][0]["winner"] == "python"
