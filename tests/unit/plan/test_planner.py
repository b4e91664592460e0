"""Plans: flattening, reasons, and every code that a fault may carry."""

from collections.abc import Callable
from typing import Any

import pytest

from tandem_orchestrator.errors import FAULT_CODES, Fault, InvalidCommandSet, LayerUnavailable
from tandem_orchestrator.model.catalogue import Action, Catalogue, Implementation
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.model.policies import Policy, built_in_policies
from tandem_orchestrator.model.refs import Ref
from tandem_orchestrator.model.routing import Estimate, Standing
from tandem_orchestrator.model.snapshot import snapshot
from tandem_orchestrator.plan import PlanOptions, make_plan

PYTHON, C = Implementation("python", "python"), Implementation("c", "c", in_programs=True)
ACTIONS = {
    "both": Action("t", "both", "none", implementations=(PYTHON, C)),
    "python": Action("t", "python", "none", implementations=(PYTHON,)),
    "c": Action("t", "c", "none", implementations=(C,)),
    "external": Action("t", "external", "external", implementations=(PYTHON, C)),
    "announced": Action("t", "announced"),
    "twins": Action(
        "t", "twins", "none", implementations=(PYTHON, Implementation("v2", "python", "shadow"))
    ),
    "apart": Action("t", "apart", "none", implementations=(Implementation("c", "c"),)),
    "shadowed": Action(
        "t", "shadowed", "none", implementations=(PYTHON, Implementation("c", "c", "shadow"))
    ),
    "three": Action(
        "t",
        "three",
        "none",
        implementations=(
            Implementation("v1", "python"),
            Implementation("v2", "python"),
            Implementation("v3", "python"),
        ),
    ),
}


def catalogue(away: str = "", **policies: Policy) -> Catalogue:
    """Make a catalogue; with the C layer away its implementations are still known."""
    return Catalogue(
        {("t", name): action for name, action in ACTIONS.items()},
        frozenset({"t"}),
        built_in_policies() | policies,
        {"c": away} if away else {},
    )


def plan(asked: CommandSet, *, away: str = "", **options: Any) -> Plan:
    """Snapshot and plan, as the orchestrator does."""
    policies = options.pop("policies", {})
    copy, faults = snapshot(asked)
    return make_plan(
        copy, catalogue(away, **policies), PlanOptions(**options), faults=tuple(faults)
    )


def faults(asked: CommandSet, **options: Any) -> list[Fault]:
    """Give the faults of a set that must have some."""
    with pytest.raises(InvalidCommandSet) as refused:
        plan(asked, **options)
    return list(refused.value.faults)


def do(action: str = "python", step_id: str = "", **fields: Any) -> CommandStep:
    """Make a step of agent ``t``."""
    return CommandStep(id=step_id, agent="t", action=action, **fields)


# --- faults --------------------------------------------------------------------------------------

BY_CODE: dict[str, Callable[[], CommandSet]] = {
    "unknown_agent": lambda: CommandSet(steps=[CommandStep(agent="u", action="both")]),
    "unknown_action": lambda: CommandSet(steps=[do("bth")]),
    "cycle": lambda: CommandSet(
        steps=[do(step_id="a"), do(step_id="b")], dependencies={"a": ["b"], "b": ["a"]}
    ),
    "duplicate_id": lambda: CommandSet(steps=[do(step_id="a"), do(step_id="a")]),
    "unknown_dependency": lambda: CommandSet(steps=[do()], dependencies={"s1": ["x"]}),
    "self_dependency": lambda: CommandSet(steps=[do()], dependencies={"s1": ["s1"]}),
    "missing_library": lambda: CommandSet(steps=[do()], requires_libraries=["nowhere"]),
    "bad_reference": lambda: CommandSet(steps=[do(payload=Ref("nobody"))]),
    "bad_type": lambda: CommandSet(steps=[do(can_fail="maybe")]),
    "impossible_timeout": lambda: CommandSet(steps=[do(timeout=0)]),
    "bad_level": lambda: CommandSet(type="atomic", steps=[do(), do()]),
    "empty": CommandSet,
    "no_policy": lambda: CommandSet(mode="unheard_of", steps=[do()]),
    "nothing_to_compare": lambda: CommandSet(mode="consensus", steps=[do("external")]),
    "no_native": lambda: CommandSet(mode="speed_critical", steps=[do("python")]),
    "not_serialisable": lambda: CommandSet(steps=[do(payload={"x": object()})]),
}


def test_every_code_has_a_case_here() -> None:
    assert tuple(BY_CODE) == FAULT_CODES


@pytest.mark.parametrize("code", FAULT_CODES)
def test_a_fault_of_each_code_is_found_alone(code: str) -> None:
    found = faults(BY_CODE[code](), is_installed=lambda library: library != "nowhere")

    assert [fault.code for fault in found] == [code]
    assert found[0].path
    assert found[0].message


def test_a_validation_in_a_speed_critical_plan_is_no_native() -> None:
    [fault] = faults(CommandSet(mode="speed_critical", steps=[do("c", validation_fn=bool)]))

    assert (fault.code, fault.path) == ("no_native", "steps[0].validation_fn")


def test_three_twins_without_a_choice_cannot_be_compared_and_a_choice_mends_it() -> None:
    [fault] = faults(CommandSet(mode="redundant", steps=[do("three")]))
    assert (fault.code, fault.path) == ("nothing_to_compare", "steps[0]")
    assert "v1, v2, v3" in fault.message

    made = plan(CommandSet(mode="redundant", steps=[do("three", implementations=["v1", "v3"])]))
    assert made.steps[0].assignment is not None
    assert made.steps[0].assignment.implementations == ("v1", "v3")


def test_an_implementation_that_is_not_there_is_named_with_those_that_are() -> None:
    [fault] = faults(CommandSet(steps=[do("both", implementations=["rust"])]))

    assert fault.path == "steps[0].implementations"
    assert "it has: python, c" in fault.message


def test_with_a_handler_the_steps_are_data_and_agents_are_not_checked() -> None:
    made = plan_with_handler(CommandSet(steps=[CommandStep(action="inference")]))

    assert [step.id for step in made.steps] == ["python_handler"]
    assert made.segments == ()


def plan_with_handler(asked: CommandSet) -> Plan:
    """Plan a set that has a handler."""

    def handler(command_set: CommandSet) -> None:
        """Take the set."""

    asked.python_handler = handler
    copy, found = snapshot(asked)
    return make_plan(
        copy, catalogue(), PlanOptions(), faults=tuple(found), names={id(handler): "handler"}
    )


def test_a_nested_handler_is_refused() -> None:
    inner = CommandSet(python_handler=print)
    [fault] = faults(CommandSet(steps=[CommandStep(command_set=inner)]))

    assert fault.path == "steps[0].command_set.python_handler"


# --- flattening ----------------------------------------------------------------------------------


def test_nested_steps_stand_behind_their_group_with_its_id_as_a_prefix() -> None:
    inner = CommandSet(type="sequence", steps=[do(), do()])
    asked = CommandSet(
        steps=[do(step_id="z"), CommandStep(id="g", command_set=inner), do(step_id="a")],
        dependencies={"z": ["g"]},
    )

    made = plan(asked)

    assert [(step.id, step.kind, step.depends_on) for step in made.steps] == [
        ("g", "group", ()),
        ("g/s1", "action", ()),
        ("g/s2", "action", ("g/s1",)),
        ("z", "action", ("g",)),
        ("a", "action", ()),
    ]
    assert {step.parent for step in made.steps if step.id.startswith("g/")} == {"g"}


def test_a_reference_implies_a_dependency_and_an_input() -> None:
    made = plan(CommandSet(steps=[do(step_id="b", payload=Ref("a", "x")), do(step_id="a")]))

    assert [step.id for step in made.steps] == ["a", "b"]
    assert made.steps[1].depends_on == ("a",)
    assert made.steps[1].inputs_from == (("a", "a"),)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"for_each": [1, 2], "when": {"ref": "item", "op": "lt", "value": 2}}, "when"),
        ({"for_each": Ref("item")}, "for_each"),
        ({"payload": Ref("item")}, "payload"),
    ],
)
def test_item_outside_the_payload_of_a_for_each_is_refused(
    fields: dict[str, Any], path: str
) -> None:
    [fault] = faults(CommandSet(steps=[do(**fields)]))
    assert (fault.code, fault.path) == ("bad_reference", f"steps[0].{path}")
    assert "'item' has a meaning only in the payload of a step with for_each" in fault.message


def test_a_reference_inside_a_nested_set_means_a_sibling() -> None:
    inner = CommandSet(steps=[do(step_id="x"), do(step_id="y", payload=Ref("x"))])
    outer = CommandSet(steps=[do(step_id="x"), CommandStep(id="g", command_set=inner)])
    stranger = CommandSet(
        steps=[
            do(step_id="out"),
            CommandStep(command_set=CommandSet(steps=[do(payload=Ref("out"))])),
        ]
    )

    assert plan(outer).steps[-1].depends_on == ("g/x",)
    [fault] = faults(stranger)
    assert (fault.code, fault.path) == (
        "bad_reference",
        "steps[1].command_set.steps[0].payload",
    )


@pytest.mark.parametrize(
    ("fields", "chained"),
    [
        ({"type": "sequence"}, True),
        ({"type": "workflow"}, False),
        ({"type": "workflow", "parallel_allowed": False}, True),
        ({"type": "campaign"}, False),
        ({"type": "sequence", "dependencies": {"s3": ["s1"]}}, False),
    ],
)
def test_without_dependencies_the_level_decides_the_order(
    fields: dict[str, Any], chained: bool
) -> None:
    made = plan(CommandSet(steps=[do(), do(), do()], **fields))

    assert ([step.depends_on for step in made.steps][1] == ("s1",)) is chained


def test_twelve_thousand_steps_in_a_chain_are_planned() -> None:
    steps = [do(step_id=f"n{i}") for i in range(12_000)]
    needs = {f"n{i}": [f"n{i - 1}"] for i in range(1, 12_000)}

    made = plan(CommandSet(steps=steps, dependencies=needs))

    assert len(made.steps) == 12_000
    assert made.steps[-1].depends_on == ("n11998",)


# --- routes --------------------------------------------------------------------------------------

COSTS = {
    ("t", "both", 0): Standing({"python": Estimate(1e-6, 9), "c": Estimate(5e-6, 9)}, "python")
}


@pytest.mark.parametrize(
    ("mode", "step", "options", "names", "reason", "fallback"),
    [
        ("intelligent", do("python"), {}, "python", "python is the only implementation", None),
        (
            "intelligent",
            do("both"),
            {},
            "c",
            "a native implementation is trusted and its layer is there",
            "python",
        ),
        (
            "intelligent",
            do("both"),
            {"costs": COSTS},
            "python",
            "python is the fastest by measurement (python 1 µs, c 5 µs)",
            None,
        ),
        (
            "intelligent",
            do("both"),
            {"away": "no bridge"},
            "python",
            "python is the only implementation here; the C layer is away: no bridge",
            None,
        ),
        (
            "intelligent",
            do("shadowed"),
            {},
            "python",
            "python is the only implementation trusted so far (c: shadow)",
            None,
        ),
        (
            "intelligent",
            do("both", implementations=["python"]),
            {},
            "python",
            "the step names python",
            None,
        ),
        ("python_only", do("both"), {}, "python", "PYTHON_ONLY runs python", None),
        ("speed_critical", do("both"), {}, "c", "SPEED_CRITICAL runs c", None),
        (
            "speed_critical",
            do("shadowed"),
            {},
            "c",
            "SPEED_CRITICAL runs c; its rung 'shadow' is overridden",
            None,
        ),
        ("redundant", do("both"), {}, "python c", "REDUNDANT runs python and c", None),
        (
            "consensus",
            do("twins"),
            {},
            "python v2",
            "CONSENSUS runs python and v2; its rung 'shadow' is overridden",
            None,
        ),
    ],
)
def test_a_step_is_routed_with_a_reason(
    mode: str,
    step: CommandStep,
    options: dict[str, Any],
    names: str,
    reason: str,
    fallback: str | None,
) -> None:
    made = plan(CommandSet(mode=mode, steps=[step]), **options)

    assignment = made.steps[0].assignment
    assert assignment is not None
    assert assignment.implementations == tuple(names.split())
    assert assignment.reason == reason
    assert assignment.fallback == fallback


def test_an_external_step_among_twins_runs_once_and_says_why() -> None:
    made = plan(CommandSet(mode="redundant", steps=[do("both"), do("external"), do("python")]))

    compared = [step.assignment for step in made.steps]
    assert [(len(a.implementations), a.not_compared) for a in compared if a] == [
        (2, None),
        (1, "external"),
        (1, "single"),
    ]
    assert compared[1] is not None and "effects are external" in compared[1].reason


@pytest.mark.parametrize("mode", ["redundant", "consensus", "speed_critical"])
@pytest.mark.parametrize("action", ["both", "python"])
def test_a_mode_that_needs_c_is_refused_while_it_is_away(mode: str, action: str) -> None:
    with pytest.raises(LayerUnavailable, match=rf"mode {mode.upper()} .*away: no bridge"):
        plan(CommandSet(mode=mode, steps=[do(action)]), away="no bridge")


def test_twins_in_python_are_compared_while_c_is_away() -> None:
    made = plan(CommandSet(mode="redundant", steps=[do("twins")]), away="no bridge")

    assert made.steps[0].assignment is not None
    assert made.steps[0].assignment.verdict == "compare"


def test_faults_come_before_a_layer_that_is_away() -> None:
    asked = CommandSet(mode="redundant", steps=[do("both"), do("nothing")])

    assert [fault.code for fault in faults(asked, away="no bridge")] == ["unknown_action"]


def test_a_route_of_ones_own_that_names_nobody_is_no_policy() -> None:
    policies = {"mine": Policy(route=lambda question: "rust")}

    [fault] = faults(CommandSet(mode="mine", steps=[do("both")]), policies=policies)

    assert (fault.code, fault.value) == ("no_policy", "rust")
    assert "expected one of python, c" in fault.message


def test_a_nested_set_goes_by_its_own_mode_else_by_the_one_around_it() -> None:
    inner = CommandSet(mode="python_only", steps=[do("both")])
    plain = CommandSet(steps=[do("both")])
    asked = CommandSet(
        mode="redundant",
        steps=[CommandStep(command_set=inner), CommandStep(command_set=plain)],
    )

    made = {step.id: step.assignment for step in plan(asked).steps}

    assert made["s1/s1"] is not None and made["s1/s1"].implementations == ("python",)
    assert made["s2/s1"] is not None and made["s2/s1"].implementations == ("python", "c")


def test_a_layer_that_only_a_nested_mode_needs_is_named_with_that_mode() -> None:
    inner = CommandSet(mode="speed_critical", steps=[do("both")])

    with pytest.raises(LayerUnavailable, match="mode SPEED_CRITICAL"):
        plan(CommandSet(steps=[CommandStep(command_set=inner)]), away="no bridge")


def test_defaults_come_from_the_options_and_durability_from_the_mode() -> None:
    made = plan(
        CommandSet(steps=[do("both")]), default_mode="speed_critical", default_priority="high"
    )

    assert (made.mode, made.priority, made.durability) == ("speed_critical", "high", "async")
    assert plan(CommandSet(steps=[do()])).durability == "group"
    assert plan(CommandSet(steps=[do()], durability="sync")).durability == "sync"


def test_planning_is_pure() -> None:
    inner = CommandSet(id="i", steps=[do("both"), do("both", payload=Ref("s1"))])
    asked = CommandSet(id="x", steps=[do("both"), CommandStep(command_set=inner)])

    assert plan(asked) == plan(asked)


# --- segments ------------------------------------------------------------------------------------


def chain(*steps: CommandStep, **fields: Any) -> CommandSet:
    """Make a set whose steps run one after another."""
    return CommandSet(type="sequence", steps=list(steps), **fields)


def test_steps_that_c_runs_in_a_row_are_one_segment() -> None:
    made = plan(chain(do("c", "a"), do("c", "b"), do("python", "p"), do("c", "d")))
    assert made.segments == (("a", "b"), ("d",))
    assert [step.segment for step in made.steps] == [0, 0, None, 1]


def test_what_a_program_cannot_hold_is_in_no_segment() -> None:
    again = {"max_retries": 1}
    made = plan(
        chain(
            do("c", "a"),
            do("apart", "connected"),
            do("c", "b"),
            do("c", "items", for_each=[1, 2], retry_policy=again),
            do("c", "d", retry_policy=again),
        )
    )
    assert made.segments == (("a",), ("b",), ("d",))


def test_where_branches_go_on_after_a_failure_there_are_no_segments() -> None:
    assert plan(chain(do("c", "a"), do("c", "b"), on_failure="drain")).segments == ()


def test_a_speed_critical_set_is_one_segment_and_a_nested_one_another() -> None:
    inner = CommandSet(type="atomic", steps=[do("c", "x")])
    made = plan(
        CommandSet(
            type="orchestration",
            mode="speed_critical",
            steps=[do("c", "a"), do("c", "b"), CommandStep(id="n", command_set=inner)],
        )
    )
    assert sorted(made.segments) == [("a", "b"), ("n/x",)]
