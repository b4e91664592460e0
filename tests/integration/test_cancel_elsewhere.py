"""A run is cancelled by an orchestrator that does not own it, through the journal."""

import asyncio

import pytest

from tandem_orchestrator import CommandError, CommandSet, CommandStep, TandemOrchestrator


async def test_another_orchestrator_on_the_same_file_cancels_a_run(tmp_path):
    config = {"journal": {"path": str(tmp_path / "shared.db")}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as owner, TandemOrchestrator(config) as other:
        started = asyncio.Event()
        agent = owner.register_agent("slow")

        @agent.action("wait", effects="none")
        async def wait(payload):
            started.set()
            await asyncio.Event().wait()

        asked = CommandSet(steps=[CommandStep(id="a", agent="slow", action="wait")])
        run = await owner.submit(asked)
        await asyncio.wait_for(started.wait(), 20)
        await other.run(run.id).cancel(by="the other one")
        result = await asyncio.wait_for(run.result(), 20)
    assert result["status"] == "cancelled"
    assert result["steps"]["a"]["outcome"] == "cancelled"
    assert "the other one" in result["steps"]["a"]["error"]


async def test_cancelling_a_run_that_is_not_there_or_has_ended_is_an_error(tmp_path):
    config = {"journal": {"path": str(tmp_path / "j.db")}, "c_layer": {"enabled": False}}
    async with TandemOrchestrator(config) as tandem:
        with pytest.raises(CommandError, match="nosuch"):
            await tandem.run("nosuch").cancel()
        asked = CommandSet(steps=[CommandStep(agent="system", action="noop")])
        result = await tandem.execute_command_set(asked)
        with pytest.raises(CommandError, match=result["run_id"]):
            await tandem.run(result["run_id"]).cancel()
