"""Count how often the tree uses each of its own names, and choose examples from its tests."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from tandem_orchestrator.agents.docgen.facts import Snippet
from tandem_orchestrator.agents.docgen.module_names import ModuleIndex

EXAMPLES_MAX = 3
"""Shown for each module."""
MOST_USED_MAX = 100
_LINES_IDEAL = 12
_Role = dict[str, str]


# Any: plain values, as they are journaled.
def most_used(index: ModuleIndex) -> tuple[list[dict[str, Any]], int]:
    """List the names that other modules use most, with the number of names left out.

    Returns: ``[{"name", "module", "uses", "modules"}]``, where ``uses`` counts occurrences
        outside of the defining module (an import itself is none) and ``modules`` who uses it;
        most modules first, then most uses, then by name.
    """
    uses: Counter[tuple[str, str]] = Counter()
    users: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, facts in index.facts.items():
        for ref, count in facts.refs.items():
            owner = index.owner(path, ref)
            if owner is not None and owner[0] != path:
                uses[owner] += count
                users[owner].add(path)
    order = sorted(uses, key=lambda owner: (-len(users[owner]), -uses[owner], owner[1], owner[0]))
    listed = [
        {"name": name, "module": path, "uses": uses[path, name], "modules": len(users[path, name])}
        for path, name in order[:MOST_USED_MAX]
    ]
    return listed, max(len(order) - MOST_USED_MAX, 0)


def choose_examples(index: ModuleIndex, roles: _Role) -> dict[str, list[dict[str, Any]]]:
    """Choose the pieces of tests and examples that show each module's names best.

    A piece is better if it comes from the examples, is no helper, is about few modules, and is near twelve
    lines long. One module gets at most two pieces of one file.

    Args:
        roles: Path to ``source``, ``test`` or ``example``.

    Returns: Path to ``[{"path", "line", "title", "language", "text", "names"}]``, best first.
    """
    candidates: dict[str, list[tuple[tuple[Any, ...], str, Snippet, list[str]]]] = defaultdict(list)
    for path, facts in sorted(index.facts.items()):
        for snippet in facts.snippets:
            names: dict[str, set[str]] = defaultdict(set)
            for ref in snippet.refs:
                owner = index.owner(path, ref)
                if owner is not None and roles[owner[0]] == "source":
                    names[owner[0]].add(owner[1])
            for module, used in names.items():
                rank = (
                    roles[path] != "example",
                    bool(snippet.title) and "test" not in snippet.title and facts.language != "c",
                    len(names) - 1,
                    abs(snippet.lines - _LINES_IDEAL) // 4,
                    -len(used),
                    path,
                    snippet.line,
                )
                candidates[module].append((rank, path, snippet, sorted(used)))
    return {module: _best(found, index) for module, found in sorted(candidates.items())}


def _best(
    found: list[tuple[tuple[Any, ...], str, Snippet, list[str]]], index: ModuleIndex
) -> list[dict[str, Any]]:
    chosen: list[dict[str, Any]] = []
    from_file: Counter[str] = Counter()
    for _, path, snippet, names in sorted(found, key=lambda one: one[0]):
        if from_file[path] < 2 and len(chosen) < EXAMPLES_MAX:
            from_file[path] += 1
            chosen.append(
                {
                    "path": path,
                    "line": snippet.line,
                    "title": snippet.title,
                    "language": index.facts[path].language,
                    "text": snippet.text,
                    "names": names[:20],
                }
            )
    return chosen
