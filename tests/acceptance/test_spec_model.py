"""SPEC.md's core concepts and custom modes: fields, defaults, and modes that a user adds."""

import copy
import dataclasses
import pickle  # noqa: TID251 - a user may pickle a mode; nothing of ours unpickles
from typing import Any

import pytest

from tandem_orchestrator import (
    CommandError,
    CommandSet,
    CommandStep,
    CommandType,
    ExecutionMode,
    HardwareAffinity,
    InvalidCommandSet,
    Policy,
    Priority,
    RouteQuestion,
    TandemOrchestrator,
)


class CustomExecutionMode(ExecutionMode):
    """Create custom execution strategies"""

    ADAPTIVE = "adaptive"  # Dynamically switch based on load
    LEARNING = "learning"  # Use ML to optimize routing


def test_a_command_set_has_specs_fields_in_specs_order_with_their_defaults() -> None:
    made = CommandSet()
    shown = {f.name: getattr(made, f.name) for f in dataclasses.fields(made) if not f.kw_only}

    assert shown.pop("id")
    assert list(shown.items()) == [
        ("name", ""),
        ("type", CommandType.WORKFLOW),
        ("mode", None),
        ("priority", None),
        ("steps", []),
        ("dependencies", {}),
        ("parallel_allowed", True),
        ("timeout", None),
        ("retry_policy", {}),
        ("python_handler", None),
        ("requires_libraries", []),
        ("c_optimized", False),
        ("hardware_affinity", HardwareAffinity.AUTO),
    ]


def test_a_step_has_specs_fields_in_specs_order_with_their_defaults() -> None:
    made = CommandStep()
    shown = [(f.name, getattr(made, f.name)) for f in dataclasses.fields(made) if not f.kw_only]

    assert shown == [
        ("id", ""),
        ("action", ""),
        ("agent", ""),
        ("payload", {}),
        ("expected_output", None),
        ("validation_fn", None),
        ("can_fail", False),
    ]


@pytest.mark.parametrize(
    ("made", "names"),
    [
        (
            CommandStep(),
            {"timeout", "retry_policy", "for_each", "when", "command_set", "implementations"},
        ),
        (CommandSet(), {"durability", "idempotency_key", "on_failure", "on_change"}),
    ],
    ids=["step", "set"],
)
def test_what_goes_beyond_spec_is_keyword_only(made: Any, names: set[str]) -> None:
    assert {f.name for f in dataclasses.fields(made) if f.kw_only} >= names


def test_two_command_sets_share_neither_an_id_nor_a_mutable_default() -> None:
    one, two = CommandSet(), CommandSet()

    assert one.id < two.id  # unique and sortable
    for name in ("steps", "dependencies", "retry_policy", "requires_libraries"):
        assert getattr(one, name) is not getattr(two, name)
    assert CommandStep().payload is not CommandStep().payload


def test_priorities_are_ordered() -> None:
    assert Priority.BACKGROUND < Priority.LOW < Priority.MEDIUM < Priority.HIGH < Priority.CRITICAL


def test_hardware_affinities_and_levels_are_specs() -> None:
    assert [member.name for member in HardwareAffinity] == [
        "AUTO",
        "P_CORE",
        "P_CORE_ULTRA",
        "E_CORE",
        "LP_E_CORE",
    ]
    assert {member.name for member in CommandType} == {
        "CAMPAIGN",
        "ORCHESTRATION",
        "WORKFLOW",
        "SEQUENCE",
        "ATOMIC",
    }


# --- custom modes --------------------------------------------------------------------------------


def test_a_custom_mode_is_one_object_however_it_is_named() -> None:
    mode = CustomExecutionMode.ADAPTIVE

    assert mode is ExecutionMode("adaptive") is ExecutionMode("ADAPTIVE") is ExecutionMode(mode)
    assert mode is CustomExecutionMode("Adaptive")
    assert isinstance(mode, ExecutionMode) and isinstance(mode, str)
    assert (mode, hash(mode)) == ("adaptive", hash("adaptive"))
    assert (mode.name, mode.value, str(mode)) == ("ADAPTIVE", "adaptive", "adaptive")


@pytest.mark.parametrize("mode", [ExecutionMode.REDUNDANT, CustomExecutionMode.LEARNING])
def test_a_modes_identity_survives_pickle_copy_and_asdict(mode: ExecutionMode) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(mode, protocol)) is mode
    assert copy.copy(mode) is mode
    assert copy.deepcopy(mode) is mode
    assert dataclasses.asdict(CommandSet(mode=mode))["mode"] is mode
    assert copy.deepcopy(CommandSet(mode=mode)).mode is mode


def test_modes_iterate_inherited_ones_first() -> None:
    built_in = ["intelligent", "redundant", "consensus", "speed_critical", "python_only"]

    assert [mode.value for mode in ExecutionMode] == built_in
    assert [mode.value for mode in CustomExecutionMode] == [*built_in, "adaptive", "learning"]
    assert CustomExecutionMode.ADAPTIVE in CustomExecutionMode
    assert CustomExecutionMode["LEARNING"] is CustomExecutionMode.LEARNING


def test_match_works_on_dotted_names() -> None:
    def describe(mode: ExecutionMode) -> str:
        match mode:
            case ExecutionMode.REDUNDANT:
                return "both"
            case CustomExecutionMode.ADAPTIVE:
                return "by load"
            case _:
                return "other"

    assert [describe(ExecutionMode(text)) for text in ("redundant", "adaptive", "consensus")] == [
        "both",
        "by load",
        "other",
    ]


def test_a_member_cannot_be_replaced_and_an_impossible_name_is_a_value_error() -> None:
    with pytest.raises(AttributeError, match="cannot be replaced"):
        ExecutionMode.REDUNDANT = "other"  # type: ignore[assignment]
    with pytest.raises(ValueError, match="expected a name of letters"):
        ExecutionMode("no such mode!")


async def test_a_mode_without_a_policy_is_a_fault_that_names_the_known_ones(
    tandem: TandemOrchestrator,
) -> None:
    asked = CommandSet(
        mode=ExecutionMode("made_up"), steps=[CommandStep(agent="system", action="noop")]
    )

    with pytest.raises(InvalidCommandSet, match="intelligent") as refused:
        await tandem.execute_command_set(asked)

    assert [(f.code, f.path, f.value) for f in refused.value.faults] == [
        ("no_policy", "mode", "made_up")
    ]


@pytest.mark.native
async def test_a_custom_mode_runs_by_the_policy_it_was_registered_with(
    open_tandem: Any,
) -> None:
    tandem: TandemOrchestrator = open_tandem({"c_layer": {"enabled": True}})
    await tandem.initialize()  # both layers: where there is one implementation nobody is asked
    asked: list[RouteQuestion] = []

    def route(question: RouteQuestion) -> str:
        asked.append(question)
        return "python"

    mode = ExecutionMode("by_taste")
    assert tandem.register_mode(mode, Policy(route=route)) is mode
    step = CommandStep(agent="system", action="echo", payload=1)
    result = await tandem.execute_command_set(CommandSet(mode="BY_TASTE", steps=[step]))

    assert (result["status"], result["mode"]) == ("completed", "by_taste")
    assert result["steps"]["s1"]["reason"] == "the route of mode 'by_taste' chose python"
    assert [(q.agent, q.action, set(q.allowed)) for q in asked] == [
        ("system", "echo", {"python", "c"})
    ]
    with pytest.raises(CommandError, match="has a policy already"):
        tandem.register_mode(mode, Policy())
