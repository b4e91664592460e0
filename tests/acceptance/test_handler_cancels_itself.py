"""A handler that raises CancelledError on its own has failed; its run ends and says so."""

import asyncio

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator


async def test_a_handler_that_cancels_itself_has_failed():
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        agent = tandem.register_agent("odd")

        @agent.action("raises", effects="none")
        async def raises(payload):
            raise asyncio.CancelledError("on my own")

        @agent.action("waits_for_a_cancelled_future", effects="none")
        async def waits(payload):
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        for action in agent.actions:
            steps = [CommandStep(id="a", agent="odd", action=action)]
            result = await asyncio.wait_for(
                tandem.execute_command_set(CommandSet(steps=steps)), timeout=20
            )
            assert result["status"] == "failed"
            assert result["error_detail"]["type"] == "CancelledError"
