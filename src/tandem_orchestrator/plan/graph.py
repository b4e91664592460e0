"""The dependency graph: its order, and its cycles by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush


def order(nodes: Sequence[str], needs: Mapping[str, Sequence[str]]) -> tuple[list[str], list[str]]:
    """Sort topologically, keeping the written order wherever the dependencies allow it.

    Args:
        nodes: Ids, unique, in written order.
        needs: Id to the ids it waits for; ids outside ``nodes`` are ignored.

    Returns: (the order, the ids that are on or behind a cycle, in written order).

    Source: A. B. Kahn, "Topological sorting of large networks", CACM 5(11), 1962; a heap of
    positions makes it stable. Cost O((n + edges) log n).
    """
    position = {node: i for i, node in enumerate(nodes)}
    blockers = {node: {n for n in needs.get(node, ()) if n in position} for node in nodes}
    dependents: dict[str, list[str]] = {node: [] for node in nodes}
    for node, waits_for in blockers.items():
        for other in waits_for:
            dependents[other].append(node)
    missing = {node: len(waits_for) for node, waits_for in blockers.items()}
    ready = [position[node] for node in nodes if not missing[node]]
    heapify(ready)
    ordered: list[str] = []
    while ready:
        node = nodes[heappop(ready)]
        ordered.append(node)
        for other in dependents[node]:
            missing[other] -= 1
            if not missing[other]:
                heappush(ready, position[other])
    done = set(ordered)
    return ordered, [node for node in nodes if node not in done]


def find_cycle(stuck: Sequence[str], needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Name one cycle among ids that ``order`` could not place: ``[a, b, a]``, a before b before a.

    Walking backwards from any stuck node must meet a node twice, since each of them waits for
    another stuck one. The one that was written first comes first.
    """
    members = set(stuck)
    node, seen = stuck[0], {}
    path: list[str] = []
    while node not in seen:
        seen[node] = len(path)
        path.append(node)
        node = next(n for n in needs[node] if n in members)
    cycle = path[seen[node] :]
    cycle.reverse()
    on_it = set(cycle)
    first = cycle.index(next(n for n in stuck if n in on_it))
    return [*cycle[first:], *cycle[: first + 1]]
