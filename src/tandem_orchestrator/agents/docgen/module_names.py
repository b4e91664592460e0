"""Name the modules of a tree, and find the module or name that an import means.

A Python module is named from the highest folder that has an ``__init__.py`` above it; where there
is none, from the root of the tree, without a leading ``src``. C files are named by their paths.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from tandem_orchestrator.agents.docgen.facts import Facts, Import

RE_EXPORT_HOPS_MAX = 8
_SOURCE_FOLDERS = ("src",)


def python_name(path: str, paths: frozenset[str], root_name: str = "") -> str:
    """Name a Python module, as in ``package.module``.

    Args:
        path: Of the module, relative to the root.
        paths: Of all files of the tree.
        root_name: What the root is called; counts where the root itself is a package.
    """
    folders = path.removesuffix(".py").removesuffix(".pyi").split("/")
    stem = folders.pop()
    start = len(folders)
    while start and "/".join([*folders[:start], "__init__.py"]) in paths:
        start -= 1
    if start == 0 and "__init__.py" in paths and root_name.isidentifier():
        folders.insert(0, root_name)
    elif start == len(folders) and folders and stem != "__init__":
        start = 1 if folders[0] in _SOURCE_FOLDERS else 0
    parts = folders[start:] + ([] if stem == "__init__" else [stem])
    return ".".join(parts) or stem


class ModuleIndex:
    """Every module of a tree by name, and what each of them imports and uses."""

    def __init__(self, facts: Iterable[Facts], paths: frozenset[str], root_name: str = "") -> None:
        """Index the modules; ``paths`` are those of all files of the tree."""
        self.facts: dict[str, Facts] = {one.path: one for one in facts}
        """By path."""
        self.names = {
            path: python_name(path, paths, root_name) if one.language == "python" else path
            for path, one in self.facts.items()
        }
        """Path to shown name; two paths may share one."""
        self._python: dict[str, list[str]] = defaultdict(list)
        self._symbols: dict[str, frozenset[str]] = {}
        self._re_exports: dict[str, dict[str, tuple[int, str]]] = {}
        self._c_by_name: dict[str, list[str]] = defaultdict(list)
        self._c_owner: dict[str, list[str]] = defaultdict(list)
        for path, one in self.facts.items():
            self._symbols[path] = frozenset(symbol.name for symbol in one.symbols)
            if one.language == "python":
                for name in {self.names[path], _from_root(path)}:
                    self._python[name].append(path)
                self._re_exports[path] = {
                    name: (imported.level, f"{imported.target}.{name}".lstrip("."))
                    for imported in one.imports
                    for name in imported.names
                }
            else:
                self._c_by_name[path.rsplit("/", 1)[-1]].append(path)
                for name in self._symbols[path]:
                    self._c_owner[name].append(path)

    def targets(self, path: str, imported: Import) -> list[str]:
        """Give the paths of the modules in the tree that an import loads; empty if outside."""
        if self.facts[path].language == "c":
            found = self._included(path, imported)
            return [found] if found else []
        base = self._absolute(path, imported.level, imported.target)
        if base is None:
            return []
        targets = []
        for name in imported.names or ("",):
            module = self._module(f"{base}.{name}".strip("."), path) if name else None
            target = module or self._module(base, path)
            if target and target != path and target not in targets:
                targets.append(target)
        return targets

    def owner(self, path: str, ref: tuple[int, str]) -> tuple[str, str] | None:
        """Give module path and name of what ``path`` refers to, or None if it is not in the tree.

        Names that a module only passes on are followed to where they are defined.
        """
        if self.facts[path].language == "c":
            return self._c_symbol(ref[1])
        base = self._absolute(path, *ref)
        for _ in range(RE_EXPORT_HOPS_MAX):
            split = self._split(base, path) if base is not None else None
            if split is None:
                return None
            module, rest = split
            name = rest.split(".")[0]
            if not name or name in self._symbols[module]:
                return (module, name) if name else None
            passed_on = self._re_exports[module].get(name)
            if passed_on is None:
                return None
            base = self._absolute(module, *passed_on)
        return None

    def _split(self, dotted: str, near: str) -> tuple[str, str] | None:
        """Split ``package.module.name.attribute`` into the longest module and the rest."""
        parts = dotted.split(".")
        for count in range(len(parts), 0, -1):
            module = self._module(".".join(parts[:count]), near)
            if module:
                return module, ".".join(parts[count:])
        return None

    def _absolute(self, path: str, level: int, target: str) -> str | None:
        if level == 0:
            return target
        parts = self.names[path].split(".")
        if not path.endswith("__init__.py"):
            parts = parts[:-1]
        if level - 1 > len(parts):
            return None
        parts = parts[: len(parts) - (level - 1)]
        return ".".join([*parts, *filter(None, [target])])

    def _module(self, name: str, near: str) -> str | None:
        """Find a module by name; of several the one that shares most folders with ``near``."""
        paths = self._python.get(name)
        if not paths and f"{near.rpartition('/')[0]}/__init__.py" not in self.facts:
            # A script finds what lies beside it; a module of a package does not.
            paths = self._python.get(_from_root(f"{near.rpartition('/')[0]}/{name}").lstrip("."))
        if not paths:
            return None
        return max(sorted(paths), key=lambda path: _shared_folders(path, near))

    def _included(self, path: str, imported: Import) -> str | None:
        folder = path.rpartition("/")[0]
        if imported.level:
            beside = _normal(f"{folder}/{imported.target}")
            if beside in self.facts:
                return beside
        ending = "/" + imported.target
        candidates = [
            other
            for other in self._c_by_name.get(imported.target.rsplit("/", 1)[-1], ())
            if ("/" + other).endswith(ending)
        ]
        if not candidates or (len(candidates) > 1 and not imported.level):
            return None
        return max(sorted(candidates), key=lambda other: _shared_folders(other, path))

    def _c_symbol(self, name: str) -> tuple[str, str] | None:
        owners = self._c_owner.get(name, [])
        headers = [path for path in owners if path.endswith(".h")]
        best = headers or owners
        return (best[0], name) if len(best) == 1 else None


def uses_and_outside(
    index: ModuleIndex,
) -> tuple[dict[str, dict[str, str]], Mapping[str, list[str]]]:
    """Give, for each path, the modules it uses, and the names of what it imports from outside.

    Returns: path to {used path: kind}, where kind is the strongest of ``module``, ``lazy`` and
        ``typing``; and path to the sorted names outside of the tree.
    """
    strength = {"module": 0, "lazy": 1, "typing": 2}
    uses: dict[str, dict[str, str]] = {}
    outside: dict[str, list[str]] = {}
    for path, facts in index.facts.items():
        kinds: dict[str, str] = {}
        foreign: set[str] = set()
        for imported in facts.imports:
            targets = index.targets(path, imported)
            for target in targets:
                known = kinds.get(target, imported.kind)
                kinds[target] = min(known, imported.kind, key=strength.__getitem__)
            if not targets and imported.target:
                whole = facts.language == "c" or imported.level
                name = imported.target if whole else imported.target.split(".")[0]
                if name == "__future__":
                    continue
                foreign.add("." * (imported.level if facts.language == "python" else 0) + name)
        kinds.pop(path, None)
        uses[path] = dict(sorted(kinds.items()))
        outside[path] = sorted(foreign)
    return uses, outside


def _from_root(path: str) -> str:
    stem = path.removesuffix(".py").removesuffix(".pyi").removesuffix("/__init__")
    return stem.replace("/", ".")


def _shared_folders(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one.split("/")[:-1], other.split("/")[:-1], strict=False):
        if left != right:
            break
        count += 1
    return count


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
