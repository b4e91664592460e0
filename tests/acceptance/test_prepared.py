"""``prepare``: checked and planned once, run often, routed anew when implementations change."""

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    InvalidCommandSet,
    Ref,
    TandemOrchestrator,
)

MEMORY = {"journal": {"path": ":memory:"}}


def doubling():
    steps = [
        CommandStep(id="a", agent="maths", action="double", payload={"n": Ref("inputs", "n")}),
        CommandStep(id="b", agent="maths", action="double", payload={"n": Ref("a")}),
    ]
    return CommandSet(name="twice", steps=steps)


async def test_a_prepared_plan_runs_with_other_inputs_each_time():
    async with TandemOrchestrator(MEMORY) as tandem:
        agent = tandem.register_agent("maths")

        @agent.action("double", effects="none")
        async def double(payload):
            return payload["n"] * 2

        plan = await tandem.prepare(doubling())
        results = [await plan.run(inputs={"n": n}) for n in (1, 2, 3)]
        rows = await tandem.runs()
    assert [result["results"]["b"] for result in results] == [4, 8, 12]
    assert {row.status for row in rows} == {"completed"} and len(rows) == 3
    assert len({result["run_id"] for result in results}) == 3


async def test_an_input_that_is_missing_is_a_fault_of_that_run_alone():
    async with TandemOrchestrator(MEMORY) as tandem:
        agent = tandem.register_agent("maths")

        @agent.action("double", effects="none")
        async def double(payload):
            return payload["n"] * 2

        plan = await tandem.prepare(doubling())
        with pytest.raises(InvalidCommandSet) as caught:
            await plan.run(inputs={"m": 1})
        assert caught.value.faults[0].code == "bad_reference"
        assert (await plan.run(inputs={"n": 1}))["status"] == "completed"


async def test_what_the_caller_changes_afterwards_does_not_matter():
    async with TandemOrchestrator(MEMORY) as tandem:
        asked = CommandSet(steps=[CommandStep(id="a", agent="system", action="echo", payload=[1])])
        plan = await tandem.prepare(asked)
        asked.steps[0].payload.append(2)
        asked.steps.clear()
        assert (await plan.run())["results"] == {"a": [1]}


async def test_a_plan_is_routed_anew_when_implementations_change():
    async with TandemOrchestrator(MEMORY) as tandem:
        agent = tandem.register_agent("maths")

        @agent.action("double", effects="none")
        async def double(payload):
            return payload["n"] * 2

        plan = await tandem.prepare(doubling())
        await plan.run(inputs={"n": 1})

        @agent.action("double", effects="none", version="2")
        async def double_and_one(payload):
            return payload["n"] * 2 + 1

        assert (await plan.run(inputs={"n": 1}))["results"]["b"] == 7
        assert plan.plan.steps[0].version == "2"


async def test_preparing_checks_everything_at_once():
    async with TandemOrchestrator(MEMORY) as tandem:
        asked = CommandSet(steps=[CommandStep(agent="sytem", action="echo", timeout=-1)])
        with pytest.raises(InvalidCommandSet) as caught:
            await tandem.prepare(asked)
        assert {fault.code for fault in caught.value.faults} >= {"unknown_agent"}
        assert len(caught.value.faults) == 2
