"""The pages of a folder of documentation: which there are, and where a link on one leads."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tandem_orchestrator.agents.visible import visible

PAGES_MAX = 50_000
PAGE_BYTES_MAX = 256 * 1024
"""More of a page than that is not shown: laying it out would take longer than reading it."""
_FIRST = ("index.md", "imports.md", "names.md")


@dataclass(frozen=True, slots=True)
class Pages:
    """The Markdown files in and one level below a folder."""

    folder: Path
    names: tuple[str, ...]
    """Relative paths with slashes, the index first."""

    def read(self, name: str) -> str:
        """Give a page's text, at most ``PAGE_BYTES_MAX`` bytes of it.

        Raises: OSError.
        """
        with (self.folder / name).open("rb") as file:
            data = file.read(PAGE_BYTES_MAX + 1)
        # Whoever edited a page may have put more into it than text.
        text = visible(data[:PAGE_BYTES_MAX].decode("utf-8", "replace"), keep="\n\t")
        if len(data) > PAGE_BYTES_MAX:
            text += f"\n\n*The rest is in the file {name}.*\n"
        return text

    def follow(self, page: str, href: str) -> tuple[str, str] | None:
        """Give (page, anchor) that a link on a page leads to; None if it leads elsewhere."""
        parts = urlsplit(href)
        if parts.scheme or parts.netloc:
            return None
        path = unquote(parts.path)
        target = os.path.normpath(f"{page.rpartition('/')[0]}/{path}".lstrip("/")) if path else page
        return (target, unquote(parts.fragment)) if target in self.names else None


def find_pages(folder: Path) -> Pages:
    """List the pages of a folder.

    Raises: OSError if it cannot be read.
    """
    names = []
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            names += [
                f"{entry.name}/{inner.name}" for inner in os.scandir(entry.path) if _is_page(inner)
            ]
        elif _is_page(entry):
            names.append(entry.name)
    order = {name: position for position, name in enumerate(_FIRST)}
    names.sort(key=lambda name: (order.get(name, len(order)), "/" in name, name))
    return Pages(folder, tuple(names[:PAGES_MAX]))


def _is_page(entry: os.DirEntry[str]) -> bool:
    return entry.name.endswith(".md") and entry.is_file(follow_symlinks=False)
