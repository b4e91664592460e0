"""The hooks of one run: conflicts in order and bounded, twins by name where they have one."""

import asyncio
from typing import Any

import pytest

from tandem_orchestrator.model.commands import CommandSet
from tandem_orchestrator.plugins import Plugins
from tandem_orchestrator.plugins.run_hooks import CONFLICTS_WAITING_MAX, copied, in_order
from tandem_orchestrator.testing import FakeClock


class Referee:
    """Writes down the conflicts it is told of; waits before the first until it may go on."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, Any]] = []
        self.go_on = asyncio.Event()
        self.at_once = self.at_once_max = 0

    async def on_conflict(self, left: Any, right: Any) -> None:
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        await self.go_on.wait()
        self.told.append((left, right))
        self.at_once -= 1


def outcome(name: str, output: Any = 1) -> dict[str, Any]:
    return {
        "implementation": name, "outcome": "succeeded", "output": output, "failure": None,
        "seconds": 0.1,
    }  # fmt: skip


def conflict(number: int, run_id: str = "r1") -> dict[str, Any]:
    return {"run_id": run_id, "id": f"c{number}", "step": "s1", "item": number}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("python", "c"), ("python", "c")),
        (("c", "python"), ("python", "c")),
        (("v2", "python"), ("v2", "python")),
        (("v1", "v2", "v3"), ("v1", "v2")),
        (("v1", "c", "python"), ("python", "c")),
    ],
)
def test_python_and_c_are_told_by_name_and_others_by_position(
    names: tuple[str, ...], told: tuple[str, str]
) -> None:
    left, right = in_order([outcome(name) for name in names])
    assert (left["implementation"], right["implementation"]) == told


async def test_conflicts_are_told_one_by_one_in_order_and_before_the_run_is_complete() -> None:
    plugins, referee = Plugins(FakeClock(), lambda: 5.0), Referee()
    plugins.register(referee)
    hooks = plugins.of_run("r1", CommandSet())
    for number in range(20):
        plugins.conflict(conflict(number), [outcome("python"), outcome("c", number)])
    plugins.conflict(conflict(0, "another run"), [outcome("python"), outcome("c")])
    complete = asyncio.ensure_future(hooks.complete({}))
    await asyncio.sleep(0)
    assert not complete.done()
    referee.go_on.set()
    await complete

    assert [right["output"] for _, right in referee.told] == list(range(20))
    assert [left["item"] for left, _ in referee.told] == list(range(20))
    assert {left["run_id"] for left, _ in referee.told} == {"r1"}
    assert referee.at_once_max == 1
    await plugins.close()


async def test_a_run_is_not_complete_before_a_conflict_whose_telling_has_not_begun() -> None:
    plugins, referee = Plugins(FakeClock(), lambda: 5.0), Referee()
    plugins.register(referee)
    hooks = plugins.of_run("r1", CommandSet())
    referee.go_on.set()
    plugins.conflict(conflict(0), [outcome("python"), outcome("c")])
    await hooks.complete({})
    assert len(referee.told) == 1
    await plugins.close()


async def test_more_conflicts_than_may_wait_are_left_out_and_counted() -> None:
    plugins, referee = Plugins(FakeClock(), lambda: 5.0), Referee()
    plugins.register(referee)
    hooks = plugins.of_run("r1", CommandSet())
    plugins.conflict(conflict(0), [outcome("python"), outcome("c")])
    while not referee.at_once:
        await asyncio.sleep(0)
    for number in range(CONFLICTS_WAITING_MAX + 7):
        plugins.conflict(conflict(number), [outcome("python"), outcome("c")])
    referee.go_on.set()
    await hooks.complete({})

    assert len(referee.told) == CONFLICTS_WAITING_MAX + 1
    health = plugins.health()["Referee"]
    assert health.skipped == 7
    assert f"{CONFLICTS_WAITING_MAX} conflicts of its run wait" in health.reason


async def test_closing_ends_what_is_still_being_told() -> None:
    plugins, referee = Plugins(FakeClock(), lambda: 5.0), Referee()
    plugins.register(referee)
    hooks = plugins.of_run("r1", CommandSet())
    plugins.conflict(conflict(0), [outcome("python"), outcome("c")])
    while not referee.at_once:
        await asyncio.sleep(0)
    await plugins.close()
    assert referee.told == []
    del hooks


def test_a_copy_shares_no_container() -> None:
    original = {"a": [1, {"b": (2, b"x")}], "c": {}}
    copy = copied(original)
    assert copy == {"a": [1, {"b": [2, b"x"]}], "c": {}}
    copy["a"][1]["b"].append(3)
    copy["c"]["d"] = 1
    assert original == {"a": [1, {"b": (2, b"x")}], "c": {}}
