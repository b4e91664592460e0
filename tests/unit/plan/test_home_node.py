"""With ``hardware.numa_aware`` everything stays on one node; without, nodes do not matter."""

import pytest

from tandem_orchestrator.model.levels import HardwareAffinity
from tandem_orchestrator.model.topology import CoreClass, Cpu, Topology
from tandem_orchestrator.plan.place import home_node, place
from tandem_orchestrator.settings import Hardware

P, E = CoreClass.P_CORE, CoreClass.E_CORE
WISH = HardwareAffinity


def machine(nodes: str, kinds: str = "", allowed: str = "") -> Topology:
    """Make a machine: a digit for each CPU's node, a letter for its kind."""
    cpus = tuple(
        Cpu(number, number, node=int(node), kind=E if kinds[number : number + 1] == "e" else P)
        for number, node in enumerate(nodes)
    )
    chosen = {int(number) for number in allowed} if allowed else set(range(len(nodes)))
    return Topology(cpus, frozenset(chosen))


@pytest.mark.parametrize(
    ("topology", "home"),
    [
        (machine("0000"), None),
        (machine("0011"), 0),  # as many each: the lower
        (machine("00111"), 1),
        (machine("00111", "ppeee"), 0),  # P-cores count first
        (machine("00111", allowed="01"), None),  # the other node is not ours
        (machine("00111", allowed="012"), 0),
        (machine("5533"), 3),
    ],
)
def test_the_home_is_the_node_with_most_of_what_is_ours(
    topology: Topology, home: int | None
) -> None:
    assert home_node(topology) == home


def test_what_wishes_nothing_stays_at_home_and_says_why() -> None:
    topology = machine("00111")
    placement = place(WISH.AUTO, topology, Hardware(numa_aware=True))
    assert placement.cpus == {2, 3, 4}
    assert placement.threads_max == 3
    assert placement.reason.endswith("of these those on node 1 (hardware.numa_aware)")
    assert place(WISH.AUTO, topology, Hardware()).cpus == {0, 1, 2, 3, 4}


def test_a_wish_is_met_at_home_and_where_it_cannot_be_it_goes_before() -> None:
    topology, near = machine("000111", "ppepee"), Hardware(numa_aware=True)
    assert place(WISH.P_CORE, topology, near).cpus == {0, 1}
    assert place(WISH.E_CORE, topology, near).cpus == {2}
    far = place(WISH.E_CORE, machine("000111", "pppeee"), near)
    assert far.cpus == {3, 4, 5}
    assert far.reason.endswith("none of them on node 0 (hardware.numa_aware)")


def test_on_one_node_nothing_changes() -> None:
    topology = machine("0000")
    assert place(WISH.AUTO, topology, Hardware(numa_aware=True)) == place(
        WISH.AUTO, topology, Hardware()
    )


@pytest.mark.parametrize("affinity", ["none", "0,4"])
def test_a_list_of_cpus_or_none_goes_before(affinity: str) -> None:
    topology = machine("00111")
    with_it = place(WISH.AUTO, topology, Hardware(cpu_affinity=affinity, numa_aware=True))
    assert with_it == place(WISH.AUTO, topology, Hardware(cpu_affinity=affinity))
