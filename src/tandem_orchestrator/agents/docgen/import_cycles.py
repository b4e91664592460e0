"""Find the import cycles of a tree: strongly connected modules, and a shortest way round each.

Components by Tarjan's algorithm (SIAM J. Comput. 1(2), 1972), written with a stack of its own so
that a chain of ten thousand imports is no recursion. The shortest cycle through a component is
found breadth first from each of its first ``STARTS_MAX`` modules.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

STARTS_MAX = 200
"""In a larger component the cycle shown is a cycle, and perhaps not the shortest."""

_Graph = Mapping[str, Iterable[str]]


def import_cycles(graph: _Graph) -> list[tuple[list[str], list[str]]]:
    """Give each cycle as (sorted members of the component, shortest cycle), largest first.

    Args:
        graph: Module to the modules it imports; unknown ones are left out.

    Returns: The shortest cycle begins with its smallest member and does not repeat it at the end;
        a module that imports itself is a cycle of one.
    """
    edges = {node: sorted({to for to in graph[node] if to in graph}) for node in graph}
    cycles = []
    for component in _components(edges):
        if len(component) > 1 or component[0] in edges[component[0]]:
            members = sorted(component)
            cycles.append((members, _shortest(edges, members)))
    return sorted(cycles, key=lambda cycle: (-len(cycle[0]), cycle[0]))


def _components(edges: Mapping[str, list[str]]) -> list[list[str]]:
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    on_stack: set[str] = set()
    stack: list[str] = []
    found: list[list[str]] = []
    for start in sorted(edges):
        if start in number:
            continue
        work = [(start, iter(edges[start]))]
        number[start] = low[start] = len(number)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, rest = work[-1]
            for to in rest:
                if to not in number:
                    number[to] = low[to] = len(number)
                    stack.append(to)
                    on_stack.add(to)
                    work.append((to, iter(edges[to])))
                    break
                if to in on_stack:
                    low[node] = min(low[node], number[to])
            else:
                work.pop()
                if work:
                    parent = work[-1][0]
                    low[parent] = min(low[parent], low[node])
                if low[node] == number[node]:
                    component = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        component.append(member)
                        if member == node:
                            break
                    found.append(component)
    return found


def _shortest(edges: Mapping[str, list[str]], members: list[str]) -> list[str]:
    inside = set(members)
    best: list[str] = []
    for start in members[:STARTS_MAX]:
        before: dict[str, str] = {}
        queue = deque([start])
        while queue and start not in before:
            node = queue.popleft()
            for to in edges[node]:
                if to in inside and to not in before:
                    before[to] = node
                    queue.append(to)
        cycle = [before[start]]
        while cycle[-1] != start:
            cycle.append(before[cycle[-1]])
        cycle.reverse()
        if not best or len(cycle) < len(best):
            best = cycle
    first = best.index(min(best))
    return best[first:] + best[:first]
