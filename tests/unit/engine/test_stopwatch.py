"""How long a step with items takes is told apart from how much work its items were."""

import asyncio
from typing import Any

from tandem_orchestrator import CommandSet, CommandStep, TandemOrchestrator
from tandem_orchestrator.engine.recover import recover
from tandem_orchestrator.engine.stopwatch import Stopwatch
from tandem_orchestrator.model.events import AttemptStarted, RunAccepted, RunStarted, StepEnded
from tandem_orchestrator.model.plans import plan_to_value
from tandem_orchestrator.testing.driver import plan, step

SECOND = 10**9


def test_it_counts_from_the_first_attempt_of_a_step_to_its_end() -> None:
    watch, items = Stopwatch(), step("s", for_each=[1, 2])
    watch.started(items, 10 * SECOND)
    watch.started(items, 12 * SECOND)
    ended = watch.ended(StepEnded(step="s", outcome="succeeded", seconds=7.0), 14 * SECOND)
    assert (ended.seconds, ended.work_seconds) == (4.0, 7.0)
    again = watch.ended(StepEnded(step="s", outcome="succeeded", seconds=7.0), 20 * SECOND)
    assert (again.seconds, again.work_seconds) == (7.0, 0.0), "it has ended"


def test_a_step_without_items_is_left_as_it_is() -> None:
    watch = Stopwatch()
    watch.started(step("s"), SECOND)
    ended = StepEnded(step="s", outcome="succeeded", seconds=7.0)
    assert watch.ended(ended, 9 * SECOND) is ended


def test_a_step_that_another_owner_began_counts_from_there() -> None:
    the_plan = plan(step("s", for_each=[1, 2]))
    accepted = RunAccepted(
        run_id="r", command_set_id="c", name="n", type="workflow", mode="intelligent",
        priority="medium", durability="group", document={}, plan=plan_to_value(the_plan),
    )  # fmt: skip
    starts = [
        AttemptStarted(step="s", item=i, implementation="python", layer="python", at_ns=at * SECOND)
        for i, at in ((0, 3), (1, 5))
    ]
    found = recover([accepted, RunStarted(at_ns=SECOND), *starts])
    assert found.watch.began == {"s": 3 * SECOND}


async def test_items_that_run_at_one_time_take_less_than_their_work() -> None:
    together = asyncio.Barrier(8)
    async with TandemOrchestrator({"journal": {"path": ":memory:"}}) as tandem:
        agent = tandem.register_agent("work")

        @agent.action("wait", effects="none")
        async def wait(payload: Any) -> None:
            await together.wait()  # All of them are at work before one of them goes on.
            await asyncio.sleep(0.05)

        items = CommandStep(id="s", agent="work", action="wait", for_each=list(range(8)))
        one = CommandStep(id="one", agent="system", action="echo", payload=1)
        result = await tandem.execute_command_set(
            CommandSet(steps=[items, one], mode="python_only")
        )
    told = result["steps"]["s"]
    assert told["work_seconds"] >= 8 * 0.05
    assert 0.05 <= told["seconds"] < told["work_seconds"] / 2
    assert told["seconds"] <= result["duration"]
    assert "work_seconds" not in result["steps"]["one"]
