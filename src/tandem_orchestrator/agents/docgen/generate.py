"""Turn an analysis into a linked set of Markdown pages, the same for the same analysis."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tandem_orchestrator.agents.docgen.generate_request import GenerateRequest
from tandem_orchestrator.agents.docgen.module_page import ModulePage
from tandem_orchestrator.agents.docgen.overview_pages import OverviewPages
from tandem_orchestrator.agents.docgen.page_folder import write_pages
from tandem_orchestrator.agents.docgen.site_map import IMPORTS, INDEX, NAMES, make_site_map

KEPT_SHOWN_MAX = 100

Poll = Callable[[int, int], None]
"""Called with pages made and pages in all; may raise to stop."""


# Any: plain values, as they are journaled.
def generate(request: GenerateRequest, poll: Poll = lambda done, total: None) -> dict[str, Any]:
    """Write the pages of an analysis.

    Returns: ``{"format", "directory", "index", "pages", "bytes", "written", "unchanged",
        "removed", "kept", "modules"}``; ``kept`` names pages (at most ``KEPT_SHOWN_MAX``) that
        someone edited and that were therefore not replaced.

    Raises: OutputConflict, OutputBusy, OSError.
    """
    pages = make_pages(
        request.analysis,
        sources_from(request.output, request.analysis["root"]),
        examples=request.include_examples,
        poll=poll,
    )
    result = write_pages(Path(request.output), pages, overwrite=request.overwrite)
    return {
        "format": "markdown",
        "directory": request.output,
        "index": f"{request.output}/{INDEX}",
        "pages": len(pages),
        "bytes": sum(len(text.encode()) for text in pages.values()),
        "written": result.written,
        "unchanged": result.unchanged,
        "removed": result.removed,
        "kept": result.kept[:KEPT_SHOWN_MAX],
        "modules": len(request.analysis["modules"]),
    }


def sources_from(output: str, root: str) -> str | None:
    """Give the way from the pages to the sources, if the pages lie among them; else None.

    Pages elsewhere would lose their sources when either is moved, so they get no links to them.
    """
    output, root = os.path.normpath(output), os.path.normpath(root)
    inside = output.startswith(root.rstrip("/") + "/")
    return os.path.relpath(root, output) if inside else None


def make_pages(
    analysis: dict[str, Any],
    sources: str | None = None,
    *,
    examples: bool = True,
    poll: Poll = lambda done, total: None,
) -> dict[str, str]:
    """Give every page: relative path to Markdown.

    Args:
        analysis: An output of ``docgen.analyze_structure``.
        sources: See `SiteMap`.
        examples: Whether to show examples.
    """
    modules = analysis["modules"]
    names = {module["path"]: module["name"] for module in modules}
    files = [file["path"] for file in analysis["files"]]
    site = make_site_map(names, files, sources)
    used_by: dict[str, list[str]] = defaultdict(list)
    for module in modules:
        for use in module["uses"]:
            used_by[use["module"]].append(module["path"])
    pages: dict[str, str] = {}
    total = len(site.modules) + len(site.folders) + 3
    for module in modules:
        if len(pages) % 32 == 0:
            poll(len(pages), total)
        path = module["path"]
        text = ModulePage(module, site, names).write(sorted(used_by[path]), examples=examples)
        pages[site.modules[path]] = text
    overview = OverviewPages(analysis, site, names)
    for folder, page in site.folders.items():
        pages[page] = overview.folder(folder)
    if analysis["most_used"]:
        pages[NAMES] = overview.names()
    pages[IMPORTS] = overview.imports()
    pages[INDEX] = overview.index()
    poll(total, total)
    return dict(sorted(pages.items()))
