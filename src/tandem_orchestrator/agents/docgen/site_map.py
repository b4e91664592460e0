"""Name the pages of a documentation, and link from one to another.

Page names are made of letters, digits, ``.``, ``_`` and ``-``, differ also where case does not
count, and depend on nothing but the set of paths.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from tandem_orchestrator.agents.docgen import markdown

INDEX, NAMES, IMPORTS = "index.md", "names.md", "imports.md"
_NAME_CHARS_MAX = 150


@dataclass(slots=True)
class SiteMap:
    """Where everything is: pages by what they are about, anchors by symbol, sources."""

    modules: dict[str, str]
    """Module path to its page."""
    folders: dict[str, str]
    """Folder path (``""`` is the root) to its page."""
    sources: str | None = None
    """The root's path relative to the folder of the pages; None if sources cannot be linked."""
    source_files: frozenset[str] = frozenset()
    """Paths that may be linked to."""
    anchors: dict[tuple[str, str], str] = field(default_factory=dict)
    """(module path, symbol) to its anchor, known once the module's page is written."""

    def to(self, page: str, target: str, markdown_text: str, anchor: str = "") -> str:
        """Link from a page to another one (or to an anchor of its own)."""
        relative = "" if page == target else posixpath.relpath(target, posixpath.dirname(page))
        return markdown.link(markdown_text, relative, anchor)

    def to_module(self, page: str, path: str, markdown_text: str, anchor: str = "") -> str:
        """Link to a module's page; plain if it has none."""
        target = self.modules.get(path)
        return self.to(page, target, markdown_text, anchor) if target else markdown_text

    def to_source(self, page: str, path: str, markdown_text: str, line: int = 0) -> str:
        """Link to a source file, and a line in it as GitHub does; plain if it cannot be linked."""
        if self.sources is None or path not in self.source_files:
            return markdown_text
        above = posixpath.relpath(".", posixpath.dirname(page)) if "/" in page else "."
        relative = posixpath.normpath(posixpath.join(above, self.sources, path))
        return markdown.link(markdown_text, relative, f"L{line}" if line else "")


def make_site_map(
    modules: Iterable[str],
    files: Collection[str],
    sources: str | None = None,
) -> SiteMap:
    """Give every module and every folder of the tree a page.

    Args:
        modules: Paths of modules.
        files: Paths of all files; folders are those above them.
        sources: See `SiteMap`.
    """
    module_paths = sorted(modules)
    folders = {""}
    for path in [*files, *module_paths]:
        while "/" in path:
            path = path.rpartition("/")[0]
            folders.add(path)
    return SiteMap(
        modules=_named("modules", module_paths),
        folders=_named("folders", sorted(folders)),
        sources=sources,
        source_files=frozenset(path for path in files if "\\" not in path),
    )


def _named(folder: str, paths: list[str]) -> dict[str, str]:
    by_slug: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_slug[_file_name(path).lower()].append(path)
    pages = {}
    for same in by_slug.values():
        for path in same:
            name = _file_name(path)
            if len(same) > 1 or len(name) > _NAME_CHARS_MAX:
                digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:12]
                name = f"{name[:_NAME_CHARS_MAX]}-{digest}"
            pages[path] = f"{folder}/{name}.md"
    return pages


def _file_name(path: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._-]", "-", path.replace("/", ".")) or "root"
    return name if name[0].isalnum() or name[0] == "_" else f"_{name}"
