"""Runs are paused, approved and signalled by ``tandem runs``, in another process."""

import asyncio
import json
import sys

import pytest

from tandem_orchestrator import (
    Busy,
    CommandError,
    CommandSet,
    CommandStep,
    IdempotencyMismatch,
    InvalidCommandSet,
    TandemOrchestrator,
)


async def tandem_runs(*arguments):
    command = (sys.executable, "-P", "-m", "tandem_orchestrator", "runs")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


def approval(**fields):
    return CommandStep(
        id="ok", agent="system", action="approval", payload={"prompt": "ship it?"}, **fields
    )


def signal(name="go"):
    return CommandStep(id="sig", agent="system", action="wait_signal", payload={"name": name})


def noop(step_id="last"):
    return CommandStep(id=step_id, agent="system", action="noop")


@pytest.fixture
def config(tmp_path):
    return {"journal": {"path": str(tmp_path / "j.db")}, "c_layer": {"enabled": False}}


async def test_a_step_is_approved_and_another_signalled_from_elsewhere(config):
    journal = ("--journal", config["journal"]["path"])
    async with TandemOrchestrator(config) as tandem:
        asked = CommandSet(type="sequence", steps=[approval(), signal(), noop()])
        result = await tandem.execute_command_set(asked)
        run_id = result["run_id"]
        assert result["status"] == "held"
        assert any("ship it?" in note and "runs approve" in note for note in result["notes"])
        code, _, err = await tandem_runs("approve", run_id, "last", *journal)
        assert code == 4 and "'ok'" in err
        code, out, err = await tandem_runs(
            "approve", run_id, "ok", "--by", "Eve", "--note", "yes", "--json", *journal
        )
        assert (code, err) == (0, "") and json.loads(out)["obeyed"] is True
        code, _, err = await tandem_runs("signal", run_id, "go", "--payload", "{x", *journal)
        assert code == 2 and "--payload" in err
        code, out, err = await tandem_runs(
            "signal", run_id, "go", "--payload", '{"n": 1}', *journal
        )
        assert (code, err) == (0, "") and "given" in out
        result = await asyncio.wait_for(tandem.run(run_id).result(), 20)
        code, _, err = await tandem_runs("signal", run_id, "go", *journal)
        assert code == 4 and "has ended" in err
    assert result["status"] == "completed"
    given = result["results"]["ok"]
    assert (given["approved"], given["by"], given["note"]) == (True, "Eve", "yes")
    assert given["at"].endswith("Z") and result["results"]["sig"] == {"n": 1}


async def test_a_rejected_approval_fails_the_run(config):
    journal = ("--journal", config["journal"]["path"])
    async with TandemOrchestrator(config) as tandem:
        asked = CommandSet(type="sequence", steps=[approval(), noop()])
        run = tandem.run((await tandem.execute_command_set(asked))["run_id"])
        code, out, _ = await tandem_runs("approve", run.id, "ok", "--reject", *journal)
        assert code == 0 and "rejected" in out
        result = await asyncio.wait_for(run.result(), 20)
    assert result["status"] == "failed" and result["steps"]["ok"]["outcome"] == "failed"
    assert result["steps"]["last"]["outcome"] == "skipped"


async def test_a_deadline_that_passes_fails_the_step(config):
    async with TandemOrchestrator(config) as tandem:
        asked = CommandSet(steps=[approval(timeout=0.05)])
        run = await tandem.submit(asked)
        result = await asyncio.wait_for(run.result(), 20)
    assert result["steps"]["ok"]["outcome"] == "failed"
    assert "0.05 s" in result["error"]


async def test_a_run_is_paused_and_goes_on_from_elsewhere_and_holds_no_place(config):
    journal = ("--journal", config["journal"]["path"])
    config = {**config, "orchestrator": {"max_parallel_workflows": 1}}
    async with TandemOrchestrator(config) as tandem:
        started, go_on = asyncio.Event(), asyncio.Event()

        @tandem.register_agent("slow").action("wait", effects="none")
        async def wait(payload):
            started.set()
            await go_on.wait()

        first = CommandStep(id="first", agent="slow", action="wait")
        run = await tandem.submit(CommandSet(type="sequence", steps=[first, noop()]))
        await asyncio.wait_for(started.wait(), 20)
        code, out, err = await tandem_runs("pause", run.id, "--json", *journal)
        assert (code, err) == (0, "") and json.loads(out)["obeyed"] is True
        assert (await tandem.runs(status="paused"))[0].run_id == run.id
        go_on.set()
        other = await asyncio.wait_for(tandem.execute_command_set(CommandSet(steps=[noop()])), 20)
        assert other["status"] == "completed"
        view = await tandem.view(run.id)
        assert set(view.steps) == {"first"} and view.status == "paused"
        code, _, err = await tandem_runs("continue", run.id, *journal)
        assert (code, err) == (0, "")
        result = await asyncio.wait_for(run.result(), 20)
    assert result["status"] == "completed"


async def test_a_run_that_waits_for_its_place_can_be_paused_before_it_begins(config):
    config = {**config, "orchestrator": {"max_parallel_workflows": 1}}
    async with TandemOrchestrator(config) as tandem:
        go_on = asyncio.Event()

        @tandem.register_agent("slow").action("wait", effects="none")
        async def wait(payload):
            await go_on.wait()

        first = await tandem.submit(
            CommandSet(steps=[CommandStep(id="a", agent="slow", action="wait")])
        )
        second = await tandem.submit(
            CommandSet(steps=[CommandStep(id="a", agent="slow", action="wait")])
        )
        await second.pause()
        go_on.set()
        await asyncio.wait_for(first.result(), 20)
        assert (await tandem.runs(status="paused"))[0].run_id == second.id
        await second.unpause()
        result = await asyncio.wait_for(second.result(), 20)
    assert result["status"] == "completed"


async def test_runs_that_wait_hold_no_place_and_are_bounded(config):
    config = {**config, "orchestrator": {
        "max_parallel_workflows": 1, "max_queued_runs": 0, "max_held_runs": 3,
    }}  # fmt: skip
    async with TandemOrchestrator(config) as tandem:
        waiting = []
        for _ in range(3):
            result = await tandem.execute_command_set(CommandSet(steps=[approval()]))
            assert result["status"] == "held"
            waiting.append(tandem.run(result["run_id"]))
        with pytest.raises(Busy, match="max_held_runs"):
            await tandem.submit(CommandSet(steps=[approval()]))
        for run in waiting:
            await run.approve("ok")
            assert (await asyncio.wait_for(run.result(), 20))["status"] == "completed"


async def test_closing_leaves_waiting_and_paused_runs_as_they_are(config):
    async with TandemOrchestrator(config) as tandem:
        held = await tandem.submit(CommandSet(type="sequence", steps=[approval(), noop()]))
        await held.result_or_held()
        paused = await tandem.submit(CommandSet(type="sequence", steps=[signal(), noop()]))
        await paused.result_or_held()
        await paused.pause()
    async with TandemOrchestrator(config) as tandem:
        async with asyncio.timeout(20):
            while len(await tandem.runs(status="held") + await tandem.runs(status="paused")) < 2:
                await asyncio.sleep(0.02)
            await tandem.run(paused.id).signal("go", 5)
            await tandem.run(held.id).approve("ok", "Eve")
            assert (await tandem.run(held.id).result())["status"] == "completed"
            assert (await tandem.runs(status="paused"))[0].run_id == paused.id
            await tandem.run(paused.id).unpause()
            result = await tandem.run(paused.id).result()
    assert result["results"]["sig"] == 5


async def test_a_signal_with_a_key_counts_once_and_with_another_payload_is_refused(config):
    async with TandemOrchestrator(config) as tandem:
        steps = [signal(), CommandStep(id="s2", agent="system", action="wait_signal",
                                       payload={"name": "go"})]  # fmt: skip
        run = await tandem.submit(CommandSet(type="sequence", steps=steps))
        async with asyncio.timeout(20):
            await run.signal("go", 1, key="k")
            await run.signal("go", 1, key="k")
            with pytest.raises(IdempotencyMismatch):
                await run.signal("go", 2, key="k")
            assert (await run.result_or_held())["status"] == "held"
            await run.signal("go", 3)
            result = await run.result()
    assert result["results"] == {"sig": 1, "s2": 3}


async def test_cancelling_a_step_tells_whether_its_work_stopped(config):
    journal = ("--journal", config["journal"]["path"])
    async with TandemOrchestrator(config) as tandem:
        steps = [
            CommandStep(
                id="nap", agent="system", action="sleep", payload={"seconds": 60}, can_fail=True
            ),
            approval(),
        ]
        run = await tandem.submit(CommandSet(steps=steps))
        answer = await run.cancel("nap", wait_s=20)
        assert answer.ended and answer.stopped is True
        code, out, err = await tandem_runs("cancel", run.id, "--json", *journal)
        assert (code, err) == (0, "")
        told = json.loads(out)
        assert (told["ended"], told["stopped"]) == (True, True)
        assert (await run.result())["status"] == "cancelled"
        code, _, err = await tandem_runs("cancel", run.id, *journal)
        assert code == 4 and "has ended" in err


async def test_what_a_waiting_step_cannot_have_is_told_when_it_is_planned(config):
    async with TandemOrchestrator(config) as tandem:
        bad = [
            CommandStep(id="a", agent="system", action="wait_signal", payload={}),
            CommandStep(id="b", agent="system", action="approval", for_each=[1, 2]),
            CommandStep(id="c", agent="system", action="approval", payload={"prompt": 3}),
        ]
        with pytest.raises(InvalidCommandSet) as caught:
            tandem.validate(CommandSet(steps=bad))
        assert {fault.path for fault in caught.value.faults} == {
            "steps[0].payload.name", "steps[1].for_each", "steps[2].payload.prompt",
        }  # fmt: skip
        with pytest.raises(Exception, match="a step of a run"):
            await tandem.send("system", "approval", {})


async def test_asking_something_of_a_run_that_is_not_there_is_an_error(config):
    async with TandemOrchestrator(config) as tandem:
        with pytest.raises(CommandError, match="nosuch"):
            await tandem.run("nosuch").pause()
