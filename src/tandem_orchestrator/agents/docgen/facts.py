"""Facts about one source file, as its parser found them; the same for every language."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

DOC_CHARS_MAX = 4_000
SUMMARY_CHARS_MAX = 400
SIGNATURE_CHARS_MAX = 600
MEMBERS_MAX = 400
"""Classes, functions or constants of a module, methods or attributes of a class."""


@dataclass(frozen=True, slots=True)
class Doc:
    """A docstring or doc comment."""

    summary: str
    """The first paragraph on one line."""
    text: str
    """The whole, at most ``DOC_CHARS_MAX`` characters."""
    cut: bool = False
    """Whether ``text`` was longer."""


@dataclass(slots=True)
class Symbol:
    """One documented thing: a class, function, method, attribute, constant, type or macro."""

    kind: str
    """``class | function | attribute | constant | struct | union | enum | typedef | macro``."""
    name: str
    line: int
    """Counted from 1."""
    signature: str = ""
    """As one would write it, without the body."""
    doc: Doc | None = None
    decorators: tuple[str, ...] = ()
    members: list[Symbol] = field(default_factory=list)
    """Methods, attributes, fields."""
    members_cut: int = 0
    """How many more members there are."""
    countable: bool = True
    """Whether it counts in the coverage of documentation."""


@dataclass(frozen=True, slots=True)
class Import:
    """One import or inclusion, not yet resolved."""

    target: str
    """``package.module`` or ``package.module.name``; for C the text between the quotes."""
    kind: str
    """``module`` (when the module loads), ``lazy`` (inside a function) or ``typing``."""
    level: int = 0
    """Leading dots of a relative import; for C 1 for ``"file"`` and 0 for ``<file>``."""
    line: int = 0
    names: tuple[str, ...] = ()
    """What ``from target import`` names; empty for ``import target``."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of a test or example, a candidate to be shown."""

    line: int
    text: str
    lines: int
    refs: frozenset[tuple[int, str]]
    """What it uses, as in ``Facts.refs``."""
    title: str = ""


@dataclass(slots=True)
class Facts:
    """Everything that one file says about itself."""

    path: str
    """Relative to the root, with slashes; not UTF-8 bytes as backslash escapes."""
    language: str
    """``python`` or ``c``."""
    doc: Doc | None = None
    symbols: list[Symbol] = field(default_factory=list)
    symbols_cut: int = 0
    private: int = 0
    """Top-level names that are not public, and so not listed."""
    imports: list[Import] = field(default_factory=list)
    refs: Counter[tuple[int, str]] = field(default_factory=Counter)
    """How often each imported name is used: (leading dots, dotted name) to occurrences."""
    snippets: list[Snippet] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be understood, one sentence each."""


def make_doc(text: str | None) -> Doc | None:
    """Bound a docstring whose indentation is already gone; None if there is nothing in it."""
    text = (text or "").strip()
    if not text:
        return None
    # A lone surrogate, written as an escape in the source, could not travel.
    text = text.encode("utf-8", "backslashreplace").decode()
    paragraph = " ".join(text.split("\n\n", 1)[0].split())
    summary = bounded(paragraph, SUMMARY_CHARS_MAX)
    return Doc(summary, bounded(text, DOC_CHARS_MAX), len(text) > DOC_CHARS_MAX)


def bounded(text: str, chars_max: int) -> str:
    """Cut text that is too long, with an ellipsis to show it."""
    return text if len(text) <= chars_max else text[: chars_max - 1].rstrip() + "…"


def bound_members(symbols: list[Symbol], most: int = MEMBERS_MAX) -> tuple[list[Symbol], int]:
    """Give the first members and how many were left out."""
    return symbols[:most], max(len(symbols) - most, 0)
