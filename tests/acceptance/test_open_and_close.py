"""Opening and closing under pressure: at once, twice, cancelled; and strangers' exceptions."""

import asyncio

import pytest

from tandem_orchestrator import (
    CommandError,
    CommandSet,
    CommandStep,
    InvalidCommandSet,
    TandemOrchestrator,
)

MEMORY = {"journal": {"path": ":memory:"}}


def bridges_of(tandem):
    return tandem.layer_health()["c"].details


@pytest.mark.native
async def test_initialising_twice_at_once_opens_once():
    tandem = TandemOrchestrator(MEMORY)
    await asyncio.gather(tandem.initialize(), tandem.initialize(), tandem.initialize())
    assert bridges_of(tandem)["starts"] == 1
    await tandem.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, "no task is left behind"


async def test_a_close_whose_caller_gives_up_goes_on_and_the_next_one_waits_for_it():
    tandem = TandemOrchestrator(MEMORY)
    agent = tandem.register_agent("slow")
    started, release = asyncio.Event(), asyncio.Event()

    @agent.action("wait", effects="none")
    async def wait(payload):
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()
            raise

    await tandem.initialize()
    run = await tandem.submit(CommandSet(steps=[CommandStep(agent="slow", action="wait")]))
    await started.wait()
    closing = asyncio.create_task(tandem.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    release.set()
    await asyncio.wait_for(tandem.close(), 20)
    assert (await run.result())["status"] == "cancelled"
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_closing_twice_at_once_closes_once():
    tandem = TandemOrchestrator(MEMORY)
    await tandem.initialize()
    await asyncio.gather(tandem.close(), tandem.close())
    await tandem.close()


async def test_a_listener_that_raises_hurts_nobody(caplog):
    def raises(run_id, event):
        raise ValueError("a stranger's")

    async with TandemOrchestrator(MEMORY) as tandem, tandem.listening(raises):
        asked = CommandSet(steps=[CommandStep(agent="system", action="noop")])
        assert (await tandem.execute_command_set(asked))["status"] == "completed"
    assert "a stranger's" in caplog.text


async def test_cancelling_what_has_ended_or_is_not_there_is_an_error():
    async with TandemOrchestrator(MEMORY) as tandem:
        asked = CommandSet(steps=[CommandStep(id="one", agent="system", action="noop")])
        run = await tandem.submit(asked)
        await run.result()
        with pytest.raises(CommandError, match="ended"):
            await run.cancel()
        sleeping = CommandStep(id="one", agent="system", action="sleep", payload={"seconds": 60})
        run = await tandem.submit(CommandSet(steps=[sleeping]))
        with pytest.raises(CommandError, match="one"):
            await run.cancel("onw")
        await run.cancel()


async def test_a_vote_of_two_is_refused():
    config = {**MEMORY, "redundancy": {"conflict_resolution": "vote"}}
    async with TandemOrchestrator(config) as tandem:
        agent = tandem.register_agent("twice")

        @agent.action("same", effects="none")
        def same(payload):
            return 1

        same.twin("other")(lambda payload: 1)
        asked = CommandSet(mode="redundant", steps=[CommandStep(agent="twice", action="same")])
        with pytest.raises(InvalidCommandSet, match="vote"):
            await tandem.execute_command_set(asked)


async def test_ten_thousand_misspelt_dependencies_are_all_told():
    steps = [CommandStep(id=f"step{i}", agent="system", action="noop") for i in range(10_000)]
    wrong = {f"step{i}": [f"stepp{i}"] for i in range(10_000)}
    async with TandemOrchestrator(MEMORY) as tandem:
        with pytest.raises(InvalidCommandSet) as caught:
            tandem.validate(CommandSet(steps=steps, dependencies=wrong))
    assert len(caught.value.faults) == 10_000
    assert caught.value.faults[0].nearest[0].startswith("step")
