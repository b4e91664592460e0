"""Write Markdown in which text from sources can only ever be text.

Names, docstrings and paths come from strangers. Each function here takes raw text and gives
Markdown (CommonMark with GitHub's tables) that renders as that text: no markup, no HTML, no
heading, no link and no control or direction-changing character comes out of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from urllib.parse import quote

from tandem_orchestrator.agents.visible import visible

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>#|~&$!^@]")
_SECTION = re.compile(r"(?:Args|Arguments|Attributes|Raises|Returns|Yields|Keyword Args|Warns):")
_ENTRY = re.compile(r"([\w*][\w*., |\[\]()]{0,80}?): (.+)")
_LINE_START = re.compile(r"^([-+=:]|\d{1,9}[.)])")
_CODE_SPAN = re.compile(r"(?<!`)(`{1,2})(?!`)([^`\n]{1,400})(?<!`)\1(?!`)")


def text(raw: str) -> str:
    """Write one line of plain text, fit for a paragraph, a list, a heading or a table cell."""
    line = " ".join(visible(raw, keep="\n\t").split())
    line = _SPECIAL.sub(lambda match: "\\" + match[0], line)
    line = _LINE_START.sub(lambda match: match[1][:-1] + "\\" + match[1][-1], line)
    # GitHub and others link bare addresses; a name must not become a link.
    return re.sub(r"(?i)(https?|ftp)(:)(?=//)|(www)(\.)", _broken_address, line)


def _broken_address(match: re.Match[str]) -> str:
    return f"{match[1] or match[3]}\\{match[2] or match[4]}"


def code(raw: str, *, cell: bool = False) -> str:
    """Write a code span.

    Args:
        raw: What stands in it; line ends become spaces.
        cell: Whether it stands in a table, where even code must not hold a bare ``|``.
    """
    line = " ".join(visible(raw, keep="\n\t").split())
    if not line:
        return "` `"
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    if cell:
        line = line.replace("|", "\\|")
    pad = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def prose(raw: str, *, cell: bool = False) -> str:
    """Write a paragraph in which `code` and ``code`` are code spans and the rest is plain text."""
    line = " ".join(raw.split())
    parts, position = [], 0
    for match in _CODE_SPAN.finditer(line):
        if not match[2].strip():
            continue
        parts += [_between(line[position : match.start()], position == 0)]
        parts += [code(match[2], cell=cell)]
        position = match.end()
    return "".join([*parts, _between(line[position:], position == 0)])


def _between(raw: str, first: bool) -> str:
    """Write text that stands beside code spans, with its spaces at both ends."""
    inner = text(raw) if first else text("x" + raw)[1:]
    return inner + (" " if raw.endswith(" ") and inner.strip() else "") if raw.strip() else raw


def fence(raw: str, language: str = "text") -> str:
    """Write a block of code; no line of it can end the block."""
    body = visible(raw, keep="\n\t").strip("\n")
    mark = "`" * max(3, max((len(run) for run in re.findall("`+", body)), default=0) + 1)
    return f"{mark}{language}\n{body}\n{mark}"


def docstring(raw: str) -> str:
    """Write a docstring: paragraphs as prose, sections as lists, what else is laid out as blocks.

    Sections are those of Google's style: ``Args:``, ``Raises:`` and the like, with one indented
    ``name: text`` for each entry.
    """
    blocks: list[tuple[str, str]] = []
    for block in re.split(r"\n[ \t]*\n", raw.strip("\n")):
        if not block.strip():
            continue
        section = _section(block)
        kind = "section" if section else _kind_of(block)
        if section:
            blocks.append((kind, section))
        elif kind != "prose" and blocks and blocks[-1][0] == kind:
            blocks[-1] = (kind, f"{blocks[-1][1]}\n\n{block}")
        else:
            blocks.append((kind, block))
    return "\n\n".join(
        block if kind == "section" else prose(block) if kind == "prose" else fence(block, kind)
        for kind, block in blocks
    )


def _section(block: str) -> str | None:
    """Write a section of Google's style as a list; None if the block is not one."""
    head, *lines = block.split("\n")
    if not _SECTION.fullmatch(head) or not lines:
        return None
    indent = len(lines[0]) - len(lines[0].lstrip(" "))
    entries: list[tuple[str, str]] = []
    for line in lines:
        inner = len(line) - len(line.lstrip(" "))
        entry = _ENTRY.fullmatch(line.strip()) if inner == indent else None
        if entry:
            entries.append((entry[1], entry[2]))
        elif entries and inner > indent:
            entries[-1] = (entries[-1][0], f"{entries[-1][1]} {line.strip()}")
        else:
            return None
    items = [f"- {code(name)}: {prose(meaning)}" for name, meaning in entries]
    return "\n".join([f"**{text(head)}**", "", *items]) if indent else None


def _kind_of(block: str) -> str:
    lines = block.split("\n")
    if lines[0].lstrip().startswith(">>>"):
        return "pycon"
    laid_out = any(
        line[:1] in (" ", "\t", "|", "-", "*", "+", "=", "~", "#", ".", "@", ":", "`", "├", "└")
        or re.match(r"\d+[.)] ", line)
        for line in lines
        if not re.match(r"``?[^`]", line)
    )
    return "text" if laid_out or (len(lines) > 1 and lines[0].endswith(":")) else "prose"


def link(markdown: str, target: str, anchor: str = "") -> str:
    """Write a link.

    Args:
        markdown: What is shown, already Markdown.
        target: A relative path, raw; empty for this page.
        anchor: As `Headings.add` gave it.
    """
    if re.search(r"(?<!\\)]:", markdown):
        # At the start of a line `[…]:` defines a reference, and no code span protects it.
        markdown = text(re.sub(r"^`+ ?| ?`+$", "", markdown).replace("\\|", "|"))
    address = quote(target, safe="/._-~") + (f"#{quote(anchor, safe='_-')}" if anchor else "")
    return f"[{markdown}]({address})"


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table of cells that are already Markdown."""
    heads = list(head)
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


class Headings:
    """The headings of one page, with the anchors that GitHub and others give them."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def add(self, raw: str) -> str:
        """Take a heading's visible text, in the page's order, and give its anchor."""
        base = slug(raw)
        anchor = base
        while anchor in self._seen:
            self._seen[base] += 1
            anchor = f"{base}-{self._seen[base]}"
        self._seen[anchor] = 0
        return anchor


def slug(raw: str) -> str:
    """Give the anchor of the first heading with this text: lower case, no punctuation, dashes."""
    line = " ".join(visible(raw, keep="\n\t").split()).lower()
    return re.sub(r"[^\w\- ]", "", line).replace(" ", "-")
