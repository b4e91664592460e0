"""Results are folded from events: the same whether they were heard live or read back."""

from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, Ref, TandemOrchestrator
from tandem_orchestrator.model.events import decode_event, encode_event
from tandem_orchestrator.observe import RunView


def do(step_id: str, payload: Any = None, **fields: Any) -> CommandStep:
    return CommandStep(id=step_id, agent="t", action="do", payload=payload, **fields)


SETS = {
    "plain": lambda: CommandSet(steps=[do("a", 1), do("b", Ref("a"))]),
    "failed": lambda: CommandSet(steps=[do("a", "fail"), do("b", Ref("a"))]),
    "tolerated": lambda: CommandSet(steps=[do("a", "fail", can_fail=True), do("b", 2)]),
    "items": lambda: CommandSet(
        steps=[do("a", Ref("item"), for_each=[1, "fail", 3], on_item_failure="collect")]
    ),
    "nested": lambda: CommandSet(
        steps=[CommandStep(id="g", command_set=CommandSet(steps=[do("x", b"\xff")]))]
    ),
    "compared": lambda: CommandSet(mode="redundant", steps=[do("a", {"n": 1})]),
    "handler": lambda: CommandSet(python_handler=lambda command_set: {"$ref": "looks like one"}),
    "skipped": lambda: CommandSet(
        steps=[do("a", 0), do("b", 1, when={"ref": "a", "op": "gt", "value": 0})]
    ),
}


@pytest.mark.parametrize("name", SETS)
async def test_a_result_from_the_journal_is_the_one_the_caller_got(name: str) -> None:
    config = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}
    heard: list[Any] = []
    async with TandemOrchestrator(config) as tandem:

        @tandem.register_agent("t").action("do", effects="none")
        async def handler(payload: Any) -> Any:
            if payload == "fail":
                raise ValueError("as asked")
            return payload

        @handler.twin("v2")
        async def handler_v2(payload: Any) -> Any:
            return {"n": 2}

        async with tandem.listening(lambda run_id, event: heard.append(event)):
            live = await tandem.execute_command_set(SETS[name]())
        kept = await tandem.view(live["run_id"])
        again = await tandem.run(live["run_id"]).result()
        [row] = await tandem.runs()

    assert kept is not None
    assert kept.result() == live == again
    assert row.to_value()["status"] == live["status"]
    assert row.to_value()["duration"] == live["duration"]
    copied = RunView()
    for event in heard:
        copied.apply(decode_event(encode_event(event)))
    assert copied.result() == live


async def test_a_run_that_is_not_there_has_no_view() -> None:
    config = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}
    async with TandemOrchestrator(config) as tandem:
        assert await tandem.view("01nobody") is None


async def test_before_its_end_a_view_tells_as_far_as_is_known() -> None:
    import asyncio

    config = {"c_layer": {"enabled": False}, "journal": {"path": ":memory:"}}
    began, go_on = asyncio.Event(), asyncio.Event()
    async with TandemOrchestrator(config) as tandem:

        @tandem.register_agent("t").action("do", effects="none")
        async def handler(payload: Any) -> Any:
            if payload == "wait":
                began.set()
                await go_on.wait()
            return payload

        steps = [do("a", 1), do("b", "wait"), do("c", 3)]
        run = await tandem.submit(
            CommandSet(steps=steps, dependencies={"b": ["a"], "c": ["b"]}, durability="sync")
        )
        await asyncio.wait_for(began.wait(), 20)
        view = await tandem.view(run.id)
        go_on.set()
        await run.result()

    assert view is not None
    result = view.result()
    assert (result["status"], result["duration"], result["error"]) == ("running", None, None)
    assert (result["results"], list(result["steps"])) == ({"a": 1}, ["a"])
    assert list(view.running) == ["b"]
