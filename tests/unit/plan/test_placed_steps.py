"""The planner places steps: pure, on a machine that is passed in."""

from typing import Any

import pytest

from tandem_orchestrator.model.catalogue import Action, Catalogue, Implementation
from tandem_orchestrator.model.commands import CommandSet, CommandStep
from tandem_orchestrator.model.documents import snapshot
from tandem_orchestrator.model.plans import Plan
from tandem_orchestrator.model.policies import built_in_policies
from tandem_orchestrator.model.topology import CoreClass, Cpu, Topology
from tandem_orchestrator.plan import PlanOptions, make_plan
from tandem_orchestrator.plan.place import Machine
from tandem_orchestrator.settings import Hardware

KINDS = dict.fromkeys(range(4), CoreClass.P_CORE) | dict.fromkeys(range(4, 12), CoreClass.E_CORE)
HYBRID = Topology(
    tuple(Cpu(n, n, kind=kind, favoured=n < 2) for n, kind in KINDS.items()), frozenset(KINDS)
)
ALIKE = Topology(tuple(Cpu(n, n) for n in range(4)), frozenset(range(4)))


def planned(asked: CommandSet, machine: Machine | None) -> Plan:
    entry = Action("t", "do", implementations=(Implementation("python", "python"),))
    catalogue = Catalogue({("t", "do"): entry}, frozenset({"t"}), built_in_policies(), {})
    copy, faults = snapshot(asked)
    assert not faults
    return make_plan(copy, catalogue, PlanOptions(machine=machine))


def placed(wish: str, topology: Topology, load: float = 0.0, **hardware: Any) -> tuple[str, str]:
    asked = CommandSet(hardware_affinity=wish, steps=[CommandStep(agent="t", action="do")])
    step = planned(asked, Machine(topology, Hardware(**hardware), load)).steps[0]
    assert step.affinity == wish
    return step.cpus, step.placed


@pytest.mark.parametrize(
    ("wish", "cpus", "reason"),
    [
        ("auto", "", ""),
        ("p_core", "0-3", "wish p_core: P-cores"),
        ("p_core_ultra", "0-1", "wish p_core_ultra: favoured P-cores"),
        ("e_core", "4-11", "wish e_core: E-cores"),
        (
            "lp_e_core",
            "4-11",
            "wish lp_e_core: E-cores instead of LP-E-cores, there are none on this machine",
        ),
    ],
)
def test_a_wish_becomes_cpus_and_a_reason(wish: str, cpus: str, reason: str) -> None:
    assert placed(wish, HYBRID) == (cpus, reason)


def test_without_a_wish_e_cores_join_while_the_p_cores_are_busy() -> None:
    assert placed("auto", HYBRID, load=0.7) == ("", "")
    cpus, reason = placed("auto", HYBRID, load=0.9)
    assert cpus == "0-11"
    assert reason == "no wish: P-cores and E-cores, as the P-cores' load of 0.90 is above 0.7"
    assert placed("auto", HYBRID, load=0.9, e_core_threshold=0.95) == ("", "")


def test_with_prefer_p_cores_off_the_p_cores_have_to_be_wished_for() -> None:
    assert placed("auto", HYBRID, prefer_p_cores=False) == ("", "")
    assert placed("p_core", HYBRID, prefer_p_cores=False) == ("0-3", "wish p_core: P-cores")


def test_the_setting_overrides_every_wish() -> None:
    assert placed("auto", HYBRID, cpu_affinity="2,5") == ("", "")
    for wish in ("p_core", "e_core"):
        assert placed(wish, HYBRID, cpu_affinity="2,5")[0] == "2,5"
        cpus, reason = placed(wish, HYBRID, cpu_affinity="none")
        assert (cpus, reason) == ("", "hardware.cpu_affinity is none: left to the kernel")


def test_on_one_kind_of_core_no_step_has_a_place_and_the_reason_says_why() -> None:
    assert placed("auto", ALIKE) == ("", "")
    cpus, reason = placed("e_core", ALIKE)
    assert cpus == ""
    assert reason == "wish e_core: P-cores instead of E-cores, there are none on this machine"


def test_a_nested_set_without_a_wish_has_that_around_it() -> None:
    inner = CommandSet(steps=[CommandStep(id="b", agent="t", action="do")])
    own = CommandSet(
        hardware_affinity="p_core_ultra", steps=[CommandStep(id="d", agent="t", action="do")]
    )
    outer = CommandSet(
        hardware_affinity="e_core",
        steps=[
            CommandStep(id="a", command_set=inner),
            CommandStep(id="c", command_set=own),
        ],
    )
    plan = planned(outer, Machine(HYBRID, Hardware()))
    assert {step.id: (step.affinity, step.cpus) for step in plan.steps if not step.is_group} == {
        "a/b": ("e_core", "4-11"),
        "c/d": ("p_core_ultra", "0-1"),
    }


def test_without_a_machine_the_wish_is_kept_and_nothing_is_placed() -> None:
    asked = CommandSet(hardware_affinity="e_core", steps=[CommandStep(agent="t", action="do")])
    step = planned(asked, None).steps[0]
    assert (step.affinity, step.cpus, step.placed) == ("e_core", "", "")
