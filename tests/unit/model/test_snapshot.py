"""Snapshots: every field checked, enumerations parsed, nothing shared, nothing changed."""

import array
import copy
import math
from dataclasses import dataclass, fields
from enum import Enum

import pytest

from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.levels import CommandType, HardwareAffinity, Priority
from tandem_orchestrator.model.modes import ExecutionMode
from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.model.snapshot import snapshot


def step(**more):
    return CommandStep(**{"agent": "system", "action": "echo"} | more)


def paths(command_set, **more):
    return {(fault.code, fault.path) for fault in snapshot(command_set, **more)[1]}


def check(output):
    return True


def test_words_become_enumerations_in_any_case():
    clean, faults = snapshot(
        CommandSet(
            type="Sequence", mode="redundant", priority="Critical", hardware_affinity="p_CORE_ultra",
            durability="SYNC", on_failure="Drain", steps=[step()],
        )
    )  # fmt: skip

    assert faults == []
    assert clean.type is CommandType.SEQUENCE
    assert clean.mode is ExecutionMode.REDUNDANT
    assert clean.priority is Priority.CRITICAL
    assert clean.hardware_affinity is HardwareAffinity.P_CORE_ULTRA
    assert (clean.durability, clean.on_failure) == ("sync", "drain")


def test_nothing_is_shared_and_nothing_of_the_callers_is_changed():
    payload = {"list": [1, {"a": Ref("x", "y")}], "tuple": (1, 2)}
    given = CommandSet(
        steps=[
            step(id="x"),
            step(payload=payload, retry_policy={"retry_on": ["a"]}, for_each=[[1]]),
        ],
        dependencies={"s2": ["x"]},
        requires_libraries=["json"],
        retry_policy={"max_retries": 2},
    )
    before = copy.deepcopy(given)

    clean, faults = snapshot(given)
    assert faults == []
    clean.steps[1].payload["list"][1]["a"] = None
    clean.steps[1].for_each[0].append(2)
    clean.steps[1].retry_policy["retry_on"].append("b")
    clean.dependencies["s2"].append("z")
    clean.requires_libraries.append("os")
    clean.steps.append(step())
    clean.retry_policy["max_retries"] = 9

    assert given == before


def test_payloads_become_values():
    @dataclass
    class Point:
        x: int

    clean, faults = snapshot(
        CommandSet(
            steps=[
                step(payload=Point(1)),
                step(payload={"ref": Ref("a", "b", None)}),
                step(payload=None, for_each=Ref("item")),
                step(payload={"buffer": array.array("i", [1])}),
                step(payload=5, for_each=({"$ref": "a"}, 2)),
            ]
        )
    )

    assert faults == []
    payloads = [each.payload for each in clean.steps]
    assert payloads[0] == {"x": 1}
    assert payloads[1] == {"ref": {"$ref": "a#/b", "default": None}}
    assert payloads[2] is None
    assert clean.steps[2].for_each == {"$ref": "item"}
    assert payloads[3]["buffer"]["$buffer"]["dtype"] == "i32"
    assert clean.steps[4].for_each == [{"$ref": "a"}, 2]


BAD_STEP = {
    "id": (5, "bad_type", "steps[0].id"),
    "action": (None, "bad_type", "steps[0].action"),
    "agent": (b"a", "bad_type", "steps[0].agent"),
    "payload": ({"x": [object()]}, "not_serialisable", "steps[0].payload.x[0]"),
    "expected_output": ({"tpye": 1}, "bad_type", "steps[0].expected_output"),
    "validation_fn": (5, "bad_type", "steps[0].validation_fn"),
    "can_fail": (None, "bad_type", "steps[0].can_fail"),
    "timeout": ("5", "bad_type", "steps[0].timeout"),
    "retry_policy": ({"max_retries": -1}, "bad_type", "steps[0].retry_policy.max_retries"),
    "for_each": (5, "bad_type", "steps[0].for_each"),
    "when": ("x > 1", "bad_type", "steps[0].when"),
    "command_set": ({"steps": []}, "bad_type", "steps[0].command_set"),
    "implementations": ("c", "bad_type", "steps[0].implementations"),
    "on_item_failure": ("ignore", "bad_type", "steps[0].on_item_failure"),
}
BAD_SET = {
    "id": (None, "bad_type", "id"),
    "name": (5, "bad_type", "name"),
    "type": ("workflw", "bad_level", "type"),
    "mode": ("no mode!", "bad_type", "mode"),
    "priority": ("urgent", "bad_type", "priority"),
    "steps": (None, "bad_type", "steps"),
    "dependencies": ({"a": "b"}, "bad_type", "dependencies.a"),
    "parallel_allowed": (1, "bad_type", "parallel_allowed"),
    "timeout": (0, "impossible_timeout", "timeout"),
    "retry_policy": ({"retries": 1}, "bad_type", "retry_policy.retries"),
    "python_handler": ("os system", "bad_type", "python_handler"),
    "requires_libraries": (["not a name"], "bad_type", "requires_libraries[0]"),
    "c_optimized": ("yes", "bad_type", "c_optimized"),
    "hardware_affinity": ("gpu", "bad_type", "hardware_affinity"),
    "durability": ("disk", "bad_type", "durability"),
    "idempotency_key": ("", "bad_type", "idempotency_key"),
    "on_failure": (5, "bad_type", "on_failure"),
    "on_change": ("go", "bad_type", "on_change"),
    "conflict_resolution": ("coin", "bad_type", "conflict_resolution"),
}


def test_the_tables_below_leave_no_field_out():
    assert set(BAD_STEP) == {field.name for field in fields(CommandStep)}
    assert set(BAD_SET) == {field.name for field in fields(CommandSet)}


@pytest.mark.parametrize("name", BAD_STEP)
def test_a_step_field_of_the_wrong_type_is_a_fault_with_its_path(name):
    value, code, path = BAD_STEP[name]
    more = {"agent": "", "action": ""} if name == "command_set" else {}

    assert paths(CommandSet(steps=[step(**more | {name: value})])) == {(code, path)}


@pytest.mark.parametrize("name", BAD_SET)
def test_a_set_field_of_the_wrong_type_is_a_fault_with_its_path(name):
    value, code, path = BAD_SET[name]

    assert paths(CommandSet(**{"steps": [step()], name: value})) == {(code, path)}


def test_all_faults_are_given_at_once():
    bad_steps = [
        step(**{name: value}) for name, (value, _, _) in BAD_STEP.items() if name != "command_set"
    ]
    bad_set = {name: value for name, (value, _, _) in BAD_SET.items() if name != "steps"}

    assert len(snapshot(CommandSet(steps=bad_steps, **bad_set))[1]) == len(bad_steps) + len(bad_set)


def test_a_fault_names_value_expectation_and_the_nearest_word():
    faults = {f.path: f for f in snapshot(CommandSet(type="workflw", mode="consensu s"))[1]}

    assert faults["type"].nearest == ("workflow",)
    assert "'workflw'" in faults["type"].message
    assert "campaign" in faults["type"].message
    assert faults["mode"].nearest[0] == "consensus"


@pytest.mark.parametrize("value", [0, -1, 10**400, math.nan, math.inf, -math.inf, 1e10])
def test_a_timeout_that_cannot_pass_is_impossible(value):
    assert paths(CommandSet(steps=[step(timeout=value)])) == {
        ("impossible_timeout", "steps[0].timeout")
    }


@pytest.mark.parametrize("value", [True, "5", [5]])
def test_a_timeout_that_is_no_number_is_a_bad_type(value):
    assert paths(CommandSet(timeout=value)) == {("bad_type", "timeout")}


def test_a_mode_of_ones_own_and_a_priority_by_number_are_taken():
    class Own(Enum):
        MODE = "adaptive"

    clean, faults = snapshot(CommandSet(mode=Own.MODE, priority=4, steps=[step()]))

    assert faults == []
    assert clean.mode is ExecutionMode("adaptive")
    assert clean.priority is Priority.CRITICAL


@pytest.mark.parametrize("value", [True, 1.0, 5, -1])
def test_a_priority_that_is_no_level_is_a_fault(value):
    assert paths(CommandSet(priority=value)) == {("bad_type", "priority")}


@pytest.mark.parametrize("bad", ["a#b", "a\nb", "x" * 1001, "\ud800"])
def test_an_id_that_references_could_not_name_is_a_fault(bad):
    assert paths(CommandSet(steps=[step(id=bad)])) == {("bad_type", "steps[0].id")}


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({"a": [{"$ref": 5}]}, "steps[0].payload.a[0]"),
        ({"a": {"$ref": "#/x"}}, "steps[0].payload.a"),
        ({"a": {"$ref": "x#y"}}, "steps[0].payload.a"),
    ],
)
def test_a_malformed_reference_is_a_fault_with_its_path(payload, path):
    assert paths(CommandSet(steps=[step(payload=payload)])) == {("bad_reference", path)}


def test_a_literal_is_not_searched_for_references():
    assert paths(CommandSet(steps=[step(payload={"a": {"$literal": {"$ref": 5}}})])) == set()


def test_a_shape_may_speak_of_keys_called_ref():
    shape = {"type": "object", "properties": {"$ref": {"const": {"$ref": 5}}}}

    assert paths(CommandSet(steps=[step(expected_output=shape)])) == set()


def test_a_condition_that_compares_two_references_is_refused():
    when = {"ref": "a", "op": "eq", "value": Ref("b")}

    assert paths(CommandSet(steps=[step(when=when)])) == {("bad_reference", "steps[0].when.value")}


def test_conditions_come_out_plain():
    clean, faults = snapshot(CommandSet(steps=[step(when={"not": {"ref": Ref("a", "b")}})]))

    assert faults == []
    assert clean.steps[0].when == {"not": {"ref": "a#/b"}}


def test_nested_command_sets_are_checked_with_their_paths():
    inner = CommandSet(type="atomic", steps=[step(timeout=-1)])
    outer = CommandSet(type="campaign", steps=[CommandStep(command_set=inner)])

    assert paths(outer) == {("impossible_timeout", "steps[0].command_set.steps[0].timeout")}


def test_a_step_with_both_an_agent_and_a_command_set_is_refused():
    assert paths(CommandSet(steps=[step(command_set=CommandSet(steps=[step()]))])) == {
        ("bad_type", "steps[0].command_set")
    }


def test_a_command_set_inside_itself_is_refused():
    loop = CommandSet(type="campaign")
    loop.steps = [CommandStep(command_set=loop)]

    (fault,) = snapshot(loop)[1]
    assert fault.code == "bad_level"


def test_steps_are_counted_with_those_of_nested_sets():
    inner = CommandSet(steps=[step() for _ in range(3)])
    outer = CommandSet(steps=[CommandStep(command_set=inner), step()])

    assert paths(outer, steps_max=5) == set()
    assert paths(outer, steps_max=4) == {("bad_type", "steps[0].command_set.steps")}


@pytest.mark.parametrize("given", [None, {"steps": []}, CommandSet, "x"])
def test_something_else_than_a_command_set_is_a_fault(given):
    assert paths(given) == {("bad_type", "")}


def test_something_else_than_a_step_is_a_fault():
    assert paths(CommandSet(steps=[None, {"agent": "a"}])) == {
        ("bad_type", "steps[0]"),
        ("bad_type", "steps[1]"),
    }


def test_a_payload_without_end_is_a_fault():
    payload = []
    payload.append(payload)

    assert {code for code, _ in paths(CommandSet(steps=[step(payload=payload)]))} == {
        "not_serialisable"
    }


def test_a_repr_that_raises_does_not_hide_the_fault():
    class Rude:
        def __repr__(self):
            raise RuntimeError("no")

    assert paths(CommandSet(name=Rude(), steps=[step(timeout=Rude(), can_fail=Rude())])) == {
        ("bad_type", "name"),
        ("bad_type", "steps[0].timeout"),
        ("bad_type", "steps[0].can_fail"),
    }


RUDE = [
    10**5000,
    -(10**400),
    float("nan"),
    "\x1b[2J" * 100,
    b"\xff" * 100,
    object,
    {1: 2},
    [[]],
    "\ud800",
]


@pytest.mark.parametrize("junk", RUDE, ids=lambda junk: type(junk).__name__)
@pytest.mark.parametrize("name", sorted(set(BAD_STEP) - {"payload", "for_each", "validation_fn"}))
def test_no_junk_is_too_odd_to_be_told_in_one_printable_line(name, junk):
    faults = snapshot(CommandSet(steps=[step(**{name: junk})]))[1]

    assert faults
    assert all(fault.message.isprintable() and len(fault.message) < 400 for fault in faults)


def test_callables_pass_as_they_are():
    clean, faults = snapshot(
        CommandSet(python_handler=check, steps=[step(validation_fn="tests.rules:is_fine")])
    )

    assert faults == []
    assert clean.python_handler is check
    assert clean.steps[0].validation_fn == "tests.rules:is_fine"
