"""Order and cycles, with the standard library's topological sorter as the oracle."""

from graphlib import CycleError, TopologicalSorter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_orchestrator.plan.graph import find_cycle, order

Graph = tuple[list[str], dict[str, list[str]]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph of up to 12 nodes, cycles and doubled edges included."""
    nodes = [f"n{i}" for i in range(draw(st.integers(1, 12)))]
    edges = draw(st.lists(st.tuples(st.sampled_from(nodes), st.sampled_from(nodes)), max_size=30))
    needs: dict[str, list[str]] = {}
    for node, other in edges:
        if node != other:
            needs.setdefault(node, []).append(other)
    return draw(st.permutations(nodes)), needs


def has_cycle(graph: Graph) -> bool:
    """Ask the oracle."""
    nodes, needs = graph
    try:
        TopologicalSorter({node: needs.get(node, []) for node in nodes}).prepare()
    except CycleError:
        return True
    return False


@given(graphs())
def test_the_order_respects_every_dependency_and_loses_nobody(graph: Graph) -> None:
    nodes, needs = graph

    ordered, stuck = order(nodes, needs)

    assert sorted(ordered + stuck) == sorted(nodes)
    place = {node: i for i, node in enumerate(ordered)}
    for node in ordered:
        assert all(place[other] < place[node] for other in needs.get(node, []))


@given(graphs())
def test_something_is_stuck_exactly_if_the_oracle_finds_a_cycle(graph: Graph) -> None:
    _, stuck = order(*graph)

    assert bool(stuck) == has_cycle(graph)


@given(graphs())
def test_a_named_cycle_is_one_and_starts_with_the_node_written_first(graph: Graph) -> None:
    nodes, needs = graph
    _, stuck = order(nodes, needs)
    if not stuck:
        return

    cycle = find_cycle(stuck, needs)

    assert cycle[0] == cycle[-1] and len(cycle) == len(set(cycle)) + 1
    assert all(before in needs[after] for before, after in zip(cycle, cycle[1:], strict=False))
    assert nodes.index(cycle[0]) == min(nodes.index(node) for node in cycle)


@given(graphs())
def test_the_written_order_is_kept_wherever_it_may_be(graph: Graph) -> None:
    """At each place stands the first written node whose dependencies have all been placed."""
    nodes, needs = graph
    ordered, stuck = order(nodes, needs)

    placed: set[str] = set()
    for node in ordered:
        ready = [n for n in nodes if n not in placed and set(needs.get(n, [])) <= placed]
        assert node == ready[0]
        placed.add(node)
    assert not [n for n in stuck if set(needs.get(n, [])) <= placed]


def test_ids_outside_of_the_nodes_are_ignored() -> None:
    assert order(["a", "b"], {"a": ["x"], "b": ["a"]}) == (["a", "b"], [])


@pytest.mark.parametrize("length", [2, 50_000])
def test_a_long_chain_and_a_long_cycle_need_no_deep_stack(length: int) -> None:
    nodes = [f"n{i}" for i in range(length)]
    chain = {nodes[i]: [nodes[i + 1]] for i in range(length - 1)}

    assert order(nodes, chain) == (nodes[::-1], [])
    ring = chain | {nodes[-1]: [nodes[0]]}
    ordered, stuck = order(nodes, ring)
    assert (ordered, stuck) == ([], nodes)
    assert len(find_cycle(stuck, ring)) == length + 1
