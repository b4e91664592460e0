"""Write the pages about the whole tree: the index, the folders, the names, the imports."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tandem_orchestrator.agents.docgen import mermaid
from tandem_orchestrator.agents.docgen.markdown import code, fence, prose, table, text
from tandem_orchestrator.agents.docgen.site_map import IMPORTS, INDEX, NAMES, SiteMap

TREE_LINES_MAX = 150
INDEX_MODULES_MAX = 300
UNDOCUMENTED_MAX = 20
PROBLEMS_SHOWN_MAX = 50
ENTRIES_MAX = 2_000
"""Files and folders listed on one folder's page."""
_LANGUAGES = {"python": "Python", "c": "C"}

# Any: an analysis, plain values.
_Value = Mapping[str, Any]


class OverviewPages:
    """The pages of one analysis that are not about one module."""

    def __init__(self, analysis: _Value, site: SiteMap, names: Mapping[str, str]) -> None:
        """Prepare to write; ``names`` maps module paths to shown names."""
        self._analysis = analysis
        self._site = site
        self._names = names
        self._modules = {module["path"]: module for module in analysis["modules"]}
        self._children: dict[str, list[str]] = defaultdict(list)
        for folder in sorted(site.folders):
            if folder:
                self._children[folder.rpartition("/")[0]].append(folder)
        self._files: dict[str, list[_Value]] = defaultdict(list)
        for file in analysis["files"]:
            self._files[file["path"].rpartition("/")[0]].append(file)
        self._counts = self._counts_below()

    def index(self) -> str:
        """Write ``index.md``."""
        analysis = self._analysis
        name = analysis["root"].rstrip("/").rpartition("/")[2] or analysis["root"]
        parts = [f"# {code(name)}"]
        parts += [f"> **Note:** {prose(note)}" for note in analysis["notes"]]
        parts.append(self._totals())
        links = [self._site.to(INDEX, self._site.folders[""], "Folders and files")]
        links.append(self._site.to(INDEX, IMPORTS, "Imports: who uses whom"))
        if analysis["most_used"]:
            links.append(self._site.to(INDEX, NAMES, "Most-used names"))
        parts.append("\n".join(f"- {link}" for link in links))
        parts += ["## Tree", "\n".join(self._tree())]
        parts += ["## Modules", *self._module_tables()]
        parts += ["## Documentation", *self._coverage()]
        parts += ["## Import cycles", *self._cycles(INDEX)]
        if analysis["problems"]:
            parts += ["## Problems", "\n".join(self._problems())]
        if analysis["ai"]["reason"] and not analysis["ai"]["reason"].startswith("not asked"):
            parts.append(f"*No part of this was written by AI: {prose(analysis['ai']['reason'])}.*")
        if analysis["cut"]:
            cut = ", ".join(f"{code(key)}: {n:,}" for key, n in sorted(analysis["cut"].items()))
            parts.append(f"*Left out to keep the analysis bounded: {cut}.*")
        return "\n\n".join(parts) + "\n"

    def folder(self, folder: str) -> str:
        """Write the page of one folder: what lies in it."""
        page = self._site.folders[folder]
        parts = [f"# {code(folder or '.')}", self._trail(page, folder)]
        entries = 0
        if self._children[folder]:
            inner = self._children[folder][:ENTRIES_MAX]
            entries += len(inner)
            rows = [
                [self._to_folder(page, one, cell=True), f"{self._counts[one]:,}"] for one in inner
            ]
            parts += ["## Folders", table(["Folder", "Files"], rows)]
        modules = [f["path"] for f in self._files[folder] if f["path"] in self._modules]
        if modules:
            parts += ["## Modules", self._module_table(page, modules[:ENTRIES_MAX])]
        others = [f for f in self._files[folder] if f["path"] not in self._modules]
        if others:
            rows = [
                [
                    self._site.to_source(
                        page, file["path"], code(file["path"].rpartition("/")[2], cell=True)
                    ),
                    _number(file["lines"]),
                    _number(file["bytes"]),
                ]
                for file in others[:ENTRIES_MAX]
            ]
            parts += ["## Other files", table(["File", "Lines", "Bytes"], rows)]
        left_out = sum(
            max(len(some) - ENTRIES_MAX, 0) for some in (self._children[folder], modules, others)
        )
        if left_out:
            parts.append(f"*{left_out:,} more are not listed.*")
        if not (entries or modules or others):
            parts.append("Nothing is listed here.")
        return "\n\n".join(parts) + "\n"

    def names(self) -> str:
        """Write ``names.md``: the names that most modules use."""
        rows = []
        for one in self._analysis["most_used"]:
            anchor = self._site.anchors.get((one["module"], one["name"]), "")
            shown = code(one["name"], cell=True)
            home = code(self._names.get(one["module"], one["module"]), cell=True)
            rows.append(
                [
                    self._site.to_module(NAMES, one["module"], shown, anchor),
                    self._site.to_module(NAMES, one["module"], home),
                    f"{one['modules']:,}",
                    f"{one['uses']:,}",
                ]
            )
        parts = [
            "# Most-used names",
            self._site.to(NAMES, INDEX, "Index"),
            "Counted are uses in other modules of the tree; an import by itself is none.",
            table(["Name", "Defined in", "Modules", "Uses"], rows),
        ]
        return "\n\n".join(parts) + "\n"

    def imports(self) -> str:
        """Write ``imports.md``: diagrams of who imports whom, and the cycles."""
        modules = [m for m in self._analysis["modules"] if m["role"] == "source"]
        between: Counter[tuple[str, str]] = Counter()
        edges: dict[tuple[str, str], int] = {}
        for module in modules:
            for use in module["uses"]:
                if use["module"] in self._modules and use["kind"] != "typing":
                    edges[module["path"], use["module"]] = 1
                    pair = (_folder(module["path"]), _folder(use["module"]))
                    between[pair] += pair[0] != pair[1]
        between = Counter({pair: n for pair, n in between.items() if n})
        parts = ["# Imports", self._site.to(IMPORTS, INDEX, "Index")]
        folders = sorted({_folder(module["path"]) for module in modules})
        if len(folders) > 1:
            chart = mermaid.flowchart(folders, between, label_of={"": "."})
            parts += [
                "## Between folders",
                "A number is how many imports an arrow stands for.",
                *_diagram(chart),
            ]
        if modules:
            chart = mermaid.flowchart(
                [module["path"] for module in modules],
                edges,
                group_of={m["path"]: _folder(m["path"]) for m in modules},
                label_of={m["path"]: m["path"].rpartition("/")[2] for m in modules},
            )
            parts += ["## Between modules", *_diagram(chart)]
        else:
            parts.append("There are no modules.")
        parts += ["## Import cycles", *self._cycles(IMPORTS)]
        return "\n\n".join(parts) + "\n"

    def _totals(self) -> str:
        totals, counts = self._analysis["totals"], self._analysis["coverage"]
        modules = ", ".join(
            f"{n:,} {_LANGUAGES.get(language, language)}"
            for language, n in totals["modules"].items()
        )
        roles = ", ".join(f"{n:,} {role}" for role, n in totals["roles"].items())
        rows = [
            ["Files", f"{totals['files']:,}"],
            ["Lines", f"{totals['lines']:,}"],
            ["Bytes", f"{totals['bytes']:,}"],
            ["Modules", f"{modules} ({roles})" if modules else "0"],
        ]
        for kind, n in totals["symbols"].items():
            plural = {"class": "Classes"}.get(kind, f"{kind.capitalize()}s")
            rows.append([plural, f"{n:,}"])
        rows.append(["Documented", _share(counts)])
        return table(["What", "How many"], rows)

    def _tree(self) -> Iterator[str]:
        """Yield the folders as a nested list, whole levels of it as far as the bound goes."""
        levels = Counter(folder.count("/") + 1 for folder in self._site.folders if folder)
        depth, lines = 0, 1
        while levels[depth + 1] and lines + levels[depth + 1] <= TREE_LINES_MAX:
            depth += 1
            lines += levels[depth]
        stack = [""]
        while stack:
            folder = stack.pop()
            level = folder.count("/") + 1 if folder else 0
            files = self._counts[folder]
            count = f"{files:,} file{'' if files == 1 else 's'}"
            yield f"{'  ' * level}- {self._to_folder(INDEX, folder, last=True)} ({count})"
            if level < depth:
                stack += reversed(self._children[folder])
        if levels[depth + 1]:
            yield f"\n*Deeper folders are on the pages of those above; {depth} levels are shown.*"

    def _module_tables(self) -> Iterator[str]:
        if not self._modules:
            yield "There are none."
            return
        if len(self._modules) > INDEX_MODULES_MAX:
            link = self._site.to(INDEX, self._site.folders[""], "the pages of the folders")
            yield f"There are {len(self._modules):,}; they are on {link}."
            return
        groups: dict[str, list[str]] = defaultdict(list)
        for path in self._modules:
            groups[_folder(path)].append(path)
        for folder, paths in sorted(groups.items()):
            yield f"**{self._to_folder(INDEX, folder)}**"
            yield self._module_table(INDEX, sorted(paths))

    def _module_table(self, page: str, paths: list[str]) -> str:
        rows = []
        for path in paths:
            module = self._modules[path]
            link = self._site.to_module(page, path, code(module["name"], cell=True))
            summary = prose(module["summary"], cell=True) if module["summary"] else ""
            counts = module["coverage"]
            share = f"{counts['documented']} of {counts['total']}" if counts["total"] else ""
            rows.append([link, summary, share])
        return table(["Module", "What it is", "Documented"], rows)

    def _coverage(self) -> Iterator[str]:
        yield (
            f"{_share(self._analysis['coverage'])} of modules and public names have a docstring "
            "or a doc comment; tests and examples are not counted."
        )
        gaps = [
            (module["coverage"]["total"] - module["coverage"]["documented"], path)
            for path, module in self._modules.items()
            if module["role"] == "source"
        ]
        worst = sorted((-gap, path) for gap, path in gaps if gap)
        if worst:
            rows = [
                [
                    self._site.to_module(INDEX, path, code(self._names[path], cell=True)),
                    f"{-gap}",
                    f"{self._modules[path]['coverage']['total']}",
                ]
                for gap, path in worst[:UNDOCUMENTED_MAX]
            ]
            yield table(["Module", "Undocumented", "Of"], rows)
            if len(worst) > UNDOCUMENTED_MAX:
                yield f"*{len(worst) - UNDOCUMENTED_MAX:,} more have gaps.*"

    def _cycles(self, page: str) -> Iterator[str]:
        cycles = self._analysis["cycles"]
        if not cycles:
            yield "None. (Imports inside functions and for types only make no cycle.)"
            return
        lines = []
        for cycle in cycles:
            way = [*cycle["shortest"], cycle["shortest"][0]]
            members = len(cycle["members"])
            shown = [
                self._site.to_module(page, path, code(self._names.get(path, path)))
                for path in way[:20]
            ]
            more = f"; {members} modules hang together" if members > len(way) - 1 else ""
            lines.append(f"- {' → '.join(shown)}{' → …' if len(way) > len(shown) else ''}{more}")
        yield "\n".join(lines)

    def _problems(self) -> Iterator[str]:
        problems = self._analysis["problems"]
        for problem in problems[:PROBLEMS_SHOWN_MAX]:
            path = self._site.to_module(INDEX, problem["path"], code(problem["path"]))
            yield f"- {path} {prose(problem['message'])}"
        if len(problems) > PROBLEMS_SHOWN_MAX:
            yield f"- and {len(problems) - PROBLEMS_SHOWN_MAX:,} more"

    def _trail(self, page: str, folder: str) -> str:
        steps = [self._site.to(page, INDEX, "Index")]
        if folder:
            steps.append(self._to_folder(page, _folder(folder)))
        return " › ".join(steps)

    def _to_folder(self, page: str, folder: str, *, last: bool = False, cell: bool = False) -> str:
        name = folder.rpartition("/")[2] if last else folder
        return self._site.to(page, self._site.folders[folder], code(name or ".", cell=cell))

    def _counts_below(self) -> Counter[str]:
        """Count the files in and below each folder."""
        counts: Counter[str] = Counter()
        for folder, files in self._files.items():
            above = folder
            counts[above] += len(files)
            while above:
                above = above.rpartition("/")[0]
                counts[above] += len(files)
        return counts


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _diagram(chart: tuple[str, int, int]) -> Iterator[str]:
    drawing, nodes_cut, edges_cut = chart
    yield fence(drawing, "mermaid")
    if nodes_cut or edges_cut:
        yield text(f"Not drawn: {nodes_cut:,} with fewest imports, and {edges_cut:,} arrows.")


def _share(counts: Mapping[str, int]) -> str:
    documented, total = counts["documented"], counts["total"]
    percent = f" ({100 * documented // total} %)" if total else ""
    return f"{documented:,} of {total:,}{percent}"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
