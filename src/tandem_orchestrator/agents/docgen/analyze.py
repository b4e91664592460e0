"""Analyse the structure of a scanned tree: what each module offers, and how they hang together.

The output holds everything that pages need, so that generation reads no source. It is bounded:
what was left out is counted under ``cut``.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from tandem_orchestrator.agents.docgen.analyze_request import AnalyzeRequest
from tandem_orchestrator.agents.docgen.c_source import MissingParser, c_parser, read_c
from tandem_orchestrator.agents.docgen.coverage import added, coverage
from tandem_orchestrator.agents.docgen.facts import Doc, Facts, Symbol
from tandem_orchestrator.agents.docgen.import_cycles import import_cycles
from tandem_orchestrator.agents.docgen.module_names import ModuleIndex, uses_and_outside
from tandem_orchestrator.agents.docgen.python_source import read_python
from tandem_orchestrator.agents.docgen.source_file import Unreadable, decode_python, read_source
from tandem_orchestrator.agents.docgen.usage import choose_examples, most_used

MANIFEST_NAME = ".tandem-docs.json"
"""A folder that holds this file holds generated pages, which are not documented again."""
FOLDERS_DEEP_MAX = 64
"""Files below more folders are counted and left out."""
MODULES_MAX = 50_000
FILES_MAX = 50_000
PROBLEMS_MAX = 1_000
CYCLES_MAX = 100
TEXT_CHARS_MAX = 16 * 1024 * 1024
"""Of signatures, docstrings and examples together; modules beyond it are listed without them."""

LANGUAGES = {".py": "python", ".pyi": "python", ".c": "c", ".h": "c"}
"""Ending of a file's name to the language it is analysed as."""
_TEST_FOLDERS = frozenset({"test", "tests"})
_EXAMPLE_FOLDERS = frozenset({"example", "examples"})

Poll = Callable[[int, int], None]
"""Called with files done and files in all; may raise to stop."""
# Any: plain values, as they are journaled.
_Value = dict[str, Any]


def analyze(request: AnalyzeRequest, poll: Poll = lambda done, total: None) -> _Value:
    """Read every source file of a scan and give the structure of the tree.

    Returns: ``root``, ``depth``, ``totals``, ``coverage``, ``modules``, ``files``, ``cycles``,
        ``most_used``, ``problems``, ``notes``, ``ai``, ``own_pages``, ``cut``; see ``docs/agents.md``.
    """
    notes: list[str] = []
    cut: Counter[str] = Counter()
    files, own_pages = _chosen(request, cut)
    problems: list[_Value] = []
    facts = list(_read_all(request, files, problems, notes, poll))
    shown_paths = frozenset(path for path, _, _ in files)
    root_name = os.fsdecode(request.root).rstrip("/").rpartition("/")[2]
    index = ModuleIndex(facts, shown_paths, root_name)
    roles = {path: role_of(path) for path, _, _ in files}
    uses, outside = uses_and_outside(index)
    entries = {path: entry for path, _, entry in files}

    comprehensive = request.depth == "comprehensive"
    examples = choose_examples(index, roles) if comprehensive else {}
    names, cut["most_used"] = most_used(index) if comprehensive else ([], 0)
    counts = _coverage(index)
    budget = TEXT_CHARS_MAX
    modules = []
    for one in facts:
        module = _module(one, index, roles[one.path], entries[one.path])
        module["coverage"] = counts[one.path]
        module["uses"] = [{"module": to, "kind": kind} for to, kind in uses[one.path].items()]
        module["outside"] = outside[one.path][:100]
        if request.depth != "overview":
            detail, chars = _detail(one, examples.get(one.path, []))
            if chars <= budget:
                budget -= chars
                module.update(detail)
            else:
                cut["module_details"] += 1
        modules.append(module)

    graph = {
        path: [to for to, kind in uses[path].items() if kind == "module"] for path in index.facts
    }
    cycles = import_cycles(graph)
    listed = [_file(path, entry, roles[path], path in index.facts) for path, _, entry in files]
    cut["files"] = max(len(listed) - FILES_MAX, 0)
    cut["cycles"] = max(len(cycles) - CYCLES_MAX, 0)
    cut["problems"] = max(len(problems) - PROBLEMS_MAX, 0)
    if request.scan_errors:
        notes.append(f"The scan could not list {request.scan_errors} entries; they are not here.")
    return {
        "root": _shown(request.root),
        "depth": request.depth,
        "totals": _totals(facts, files, roles),
        "coverage": added([counts[path] for path in counts if roles[path] == "source"]),
        "modules": modules,
        "files": listed[:FILES_MAX],
        "cycles": [{"members": m, "shortest": s} for m, s in cycles[:CYCLES_MAX]],
        "most_used": names,
        "problems": problems[:PROBLEMS_MAX],
        "notes": notes,
        "ai": _ai(request.use_ai),
        # Not among the notes: pages must not change because they are there.
        "own_pages": own_pages,
        "cut": {key: count for key, count in sorted(cut.items()) if count},
    }


def role_of(path: str) -> str:
    """Tell ``test``, ``example`` and ``source`` apart, by folder and by the file's name."""
    *folders, name = path.split("/")
    stem = name.rpartition(".")[0]
    if not _EXAMPLE_FOLDERS.isdisjoint(folders):
        return "example"
    if (
        not _TEST_FOLDERS.isdisjoint(folders)
        or stem.startswith("test_")
        or stem.endswith("_test")
        or stem == "conftest"
    ):
        return "test"
    return "source"


def _ai(asked: bool) -> _Value:
    if not asked:
        return {"used": False, "reason": "not asked for (use_ai is false)"}
    return {
        "used": False,
        "reason": "no AI provider is configured; the analysis is by parsers alone",
    }


def _chosen(
    request: AnalyzeRequest, cut: Counter[str]
) -> tuple[list[tuple[str, bytes, _Value]], int]:
    """Give (shown path, path, entry) of what is analysed, and how many are pages of our own."""
    generated: dict[bytes, bool] = {b"": False}

    def is_generated(folder: bytes) -> bool:
        if folder not in generated:
            manifest = b"/".join([request.root, folder, MANIFEST_NAME.encode()])
            above = folder.rpartition(b"/")[0]
            generated[folder] = is_generated(above) or os.path.lexists(manifest)
        return generated[folder]

    chosen = []
    own_pages = sources = 0
    for path, entry in request.files:
        shown = _shown(path)
        if path.count(b"/") > FOLDERS_DEEP_MAX:
            cut["too_deep"] += 1
        elif is_generated(path.rpartition(b"/")[0]):
            own_pages += 1
        elif _language(shown) is not None and sources >= MODULES_MAX:
            cut["modules"] += 1
        else:
            sources += _language(shown) is not None
            chosen.append((shown, path, entry))
    return chosen, own_pages


def _read_all(
    request: AnalyzeRequest,
    files: list[tuple[str, bytes, _Value]],
    problems: list[_Value],
    notes: list[str],
    poll: Poll,
) -> list[Facts]:
    facts: list[Facts] = []
    missing: str | None = None
    c_files = sum(_language(path) == "c" for path, _, _ in files)
    if c_files:
        try:
            c_parser()
        except MissingParser as error:
            missing = str(error)
            notes.append(f"{c_files} C files are listed without their structure. {missing}")
    for number, (path, raw, entry) in enumerate(files):
        if number % 32 == 0:
            poll(number, len(files))
        language = _language(path)
        if language is None:
            continue
        if language == "c" and missing is not None:
            facts.append(Facts(path, "c"))
            continue
        try:
            data = read_source(request.root, raw)
            one = _parse(path, language, data)
            if entry.get("sha256") not in (None, hashlib.sha256(data).hexdigest()):
                one.problems.append("has changed since the scan; what was read now is shown")
        except Unreadable as error:
            one = Facts(path, language, problems=[str(error)])
        facts.append(one)
        problems += [{"path": path, "message": message} for message in one.problems]
    poll(len(files), len(files))
    return facts


def _parse(path: str, language: str, data: bytes) -> Facts:
    snippets = role_of(path) != "source"
    if language == "python":
        return read_python(path, decode_python(data), snippets=snippets)
    return read_c(path, data, snippets=snippets)


def _language(path: str) -> str | None:
    return LANGUAGES.get(PurePosixPath(path).suffix)


def _coverage(index: ModuleIndex) -> dict[str, dict[str, int]]:
    declared = {
        symbol.name
        for path, one in index.facts.items()
        if path.endswith(".h") and one.language == "c"
        for symbol in one.symbols
    }
    return {
        path: coverage(
            one,
            declared if path.endswith(".c") else (),
            # What a .c file is about stands at the head of its header.
            as_module=not (path.endswith(".c") and path[:-1] + "h" in index.facts),
        )
        for path, one in index.facts.items()
    }


def _totals(
    facts: list[Facts], files: list[tuple[str, bytes, _Value]], roles: dict[str, str]
) -> _Value:
    kinds = Counter(
        member.kind
        for one in facts
        if roles[one.path] == "source"
        for symbol in one.symbols
        for member in [symbol, *symbol.members]
    )
    return {
        "files": len(files),
        "bytes": sum(entry.get("bytes") or 0 for _, _, entry in files),
        "lines": sum(entry.get("lines") or 0 for _, _, entry in files),
        "modules": dict(sorted(Counter(one.language for one in facts).items())),
        "roles": dict(sorted(Counter(roles[one.path] for one in facts).items())),
        "symbols": dict(sorted(kinds.items())),
    }


def _file(path: str, entry: _Value, role: str, is_module: bool) -> _Value:
    return {
        "path": path,
        "bytes": entry.get("bytes"),
        "lines": entry.get("lines"),
        "role": role,
        "module": is_module,
    }


def _module(one: Facts, index: ModuleIndex, role: str, entry: _Value) -> _Value:
    return {
        "path": one.path,
        "name": index.names[one.path],
        "language": one.language,
        "role": role,
        "bytes": entry.get("bytes"),
        "lines": entry.get("lines"),
        "summary": one.doc.summary if one.doc else None,
        "private": one.private,
        "problems": one.problems,
    }


def _detail(one: Facts, examples: list[_Value]) -> tuple[_Value, int]:
    """Give what a module offers, and roughly how many characters that is."""
    symbols = [_symbol(symbol) for symbol in one.symbols]
    chars = sum(len(example["text"]) + 200 for example in examples)
    chars += sum(
        100 + len(member.signature) + (len(member.doc.text) if member.doc else 0)
        for symbol in one.symbols
        for member in [symbol, *symbol.members]
    )
    detail = {"symbols": symbols, "symbols_cut": one.symbols_cut, "examples": examples}
    if one.doc is not None:
        detail["doc"] = _doc(one.doc)
        chars += len(one.doc.text)
    return detail, chars


def _symbol(symbol: Symbol) -> _Value:
    value: _Value = {
        "kind": symbol.kind,
        "name": symbol.name,
        "line": symbol.line,
        "signature": make_safe(symbol.signature),
    }
    if symbol.doc is not None:
        value["doc"] = _doc(symbol.doc)
    if symbol.decorators:
        value["decorators"] = [make_safe(decorator) for decorator in symbol.decorators]
    if symbol.members:
        value["members"] = [_symbol(member) for member in symbol.members]
    if symbol.members_cut:
        value["members_cut"] = symbol.members_cut
    return value


def _doc(doc: Doc) -> _Value:
    """Give a docstring without what goes without saying: outputs are journaled."""
    value: _Value = {"summary": doc.summary}
    if doc.text != doc.summary:
        value["text"] = doc.text
    if doc.cut:
        value["cut"] = True
    return value


def make_safe(text: str) -> str:
    """Replace lone surrogates, which could not travel, by their escapes."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
