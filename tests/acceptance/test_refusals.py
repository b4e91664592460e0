"""What cannot run is refused: a typed error names the thing and what is near, and nothing runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandSet,
    CommandStep,
    Fault,
    InvalidCommandSet,
    NotAValue,
    Ref,
    TandemError,
    TandemOrchestrator,
)


@dataclass
class Shop:
    """An orchestrator with an agent that counts every call of its handlers."""

    tandem: TandemOrchestrator
    calls: int = 0

    async def refused(self, asked: CommandSet, **arguments: Any) -> list[Fault]:
        """Give the faults by every door; what was asked must have run nothing."""
        doors = (self.tandem.execute_command_set, self.tandem.submit)
        found = []
        for door in doors:
            with pytest.raises(InvalidCommandSet) as refusal:
                await door(asked, **arguments)
            found.append(refusal.value.faults)
        with pytest.raises(InvalidCommandSet) as refusal:
            self.tandem.validate(asked, **arguments)
        assert found == [refusal.value.faults] * len(doors)
        assert isinstance(refusal.value, ValueError)
        assert self.calls == 0
        assert await self.tandem.runs() == []
        for fault in refusal.value.faults:
            assert str(fault) in str(refusal.value)
        return list(refusal.value.faults)


@pytest.fixture
def shop(tandem: TandemOrchestrator) -> Shop:
    """A shop with the actions ``weigh`` and ``price``, and ``pack`` without a handler."""
    made = Shop(tandem)
    agent = tandem.register_agent("parcels", capabilities=["weigh", "price", "pack"])

    async def count(payload: Any) -> None:
        made.calls += 1

    agent.action("weigh", effects="none")(count)
    agent.action("price")(count)
    return made


def weigh(step_id: str = "", **fields: Any) -> CommandStep:
    """Make a step that could run."""
    return CommandStep(id=step_id, agent="parcels", action="weigh", **fields)


def facts(fault: Fault) -> tuple[str, str, Any]:
    """Give what a program would look at."""
    return fault.code, fault.path, fault.value


ONE: list[tuple[str, Callable[[], CommandSet], tuple[str, str, Any], str]] = [
    (
        "unknown agent",
        lambda: CommandSet(steps=[weigh(), CommandStep(agent="parcel", action="weigh")]),
        ("unknown_agent", "steps[1].agent", "parcel"),
        "there is no agent 'parcel'",
    ),
    (
        "no agent",
        lambda: CommandSet(steps=[CommandStep(action="weigh")]),
        ("unknown_agent", "steps[0].agent", ""),
        "names no agent",
    ),
    (
        "unknown action",
        lambda: CommandSet(steps=[CommandStep(agent="parcels", action="wiegh")]),
        ("unknown_action", "steps[0].action", "wiegh"),
        "agent 'parcels' has no action 'wiegh'",
    ),
    (
        "capability without handler",
        lambda: CommandSet(steps=[CommandStep(agent="parcels", action="pack")]),
        ("unknown_action", "steps[0].action", "pack"),
        "announces 'pack' and has no handler",
    ),
    (
        "cycle",
        lambda: CommandSet(
            steps=[weigh("a"), weigh("b"), weigh("c")],
            dependencies={"a": ["c"], "b": ["a"], "c": ["b"]},
        ),
        ("cycle", "dependencies", ["a", "b", "c", "a"]),
        "a -> b -> c -> a",
    ),
    (
        "cycle by references",
        lambda: CommandSet(
            steps=[weigh("a", payload=Ref("b")), weigh("b", payload={"x": [Ref("a", "y")]})]
        ),
        ("cycle", "dependencies", ["a", "b", "a"]),
        "a -> b -> a",
    ),
    (
        "duplicate id",
        lambda: CommandSet(steps=[weigh("a"), weigh("b"), weigh("a")]),
        ("duplicate_id", "steps[2].id", "a"),
        "used by steps[0] as well",
    ),
    (
        "duplicate of an id by position",
        lambda: CommandSet(steps=[weigh("s2"), weigh()]),
        ("duplicate_id", "steps[1].id", "s2"),
        "used by steps[0] as well",
    ),
    (
        "reserved id",
        lambda: CommandSet(steps=[weigh("item")]),
        ("duplicate_id", "steps[0].id", "item"),
        "reserved",
    ),
    (
        "self-dependency",
        lambda: CommandSet(steps=[weigh("a")], dependencies={"a": ["a"]}),
        ("self_dependency", "dependencies.a", "a"),
        "step 'a' depends on itself",
    ),
    (
        "unknown dependency",
        lambda: CommandSet(steps=[weigh("first"), weigh("b")], dependencies={"b": ["frist"]}),
        ("unknown_dependency", "dependencies.b", "frist"),
        "depends on 'frist', which does not exist",
    ),
    (
        "dependencies of an unknown step",
        lambda: CommandSet(steps=[weigh("first")], dependencies={"frist": ["first"]}),
        ("unknown_dependency", "dependencies.frist", "frist"),
        "there is no step 'frist'",
    ),
    (
        "missing library",
        lambda: CommandSet(steps=[weigh()], requires_libraries=["json", "no_such_library"]),
        ("missing_library", "requires_libraries[1]", "no_such_library"),
        "not installed",
    ),
    (
        "reference to an unknown step",
        lambda: CommandSet(steps=[weigh("first"), weigh("b", payload={"x": [Ref("frist", "y")]})]),
        ("bad_reference", "steps[1].payload.x[0]", "frist#/y"),
        "there is no step 'frist'",
    ),
    (
        "reference to itself",
        lambda: CommandSet(steps=[weigh("a", payload=Ref("a"))]),
        ("bad_reference", "steps[0].payload", "a"),
        "own output",
    ),
    (
        "item without for_each",
        lambda: CommandSet(steps=[weigh("a", payload=Ref("item"))]),
        ("bad_reference", "steps[0].payload", "item"),
        "for_each",
    ),
    (
        "malformed reference",
        lambda: CommandSet(steps=[weigh("a", payload={"$ref": "#/x"})]),
        ("bad_reference", "steps[0].payload", None),
        "expected 'step' or 'step#/path/to/value'",
    ),
    (
        "steps of the wrong type",
        lambda: CommandSet(steps=[weigh(), {"agent": "parcels"}]),  # type: ignore[list-item]
        ("bad_type", "steps[1]", {"agent": "parcels"}),
        "expected a CommandStep",
    ),
    (
        "name of the wrong type",
        lambda: CommandSet(name=7, steps=[weigh()]),  # type: ignore[arg-type]
        ("bad_type", "name", 7),
        "expected a string",
    ),
    (
        "retry policy with an unknown key",
        lambda: CommandSet(steps=[weigh()], retry_policy={"max_retry": 1}),
        ("bad_type", "retry_policy.max_retry", 1),
        "unknown key 'max_retry', expected max_retries",
    ),
    (
        "negative timeout",
        lambda: CommandSet(steps=[weigh(timeout=-1.0)]),
        ("impossible_timeout", "steps[0].timeout", -1.0),
        "above 0",
    ),
    (
        "endless timeout",
        lambda: CommandSet(steps=[weigh()], timeout=float("inf")),
        ("impossible_timeout", "timeout", float("inf")),
        "above 0",
    ),
    (
        "level that does not nest",
        lambda: CommandSet(
            type="sequence",  # type: ignore[arg-type]
            steps=[CommandStep(command_set=CommandSet(type="campaign", steps=[weigh()]))],
        ),
        ("bad_level", "steps[0].command_set.type", "campaign"),
        "CAMPAIGN cannot be held by SEQUENCE",
    ),
    (
        "atomic with two steps",
        lambda: CommandSet(type="atomic", steps=[weigh(), weigh()]),
        ("bad_level", "steps", 2),
        "one step, this one has 2",
    ),
    ("empty", CommandSet, ("empty", "steps", None), "needs steps or a python_handler"),
    (
        "empty nested set",
        lambda: CommandSet(steps=[CommandStep(command_set=CommandSet())]),
        ("empty", "steps[0].command_set.steps", None),
        "needs steps",
    ),
    (
        "mode without a policy",
        lambda: CommandSet(mode="reduntant", steps=[weigh()]),
        ("no_policy", "mode", "reduntant"),
        "has no policy",
    ),
    (
        "nothing to compare",
        lambda: CommandSet(mode="redundant", steps=[CommandStep(agent="parcels", action="price")]),
        ("nothing_to_compare", "steps", None),
        "compares twins",
    ),
    (
        "payload that is no value",
        lambda: CommandSet(steps=[weigh("a", payload={"x": [1, object()]})]),
        ("not_serialisable", "steps[0].payload.x[1]", None),
        "object is not a value",
    ),
]


@pytest.mark.parametrize(
    ("asked", "expected", "text"), [c[1:] for c in ONE], ids=[c[0] for c in ONE]
)
async def test_one_fault_is_refused_by_every_door_and_nothing_runs(
    shop: Shop, asked: Callable[[], CommandSet], expected: tuple[str, str, Any], text: str
) -> None:
    faults = await shop.refused(asked())

    assert len(faults) == 1, [str(fault) for fault in faults]
    code, path, value = facts(faults[0])
    assert (code, path) == expected[:2]
    if code != "not_serialisable":
        assert value == expected[2]
    assert text in faults[0].message


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        (CommandSet(steps=[CommandStep(agent="parcel", action="weigh")]), "parcels"),
        (CommandSet(steps=[CommandStep(agent="parcels", action="wiegh")]), "weigh"),
        (CommandSet(steps=[weigh("first"), weigh("b", payload=Ref("frist"))]), "first"),
        (CommandSet(steps=[weigh("first")], dependencies={"frist": []}), "first"),
        (CommandSet(type="workfow", steps=[weigh()]), "workflow"),
        (CommandSet(priority="hihg", steps=[weigh()]), "high"),
        (CommandSet(mode="reduntant", steps=[weigh()]), "redundant"),
        (CommandSet(steps=[weigh()], on_failure="drian"), "drain"),
        (CommandSet(steps=[weigh()], durability="grop"), "group"),
        (CommandSet(steps=[weigh()], hardware_affinity="pcore"), "p_core"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_misspelt_name_is_answered_with_the_nearest_one(
    shop: Shop, asked: CommandSet, near: str
) -> None:
    [fault] = await shop.refused(asked)

    assert fault.nearest[0] == near
    assert f"did you mean {near}" in str(fault)


async def test_all_faults_are_reported_at_once_each_with_its_path(shop: Shop) -> None:
    asked = CommandSet(
        name="Broken",
        mode="no_such_mode",
        priority="urgent",
        timeout=0,
        retry_policy={"max_retries": -1},
        requires_libraries=["no_such_library"],
        steps=[
            CommandStep(id="a", agent="parcel", action="weigh"),
            CommandStep(id="a", agent="parcels", action="wiegh"),
            weigh("c", payload={"x": Ref("nobody")}),
            weigh("d", timeout=-1.0),
            weigh("e", expected_output={"type": "strng"}),
            weigh("f", when={"ref": "c", "op": "equals"}),
            CommandStep(id="g", command_set=CommandSet(type="campaign", steps=[])),
        ],
        dependencies={"d": ["d"], "e": ["nowhere"], "f": ["e"]},
    )

    faults = await shop.refused(asked)

    assert {(fault.code, fault.path) for fault in faults} == {
        ("no_policy", "mode"),
        ("bad_type", "priority"),
        ("impossible_timeout", "timeout"),
        ("bad_type", "retry_policy.max_retries"),
        ("missing_library", "requires_libraries[0]"),
        ("unknown_agent", "steps[0].agent"),
        ("duplicate_id", "steps[1].id"),
        ("unknown_action", "steps[1].action"),
        ("bad_reference", "steps[2].payload.x"),
        ("impossible_timeout", "steps[3].timeout"),
        ("bad_type", "steps[4].expected_output.type"),
        ("bad_type", "steps[5].when.op"),
        ("bad_level", "steps[6].command_set.type"),
        ("empty", "steps[6].command_set.steps"),
        ("self_dependency", "dependencies.d"),
        ("unknown_dependency", "dependencies.e"),
    }
    assert len(faults) == 16


async def test_a_missing_input_is_named_with_those_that_are_there(shop: Shop) -> None:
    asked = CommandSet(steps=[weigh("a", payload={"kilos": Ref("inputs", "kilograms")})])

    [fault] = await shop.refused(asked, inputs={"kilogram": 2})

    assert facts(fault) == ("bad_reference", "inputs.kilograms", "inputs#/kilograms")
    assert "the inputs are: kilogram" in fault.message
    assert shop.tandem.validate(asked, inputs={"kilograms": 2}).steps


async def test_inputs_that_are_no_values_are_refused_with_their_path(shop: Shop) -> None:
    [fault] = await shop.refused(CommandSet(steps=[weigh()]), inputs={"x": {"y": object()}})

    assert fault.code == "not_serialisable"
    assert "inputs.x.y" in fault.message


def test_every_error_has_faults_even_if_there_are_none() -> None:
    assert TandemError("anything").faults == ()
    assert NotAValue("anything").faults == ()


async def test_a_field_of_the_wrong_type_is_one_fault_and_not_also_an_absent_one(
    shop: Shop,
) -> None:
    asked = CommandSet(steps=[CommandStep(agent=7, action="weigh"), None])  # type: ignore[arg-type,list-item]

    faults = await shop.refused(asked)

    assert [(fault.code, fault.path) for fault in faults] == [
        ("bad_type", "steps[0].agent"),
        ("bad_type", "steps[1]"),
    ]
    assert [fault.code for fault in await shop.refused({"steps": []})] == ["bad_type"]  # type: ignore[arg-type]


async def test_each_of_two_steps_with_one_id_is_looked_at(shop: Shop) -> None:
    steps = [CommandStep(id="a", agent="nobody", action="x"), weigh("a", timeout=-1.0)]

    faults = await shop.refused(CommandSet(steps=steps))

    assert {(fault.code, fault.path) for fault in faults} == {
        ("duplicate_id", "steps[1].id"),
        ("unknown_agent", "steps[0].agent"),
        ("impossible_timeout", "steps[1].timeout"),
    }


async def test_a_nested_mode_without_a_policy_is_one_fault_at_its_place(shop: Shop) -> None:
    inner = CommandSet(mode="reduntant", steps=[weigh(), weigh()])

    [fault] = await shop.refused(CommandSet(steps=[CommandStep(command_set=inner)]))

    assert facts(fault) == ("no_policy", "steps[0].command_set.mode", "reduntant")
    assert fault.nearest == ("redundant",)


async def test_refusals_leave_nothing_behind_in_the_orchestrator(
    shop: Shop,
) -> None:
    asked = CommandSet(steps=[CommandStep(agent="parcel", action="weigh")])
    for _ in range(200):
        with pytest.raises(InvalidCommandSet):
            await shop.tandem.submit(asked)

    assert shop.tandem._watching._views == {}
    assert shop.tandem.get_metrics()["execution_stats"] == {}
