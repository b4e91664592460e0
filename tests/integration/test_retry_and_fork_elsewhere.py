"""Ended runs go on, here and by ``tandem runs retry|fork``; finished steps never run again."""

import asyncio
import json
import os
import sys

import pytest

from tandem_orchestrator import (
    CommandError,
    CommandSet,
    CommandStep,
    InvalidCommandSet,
    Ref,
    TandemOrchestrator,
)

MODULE = """
import os
from tandem_orchestrator import Agent

agent = Agent("work")

@agent.action("first", effects="none")
def first(payload):
    with open("ran", "a") as out:
        out.write("first ")
    return {"n": 1}

@agent.action("flaky", effects="external")
def flaky(payload, ctx):
    with open("ran", "a") as out:
        out.write("flaky ")
    if not os.path.exists("mended"):
        raise ValueError("broken")
    return [payload, ctx.attempt]

@agent.action("item", effects="none")
def item(payload):
    if payload == 2 and not os.path.exists("mended"):
        raise ValueError("two")
    return payload * 10
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "things.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("things", None)
    return tmp_path


@pytest.fixture
def config(place):
    return {"journal": {"path": str(place / "j.db")}, "c_layer": {"enabled": False}}


def work():
    import things

    return things.agent


def asked():
    return CommandSet(
        type="sequence", durability="group",
        steps=[
            CommandStep(id="first", agent="work", action="first"),
            CommandStep(id="flaky", agent="work", action="flaky", payload="p"),
            CommandStep(id="last", agent="system", action="echo", payload=Ref("flaky")),
        ],
    )  # fmt: skip


async def tandem_runs(*arguments):
    command = (sys.executable, "-P", "-m", "tandem_orchestrator", "runs")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, *arguments, stdout=pipe, stderr=pipe,
        env={**os.environ, "TANDEM_C_LAYER__ENABLED": "false"},
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


async def failed_run(config):
    async with TandemOrchestrator(config) as tandem:
        tandem.add_agent(work())
        result = await tandem.execute_command_set(asked())
    assert result["status"] == "failed"
    return result["run_id"]


@pytest.mark.parametrize("durability", ["group", "none"])
async def test_a_failed_run_goes_on_in_its_own_process(config, place, durability):
    async with TandemOrchestrator(config) as tandem:
        tandem.add_agent(work())
        command_set = asked()
        command_set.durability = durability
        run = await tandem.submit(command_set)
        assert (await run.result())["status"] == "failed"
        (place / "mended").touch()
        async with asyncio.timeout(20):
            await run.retry("flaky", by="Eve")
            result = await run.result()
        assert result["status"] == "completed"
        assert result["results"]["last"] == ["p", 2]
        assert result["steps"]["flaky"]["attempts"] == 2
        row = (await tandem.runs())[0]
        assert (row.status, row.steps_done) == ("completed", 3) and row.finished_at_ns
        again = await tandem.run(run.id).result()
        assert again["results"] == result["results"]
        assert tandem.get_metrics()["execution_stats"]["intelligent"]["completed"] == 1
    assert (place / "ran").read_text() == "first flaky flaky "


async def test_the_command_retries_a_run_whose_program_has_ended(config, place):
    run_id = await failed_run(config)
    journal = ("--journal", config["journal"]["path"])
    code, _, err = await tandem_runs("retry", run_id, *journal)
    assert code == 4 and "work.flaky" in err
    code, out, err = await tandem_runs("retry", run_id, "--import", "things", *journal, "--json")
    assert code == 1 and json.loads(out)["status"] == "failed"
    (place / "mended").touch()
    code, out, err = await tandem_runs("retry", run_id, "--import", "things", *journal, "--json")
    result = json.loads(out)
    assert code == 0 and result["status"] == "completed" and result["run_id"] == run_id
    assert result["results"]["last"] == ["p", 3]
    assert (place / "ran").read_text() == "first flaky flaky flaky "
    code, _, err = await tandem_runs("retry", run_id, "--import", "things", *journal)
    assert code == 4 and "name the one" in err
    code, _, err = await tandem_runs("retry", run_id, "nosuch", "--import", "things", *journal)
    assert code == 4 and "nosuch" in err


async def test_the_command_has_a_run_retried_by_the_process_that_has_its_agents(config, place):
    async with TandemOrchestrator(config) as tandem:
        tandem.add_agent(work())
        run_id = (await tandem.execute_command_set(asked()))["run_id"]
        (place / "mended").touch()
        code, out, _ = await tandem_runs("retry", run_id, "--journal", config["journal"]["path"])
        assert code == 0 and "goes on" in out
        result = await asyncio.wait_for(tandem.run(run_id).result(), 20)
    assert result["status"] == "completed"


async def test_of_collected_items_only_the_failed_ones_run_again(config, place):
    async with TandemOrchestrator(config) as tandem:
        tandem.add_agent(work())
        step = CommandStep(
            id="e", agent="work", action="item", payload=Ref("item"), for_each=[1, 2, 3],
            on_item_failure="collect",
        )  # fmt: skip
        run = await tandem.submit(CommandSet(steps=[step]))
        result = await run.result()
        assert result["results"]["e"] == [10, None, 30]
        assert result["steps"]["e"]["failed_items"] == [1]
        (place / "mended").touch()
        await run.retry("e")
        result = await asyncio.wait_for(run.result(), 20)
    assert result["results"]["e"] == [10, 20, 30] and result["steps"]["e"]["attempts"] == 4


async def test_a_run_that_goes_on_is_not_retried_and_one_that_is_not_there_neither(config):
    async with TandemOrchestrator(config) as tandem:
        step = CommandStep(id="s", agent="system", action="sleep", payload={"seconds": 60})
        run = await tandem.submit(CommandSet(steps=[step]))
        with pytest.raises(CommandError, match="has not ended"):
            await run.retry("s")
        with pytest.raises(CommandError, match="only a run that has ended"):
            await run.fork("s", 1)
        with pytest.raises(CommandError, match="nosuch"):
            await tandem.run("nosuch").retry()


async def test_a_fork_takes_over_what_came_before_and_runs_the_rest(config, place):
    (place / "mended").touch()
    async with TandemOrchestrator(config) as tandem:
        tandem.add_agent(work())
        run = await tandem.submit(asked())
        assert (await run.result())["results"]["last"] == ["p", 1]
        other = await run.fork("flaky", {"was": Ref("first", "n")})
        result = await asyncio.wait_for(other.result(), 20)
        assert other.id != run.id
        assert result["results"]["last"] == [{"was": 1}, 1]
        assert result["results"]["first"] == {"n": 1}
        kinds = [event["kind"] async for event in other.events()]
        assert kinds[:3] == ["run_accepted", "run_forked", "run_started"]
        assert (await run.result())["results"]["last"] == ["p", 1]
        row = next(row for row in await tandem.runs() if row.run_id == other.id)
        assert (row.steps_done, row.steps_total) == (3, 3)
        with pytest.raises(CommandError, match="nosuch"):
            await run.fork("nosuch", 1)
        with pytest.raises(InvalidCommandSet):
            await run.fork("flaky", Ref("nosuch"))
        await other.retry("last")
        assert (await asyncio.wait_for(other.result(), 20))["status"] == "completed"
    assert (place / "ran").read_text() == "first flaky flaky "


async def test_the_command_forks_a_run(config, place):
    run_id = await failed_run(config)
    (place / "mended").touch()
    journal = ("--journal", config["journal"]["path"])
    code, out, err = await tandem_runs(
        "fork", run_id, "flaky", "--payload", '{"k": 2}', "--import", "things", "--json", *journal
    )
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result["run_id"] != run_id and result["results"]["last"] == [{"k": 2}, 1]
    assert (place / "ran").read_text() == "first flaky flaky "


async def test_of_two_that_retry_one_run_one_has_it(config, place):
    run_id = await failed_run(config)
    (place / "mended").touch()
    async with TandemOrchestrator(config) as one, TandemOrchestrator(config) as two:
        for tandem in (one, two):
            tandem.add_agent(work())
        tries = (one.run(run_id).retry(), two.run(run_id).retry())
        ends = await asyncio.gather(*tries, return_exceptions=True)
        result = await asyncio.wait_for(one.run(run_id).result(), 20)
    assert result["status"] == "completed", ends
    assert (place / "ran").read_text() == "first flaky flaky ", ends


async def test_the_same_key_and_body_is_the_same_run_and_another_body_is_refused(place):
    async def tandem_run(seconds):
        text = f"steps: [{{id: a, agent: system, action: echo, payload: {seconds}}}]\n"
        (place / "set.yaml").write_text(f"name: keyed\n{text}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "tandem_orchestrator", "run", "set.yaml",
            "--key", "k", "--journal", "k.db", "--json",
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "TANDEM_C_LAYER__ENABLED": "false"},
        )  # fmt: skip
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        return process.returncode, json.loads(out)

    code, first = await tandem_run(1)
    assert code == 0
    code, same = await tandem_run(1)
    assert code == 0 and same["run_id"] == first["run_id"]
    code, refused = await tandem_run(2)
    assert code == 4 and refused["error_type"] == "IdempotencyMismatch"
