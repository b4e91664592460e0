"""Draw import diagrams in Mermaid, bounded, with labels that cannot leave their quotes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

NODES_MAX = 60
EDGES_MAX = 200
LABEL_CHARS_MAX = 80

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _./-")
_Edges = Mapping[tuple[str, str], int]


def label(raw: str) -> str:
    """Write a label in quotes; everything but plain letters becomes an entity of Mermaid's."""
    text = raw if len(raw) <= LABEL_CHARS_MAX else "…" + raw[-(LABEL_CHARS_MAX - 1) :]
    return '"' + "".join(c if c in _PLAIN else f"#{ord(c)};" for c in text) + '"'


def flowchart(
    nodes: Iterable[str],
    edges: _Edges,
    *,
    group_of: Mapping[str, str] | None = None,
    label_of: Mapping[str, str] | None = None,
) -> tuple[str, int, int]:
    """Draw who imports whom.

    Args:
        nodes: Of more than ``NODES_MAX`` those with most edges are drawn.
        edges: (from, to) to a weight; heavier ones are drawn first.
        group_of: Node to the box it stands in.
        label_of: Node to what is written in it; by default the node.

    Returns: The diagram without its fence, and how many nodes and edges were left out.
    """
    degree: dict[str, int] = dict.fromkeys(nodes, 0)
    real = {edge: n for edge, n in edges.items() if edge[0] in degree and edge[1] in degree}
    for left, right in real:
        degree[left] += 1
        degree[right] += 1
    drawn = sorted(sorted(degree, key=lambda node: (-degree[node], node))[:NODES_MAX])
    number = {node: f"n{position}" for position, node in enumerate(drawn)}
    kept = [edge for edge in real if edge[0] in number and edge[1] in number]
    kept = sorted(sorted(kept, key=lambda edge: (-real[edge], edge))[:EDGES_MAX])
    labels = label_of or {}
    lines = ["flowchart LR"]
    groups: dict[str, list[str]] = defaultdict(list)
    for node in drawn:
        groups[(group_of or {}).get(node, "")].append(node)
    for position, (group, members) in enumerate(sorted(groups.items())):
        boxed = [f"{number[node]}[{label(labels.get(node, node))}]" for node in members]
        if group:
            lines.append(f"  subgraph g{position}[{label(group)}]")
            lines += [f"    {box}" for box in boxed]
            lines.append("  end")
        else:
            lines += [f"  {box}" for box in boxed]
    for left, right in kept:
        weight = f"|{real[left, right]}|" if real[left, right] > 1 else ""
        lines.append(f"  {number[left]} -->{weight} {number[right]}")
    return "\n".join(lines), len(degree) - len(drawn), len(real) - len(kept)
