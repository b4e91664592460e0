"""What a wish for cores means: on three machines, under every setting, and with parts missing."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.model.cpu_lists import parse_cpu_list as cpus
from tandem_orchestrator.model.levels import HardwareAffinity as Wish
from tandem_orchestrator.model.topology import CoreClass, Cpu, Topology
from tandem_orchestrator.plan.place import WIDENING, place
from tandem_orchestrator.settings import Hardware

DEFAULTS = Hardware()


def machine(p="", e="", lp="", favoured="", **more):
    kinds = {CoreClass.P_CORE: cpus(p), CoreClass.E_CORE: cpus(e), CoreClass.LP_E_CORE: cpus(lp)}
    found = [
        Cpu(number, number, kind=kind, favoured=number in cpus(favoured))
        for kind, numbers in kinds.items()
        for number in numbers
    ]
    found.sort(key=lambda cpu: cpu.number)
    more.setdefault("allowed", frozenset(cpu.number for cpu in found))
    return Topology(tuple(found), **more)


METEOR = machine("0-1,10-19", "2-9", "20-21", favoured="12-15")
LUNAR = machine("0-3", "", "4-7")
RAPTOR = machine("0-11", "12-19", favoured="4-5,8-9")
PLAIN = machine("0-7")


@pytest.mark.parametrize(
    ("topology", "wish", "expected", "widened"),
    [
        (METEOR, Wish.P_CORE, "0-1,10-19", False),
        (METEOR, Wish.P_CORE_ULTRA, "12-15", False),
        (METEOR, Wish.E_CORE, "2-9", False),
        (METEOR, Wish.LP_E_CORE, "20-21", False),
        (METEOR, Wish.AUTO, "0-1,10-19", False),
        (LUNAR, Wish.P_CORE_ULTRA, "0-3", True),
        (LUNAR, Wish.E_CORE, "4-7", True),
        (LUNAR, Wish.LP_E_CORE, "4-7", False),
        (RAPTOR, Wish.P_CORE_ULTRA, "4-5,8-9", False),
        (RAPTOR, Wish.LP_E_CORE, "12-19", True),
        (PLAIN, Wish.AUTO, "0-7", False),
        (PLAIN, Wish.P_CORE, "0-7", False),
        (PLAIN, Wish.P_CORE_ULTRA, "0-7", True),
        (PLAIN, Wish.E_CORE, "0-7", True),
        (PLAIN, Wish.LP_E_CORE, "0-7", True),
    ],
)
def test_each_wish_means_its_kind_or_the_next_one(topology, wish, expected, widened):
    placement = place(wish, topology, DEFAULTS)
    assert (placement.cpus, placement.widened, placement.bound) == (cpus(expected), widened, True)


def test_what_is_not_allowed_is_never_given_and_the_reason_tells_it_from_what_is_absent():
    boxed = replace(METEOR, allowed=cpus("2-3,13"))
    assert place(Wish.P_CORE_ULTRA, boxed, DEFAULTS).cpus == {13}
    placement = place(Wish.LP_E_CORE, boxed, DEFAULTS)
    assert placement.cpus == {2, 3}
    assert placement.reason == (
        "wish lp_e_core: E-cores instead of LP-E-cores, none is allowed to us"
    )
    assert "there are none on this machine" in place(Wish.LP_E_CORE, RAPTOR, DEFAULTS).reason


@pytest.mark.parametrize(
    ("load", "expected"), [(0.0, "0-1,10-19"), (0.7, "0-1,10-19"), (0.71, "0-19"), (5.0, "0-19")]
)
def test_e_cores_join_only_above_the_threshold_and_lp_e_cores_never(load, expected):
    assert place(Wish.AUTO, METEOR, DEFAULTS, load).cpus == cpus(expected)
    assert place(Wish.P_CORE, METEOR, DEFAULTS, load).cpus == cpus("0-1,10-19")


def test_a_load_above_the_threshold_without_e_cores_says_so():
    placement = place(Wish.AUTO, LUNAR, DEFAULTS, 0.9)
    assert placement.cpus == cpus("0-3")
    assert placement.reason.endswith(
        "the P-cores' load of 0.90 is above 0.7, but no E-core is here"
    )


def test_without_the_preference_no_wish_means_all_that_is_allowed():
    settings = Hardware(prefer_p_cores=False)
    boxed = replace(METEOR, allowed=cpus("1-4,21"))
    assert place(Wish.AUTO, boxed, settings).cpus == cpus("1-4,21")
    assert place(Wish.E_CORE, boxed, settings).cpus == cpus("2-4")


def test_none_leaves_it_to_the_kernel_whatever_is_wished():
    placement = place(Wish.LP_E_CORE, METEOR, Hardware(cpu_affinity="none"))
    assert (placement.bound, placement.cpus) == (False, METEOR.allowed)


def test_a_list_overrides_the_wish_and_what_it_names_in_vain_is_said():
    placement = place(Wish.E_CORE, METEOR, Hardware(cpu_affinity="0-3,8"))
    assert (placement.cpus, placement.widened) == (cpus("0-3,8"), False)
    placement = place(Wish.E_CORE, PLAIN, Hardware(cpu_affinity="6-9"))
    assert placement.cpus == {6, 7}
    assert placement.reason == "hardware.cpu_affinity is 6-9; 8-9 not allowed or not online here"
    placement = place(Wish.E_CORE, PLAIN, Hardware(cpu_affinity="90"))
    assert (placement.cpus, placement.widened) == (PLAIN.allowed, True)


@pytest.mark.parametrize(("quota", "threads"), [(None, 4), (2500, 3), (1, 1), (9000, 4)])
def test_a_quota_bounds_the_threads_not_the_cpus(quota, threads):
    topology = replace(RAPTOR, quota_millicpus=quota)
    placement = place(Wish.P_CORE_ULTRA, topology, DEFAULTS)
    assert (placement.cpus, placement.threads_max) == (cpus("4-5,8-9"), threads)


@pytest.mark.parametrize("load", [-0.1, float("nan")])
def test_a_load_that_is_none_is_refused(load):
    with pytest.raises(ValueError, match="load"):
        place(Wish.AUTO, PLAIN, DEFAULTS, load)


@pytest.mark.parametrize("allowed", [frozenset(), frozenset({8})])
def test_a_topology_that_allows_nothing_or_more_than_there_is_cannot_be_made(allowed):
    with pytest.raises(ValueError, match="online"):
        replace(PLAIN, allowed=allowed)


@st.composite
def machines_and_settings(draw):
    kinds = draw(st.lists(st.sampled_from(list(CoreClass)), min_size=1, max_size=12))
    found = tuple(
        Cpu(n, n, kind=kind, favoured=kind is CoreClass.P_CORE and draw(st.booleans()))
        for n, kind in enumerate(kinds)
    )
    allowed = draw(st.sets(st.sampled_from(range(len(kinds))), min_size=1))
    quota = draw(st.none() | st.integers(1, 20_000))
    affinity = draw(st.sampled_from(["auto", "none", "0-1", "3,5-7", "40"]))
    return (
        Topology(found, frozenset(allowed), quota_millicpus=quota),
        Hardware(affinity, draw(st.booleans()), draw(st.floats(0, 1))),
    )


@given(machines_and_settings(), st.sampled_from(list(Wish)), st.floats(0, 2))
def test_every_placement_is_within_what_is_allowed_and_says_why(made, wish, load):
    topology, settings = made
    placement = place(wish, topology, settings, load)
    assert placement.cpus and placement.cpus <= topology.allowed
    assert 1 <= placement.threads_max <= len(placement.cpus)
    assert placement.reason and "\n" not in placement.reason
    wished = topology.favoured if wish is Wish.P_CORE_ULTRA else None
    if wished is None and wish is not Wish.AUTO:
        wished = topology.of_kind(CoreClass(wish.value))
    if settings.cpu_affinity == "auto" and wished and wished & topology.allowed:
        assert placement.cpus == wished & topology.allowed


def test_every_wish_widens_to_every_kind_in_the_end():
    for wish in Wish:
        assert {CoreClass(w.value) for w in WIDENING[wish] if w is not Wish.P_CORE_ULTRA} == set(
            CoreClass
        )


def test_the_decision_reads_nothing():
    source = Path(place.__code__.co_filename).read_text("utf-8")
    imported = {
        name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [node.names[0].name])
    }
    assert not imported & {"os", "pathlib", "time", "random"}
