"""Built-in agents are everyone's: what one orchestrator hangs on them the others do not see."""

import gc
from typing import Any

import pytest

from tandem_orchestrator import (
    Agent,
    CommandSet,
    CommandStep,
    InvalidCommandSet,
    TandemOrchestrator,
)
from tandem_orchestrator.agents import system
from tandem_orchestrator.layers.python import Registry

MEMORY = {"journal": {"path": ":memory:"}, "c_layer": {"enabled": False}}


def asked(action: str) -> CommandSet:
    return CommandSet(steps=[CommandStep(id="s", agent="system", action=action, payload=1)])


@pytest.mark.parametrize("early", [True, False])
async def test_a_handler_of_one_orchestrator_is_not_seen_by_another(early: bool) -> None:
    one, other = TandemOrchestrator(MEMORY), TandemOrchestrator(MEMORY)
    if not early:
        await one.initialize()
    one.register_agent("system").action("mine", effects="none")(lambda payload: "mine")
    one.register_agent("system").action("echo", effects="none")(lambda payload: "other")
    async with one, other:
        assert (await one.execute_command_set(asked("mine")))["results"] == {"s": "mine"}
        assert (await one.execute_command_set(asked("echo")))["results"] == {"s": "other"}
        with pytest.raises(InvalidCommandSet, match="mine"):
            await other.execute_command_set(asked("mine"))
        assert (await other.execute_command_set(asked("echo")))["results"] == {"s": 1}
    assert "mine" not in system.agent.actions


async def test_a_twin_that_one_orchestrator_adds_stays_its_own() -> None:
    one, other = TandemOrchestrator(MEMORY), TandemOrchestrator(MEMORY)
    async with one, other:
        one.register_agent("system").actions["echo"].twin("v2")(lambda payload: payload)
        names = [
            {i.name for i in tandem.catalogue().actions["system", "echo"].implementations}
            for tandem in (one, other)
        ]
    assert names == [{"python", "v2"}, {"python"}]
    assert list(system.agent.actions["echo"].implementations) == ["python"]


async def test_what_a_shared_agent_gets_later_is_seen_by_those_that_are_open() -> None:
    shared, registry = Agent("shared"), Registry()
    registry.add_copy(shared)
    handle = shared.action("later", effects="none")(lambda payload: 1)
    assert registry.find("shared", "later", "python") is not None
    handle.twin("v2")(lambda payload: 2)
    assert registry.find("shared", "later", "v2") is not None


async def test_orchestrators_that_are_gone_leave_nothing_in_shared_agents() -> None:
    async def opened() -> None:
        async with TandemOrchestrator(MEMORY) as tandem:
            tandem.register_agent("system").action("mine", effects="none")(lambda payload: 1)

    before = kept()
    for _ in range(5):
        await opened()
    assert kept() == before


def kept() -> Any:
    gc.collect()
    system.agent.changed()
    watchers = len(system.agent._watchers)
    return watchers, [len(handle._living()) for handle in system.agent.actions.values()]


def test_a_shared_action_forgets_agents_that_nobody_has_any_more() -> None:
    shared = Agent("shared")
    handle = shared.action("do", effects="none")(lambda payload: 1)
    for _ in range(5):
        Agent("shared").join(shared)
    gc.collect()
    assert handle._living() == [shared]
    assert len(handle._agents) == 1
