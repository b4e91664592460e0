"""Durable runs of a structure that was planned before: nothing tells them from others."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tandem_orchestrator import CommandSet, CommandStep, InvalidCommandSet, Ref, TandemOrchestrator
from tandem_orchestrator.orchestrator.planning import Planning

pytestmark = pytest.mark.native


def pair(n: Any, agent: str = "own", **fields: Any) -> CommandSet:
    steps = [
        CommandStep(id="a", agent=agent, action="same", payload={"n": n, "name": f"a{n}"}),
        CommandStep(id="b", agent=agent, action="same", payload=[Ref("a", "n"), n]),
    ]
    return CommandSet(steps=steps, **fields)


@pytest.fixture
async def tandem() -> AsyncIterator[TandemOrchestrator]:
    config = {"journal": {"path": ":memory:"}, "router": {"frozen": True}}
    async with TandemOrchestrator(config) as made:
        own = made.register_agent("own")

        @own.action("same", effects="none")
        def same(payload: Any) -> Any:
            return payload

        yield made


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[CommandSet]:
    """Note which sets were checked and planned."""
    seen: list[CommandSet] = []
    take_in = Planning.take_in

    def watched(self: Planning, command_set: CommandSet, *arguments: Any, **named: Any) -> Any:
        seen.append(command_set)
        return take_in(self, command_set, *arguments, **named)

    monkeypatch.setattr(Planning, "take_in", watched)
    return seen


async def accepted(tandem: TandemOrchestrator, run_id: str) -> dict[str, Any]:
    async for event in tandem.run(run_id).events():
        return {key: value for key, value in event.items() if key not in ("at_ns", "run_id")}
    raise AssertionError(run_id)


@pytest.mark.parametrize("agent", ["own", "system"])
@pytest.mark.parametrize("name", ["", "named"])
async def test_the_second_run_is_not_planned_and_its_record_says_the_same(
    tandem: TandemOrchestrator, planned: list[CommandSet], agent: str, name: str
) -> None:
    def asked(n: int) -> CommandSet:
        made = pair(n, agent, durability="group", name=name)
        if agent == "system":
            for step in made.steps:
                step.action = "echo"
        return made

    await tandem.execute_command_set(asked(1))
    planned.clear()
    second = asked(2)
    result = await tandem.execute_command_set(second)
    assert planned == []
    assert result["results"] == {"a": {"n": 2, "name": "a2"}, "b": [2, 2]}
    anew = await (await tandem.submit(second)).result()
    assert planned == [second]
    assert anew["results"] == result["results"]
    assert await accepted(tandem, result["run_id"]) == await accepted(tandem, anew["run_id"])


async def test_another_durability_or_structure_is_planned(
    tandem: TandemOrchestrator, planned: list[CommandSet]
) -> None:
    await tandem.execute_command_set(pair(1, durability="group"))
    planned.clear()
    other = pair(1, durability="group")
    other.steps[1].payload = [1, Ref("a", "n")]
    for changed in (pair(1, durability="sync"), other):
        await tandem.execute_command_set(changed)
    assert len(planned) == 2


async def test_an_agent_that_is_registered_meanwhile_has_all_planned_anew(
    tandem: TandemOrchestrator, planned: list[CommandSet]
) -> None:
    await tandem.execute_command_set(pair(1))
    planned.clear()
    tandem.register_agent("another")
    await tandem.execute_command_set(pair(2))
    assert len(planned) == 1


async def test_a_payload_that_is_no_value_is_refused_as_ever(tandem: TandemOrchestrator) -> None:
    await tandem.execute_command_set(pair(1))
    with pytest.raises(InvalidCommandSet):
        await tandem.execute_command_set(pair(object()))
