"""Write the page of one module: what it offers, where it is, who uses it, how it is used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tandem_orchestrator.agents.docgen.markdown import (
    Headings,
    code,
    docstring,
    fence,
    prose,
    table,
    text,
)
from tandem_orchestrator.agents.docgen.site_map import INDEX, SiteMap

LINKS_MAX = 60
SIGNATURE_COLUMNS = 88
_IMPORT_KINDS = {"lazy": " (inside functions)", "typing": " (for types only)"}
_SECTIONS = (
    ("Classes", ("class",)),
    ("Types", ("struct", "union", "enum", "typedef")),
    ("Functions", ("function",)),
    ("Macros", ("macro",)),
    ("Constants", ("constant",)),
)

# Any: a module or symbol of an analysis, plain values.
_Value = Mapping[str, Any]


class ModulePage:
    """One page being written."""

    def __init__(self, module: _Value, site: SiteMap, names: Mapping[str, str]) -> None:
        """Begin the page of a module of the analysis; ``names`` maps paths to shown names."""
        self._module = module
        self._site = site
        self._names = names
        self._path: str = module["path"]
        self._page = site.modules[self._path]
        self._headings = Headings()

    def write(self, used_by: Sequence[str], *, examples: bool) -> str:
        """Give the whole page, and note the anchors of its symbols in the site map.

        Args:
            used_by: Paths of the modules that import it.
            examples: Whether to show examples.
        """
        module, symbols = self._module, self._module.get("symbols", [])
        self._headings.add(module["name"])
        parts = [f"# {code(module['name'])}", self._trail()]
        doc = module.get("doc")
        if doc:
            parts.append(_doc(doc))
        elif module["summary"]:
            parts.append(prose(module["summary"]))
        parts.append("\n".join(self._facts(used_by)))
        parts += [f"> **Note:** this file {prose(problem)}." for problem in module["problems"]]
        if "symbols" not in module and not module["problems"]:
            parts.append("What it offers is not listed here.")
        if len(symbols) > 1:
            self._headings.add("Contents")
        body = list(self._sections(symbols))
        if len(symbols) > 1:
            parts += ["## Contents", "\n".join(self._contents(symbols))]
        parts += body
        if module.get("symbols_cut"):
            parts.append(f"*{module['symbols_cut']} more names are not listed.*")
        if examples and module.get("examples"):
            parts.append("## Examples")
            self._headings.add("Examples")
            parts += [block for one in module["examples"] for block in self._example(one)]
        return "\n\n".join(parts) + "\n"

    def _trail(self) -> str:
        steps = [self._site.to(self._page, INDEX, "Index")]
        folder = self._path.rpartition("/")[0]
        steps.append(self._site.to(self._page, self._site.folders[folder], code(folder or ".")))
        return " › ".join(steps)

    def _facts(self, used_by: Sequence[str]) -> Iterator[str]:
        module = self._module
        size = [f"{module['lines']:,} lines"] if module["lines"] is not None else []
        size += [f"{module['bytes']:,} bytes"] if module["bytes"] is not None else []
        source = self._site.to_source(self._page, self._path, code(self._path))
        kind = {"test": "Test", "example": "Example", "source": "Source"}[module["role"]]
        yield f"- {kind}: {source}" + (f" ({', '.join(size)})" if size else "")
        counts = module["coverage"]
        if counts["total"]:
            yield f"- Documented: {counts['documented']} of {counts['total']}"
        uses = [
            self._to_module(use["module"]) + _IMPORT_KINDS.get(use["kind"], "")
            for use in module["uses"]
        ]
        if uses:
            yield f"- Uses: {_listed(uses)}"
        if used_by:
            yield f"- Used by: {_listed([self._to_module(path) for path in used_by])}"
        if module["outside"]:
            yield f"- From outside: {_listed([code(name) for name in module['outside']])}"

    def _to_module(self, path: str) -> str:
        return self._site.to_module(self._page, path, code(self._names.get(path, path)))

    def _contents(self, symbols: Sequence[_Value]) -> Iterator[str]:
        for _, kinds in _SECTIONS:
            for symbol in symbols:
                if symbol["kind"] in kinds:
                    anchor = self._site.anchors[self._path, symbol["name"]]
                    shown = self._site.to(self._page, self._page, code(symbol["name"]), anchor)
                    doc = symbol.get("doc")
                    yield f"- {shown}" + (f": {prose(doc['summary'])}" if doc else "")

    def _sections(self, symbols: Sequence[_Value]) -> Iterator[str]:
        for title, kinds in _SECTIONS:
            chosen = [symbol for symbol in symbols if symbol["kind"] in kinds]
            if not chosen:
                continue
            yield f"## {title}"
            section = self._headings.add(title)
            if title == "Constants":
                for symbol in chosen:
                    self._site.anchors.setdefault((self._path, symbol["name"]), section)
                yield _attributes("Constant", chosen)
            else:
                for symbol in chosen:
                    yield from self._symbol(symbol)

    def _symbol(self, symbol: _Value) -> Iterator[str]:
        anchor = self._headings.add(symbol["name"])
        self._site.anchors.setdefault((self._path, symbol["name"]), anchor)
        yield f"### {code(symbol['name'])}"
        yield from self._described(symbol)
        members = symbol.get("members", ())
        attributes = [member for member in members if member["kind"] == "attribute"]
        if attributes:
            yield _attributes("Value" if "enum" in symbol["signature"] else "Field", attributes)
        for member in members:
            if member["kind"] != "attribute":
                name = f"{symbol['name']}.{member['name']}"
                self._headings.add(name)
                yield f"#### {code(name)}"
                yield from self._described(member)
        if symbol.get("members_cut"):
            yield f"*{symbol['members_cut']} more members are not listed.*"

    def _described(self, symbol: _Value) -> Iterator[str]:
        language = self._module["language"]
        lines = list(symbol.get("decorators", ()))
        keyword = {"class": "class ", "function": "def "}.get(symbol["kind"], "")
        signature = symbol["signature"]
        if language == "python" and keyword:
            if signature.startswith("async "):
                keyword, signature = "async def ", signature.removeprefix("async ")
            signature = keyword + signature
        lines.append(wrapped(signature))
        yield fence("\n".join(lines), language)
        if symbol.get("doc"):
            yield _doc(symbol["doc"])
        line = symbol["line"]
        yield self._site.to_source(self._page, self._path, f"Line {line}", line)

    def _example(self, example: _Value) -> Iterator[str]:
        where = f"{example['path']}:{example['line']}"
        source = self._site.to_source(self._page, example["path"], code(where), example["line"])
        used = ", ".join(code(name) for name in example["names"])
        title = code(example["title"]) + " in " if example["title"] else ""
        yield f"{title}{source}, with {used}:"
        yield fence(example["text"], example["language"])


def _doc(doc: _Value) -> str:
    rest = "\n\n*The rest is in the source.*" if doc.get("cut") else ""
    return docstring(doc.get("text", doc["summary"])) + rest


def _attributes(head: str, symbols: Sequence[_Value]) -> str:
    rows = []
    for one in symbols:
        doc = one.get("doc")
        meaning = prose(doc.get("text", doc["summary"]), cell=True) if doc else ""
        rows.append([code(one["signature"], cell=True), meaning])
    return table([head, "Meaning"], rows)


def _listed(items: Sequence[str]) -> str:
    more = len(items) - LINKS_MAX
    return ", ".join(items[:LINKS_MAX]) + (text(f" and {more} more") if more > 0 else "")


def wrapped(signature: str) -> str:
    """Break a long signature after the commas between its parameters."""
    if len(signature) <= SIGNATURE_COLUMNS or "(" not in signature:
        return signature
    head, _, rest = signature.partition("(")
    pieces, depth, quoted, current = [], 0, "", ""
    for position, char in enumerate(rest):
        if quoted:
            quoted = "" if char == quoted and rest[position - 1] != "\\" else quoted
        elif char in "\"'":
            quoted = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            if depth == 0:
                tail = rest[position:]
                pieces.append(current)
                break
            depth -= 1
        if char == "," and depth == 0 and not quoted:
            pieces.append(current + ",")
            current = ""
        else:
            current += char
    else:
        return signature  # cut before its end
    return "\n".join([f"{head}(", *(f"    {piece.strip()}" for piece in pieces), tail])
